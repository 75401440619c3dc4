//! Errors at any instruction of the host, such as Ctrl-C's.

use crate::support::{Case, WAIT_FOR_REST};

/// L12. An error such as Ctrl-C's may be raised at any Lua instruction of ours. The job must then have ended,
/// whether it was the first, which compiles parts of the Lua side, or a later one.
#[test]
fn an_error_at_any_instruction_of_a_run_ends_its_job() {
    for first in (1..=160).step_by(8) {
        Case::new(&format!("local FIRST, LAST = {first}, {}", first + 8))
            .then(WAIT_FOR_REST)
            .then(
                r#"
                local gma2workers = require "gma2workers"
                local function loop() while true do end end
                local function run(count)
                  local is_armed = true
                  debug.sethook(function()
                    if is_armed then
                      is_armed = false
                      error("interrupted!")
                    end
                  end, "", count)
                  gma2workers.RunSync { tasks = { { func = loop } }, workers = 1 }
                end
                for count = FIRST, LAST do
                  local ok, message = pcall(run, count)
                  debug.sethook()
                  assert(not ok and tostring(message):find("interrupted!$"), message)
                end
                collectgarbage()
                assert(gma2workers.Poll() == 0, "a job runs")
                wait_for_rest()
                "#,
            )
            .run()
            .expect_clean();
    }
}

/// L12. Ctrl-C may also come at any call, even at the calls that Lua makes for us inside native code. It must
/// always reach the host.
#[test]
fn ctrl_c_at_any_call_of_a_run_reaches_the_host() {
    Case::new(WAIT_FOR_REST)
        .then(
            r#"
            local gma2workers = require "gma2workers"
            gma = { ask = function(...) return ... end }
            local function task(list) for i = 1, 3 do gma.ask(i, list) end return list end
            local function run(count)
              local calls, is_raised = 0, false
              debug.sethook(function()
                calls = calls + 1
                if calls == count then
                  is_raised = true
                  error("interrupted!")
                end
              end, "c")
              local ok, message = pcall(gma2workers.RunSync,
                { tasks = { { func = task, args = { { 1, 2 } } }, { func = task, args = { { 3 } } } }, workers = 2 })
              calls = count
              debug.sethook()
              assert(ok ~= is_raised, "lost at call " .. count)
              assert(ok or tostring(message):find("interrupted!", 1, true), message)
              return is_raised
            end
            for count = 3, 150 do run(count) end
            assert(not run(10000))
            wait_for_rest()
            "#,
        )
        .run()
        .expect_clean();
}

/// `armed(count, mask, func, ...)` calls a function with a hook whose `count`-th event raises "interrupted!";
/// events in `spared` functions do not count. Returns whether the error was raised, and the results of the
/// call.
const ARMED: &str = r#"
    local spared = {}
    local function armed(count, mask, func, ...)
      local seen, is_raised = 0, false
      debug.sethook(function()
        if spared[debug.getinfo(2, "f").func] then return end
        seen = seen + 1
        if seen == count then
          is_raised = true
          error("interrupted!")
        end
      end, mask, mask == "" and 1 or 0)
      local outcome = table.pack(pcall(func, ...))
      seen = count
      debug.sethook()
      assert(not is_raised or not outcome[1], "lost at event " .. count .. " of '" .. mask .. "'")
      assert(outcome[1] or is_raised and tostring(outcome[2]):find("interrupted!", 1, true), outcome[2])
      return is_raised, table.unpack(outcome, 1, outcome.n)
    end
    for _, func in ipairs { armed, pcall, table.pack, debug.sethook } do spared[func] = true end
"#;

/// L13. The module is then not loaded, and loading it again works.
#[test]
fn an_error_at_any_instruction_of_require_leaves_nothing_loaded() {
    for mask in ["", "c", "r"] {
        for count in 1.. {
            let outcome = Case::new(&format!("local COUNT, MASK = {count}, '{mask}'"))
                .then(ARMED)
                .then(
                    r#"
                    spared[require] = true
                    local is_raised = armed(COUNT, MASK, require, "gma2workers")
                    assert(not is_raised or not package.loaded.gma2workers)
                    local gma2workers = require "gma2workers"
                    assert(gma2workers == require "gma2workers")
                    local sin, format = math.sin, string.format
                    local entry = gma2workers.RunSync { tasks = {
                      { func = function() return sin(0) .. format("%d", 5) end } } }.result[1]
                    assert(entry.data == "0.05", entry.data)
                    print(is_raised)
                    "#,
                )
                .run()
                .expect_clean();
            if outcome.stdout == "false\n" {
                assert!(count > 5, "'{mask}' has come {count} times");
                break;
            }
        }
    }
}

/// L13. A call has either started its job or not, and the host can wait or poll again.
#[test]
fn an_error_at_any_instruction_of_a_call_loses_no_job() {
    for (mask, call) in ["", "c", "r"].into_iter().flat_map(|mask| CALLS.map(|call| (mask, call))) {
        Case::new(&format!("local MASK = '{mask}'"))
            .then(WAIT_FOR_REST)
            .then(ARMED)
            .then(
                r#"
                local gma2workers = require "gma2workers"
                gma = { ask = function(...) return ... end }
                local completed, responses = 0, nil
                local function complete(response) completed, responses = completed + 1, response end
                local function task(list) return gma.ask(list)[1] end
                local function double(n) return 2 * n end
                local function options()
                  completed, responses = 0, nil
                  return { tasks = { { func = task, args = { { 1, 2 } } }, { func = task, args = { { 3 } } } },
                    onComplete = complete, workers = 2 }
                end
                local function check(response)
                  assert(response.failed == nil or response.failed == 0)
                  assert(response.result[1].data == 1 and response.result[2].data == 3, response.result[1].data)
                end
                -- Code of the caller, and the ends of calls.
                for _, func in ipairs { complete, gma.ask, gma2workers.RunAsync, gma2workers.Map } do
                  spared[func] = true
                end
                "#,
            )
            .then(call)
            .then(
                r#"
                local count = 0
                repeat
                  count = count + 1
                  local is_raised = try(count)
                  collectgarbage()
                  assert(gma2workers.Poll() == 0, "a job runs")
                until not is_raised
                assert(count > 5, "it came " .. count .. " times")
                wait_for_rest()
                "#,
            )
            .run()
            .expect_clean();
    }
}

/// The body of `try(count)` for each of the calls.
const CALLS: [&str; 6] = [
    // RunAsync.
    r#"
    local function try(count)
      local is_raised, ok, job = armed(count, MASK, gma2workers.RunAsync, options())
      if ok then
        check(job:wait())
        assert(completed == 1 and responses == job:wait())
      else
        assert(gma2workers.Poll() == 0 and completed == 0)
      end
      return is_raised
    end
    "#,
    // job:wait.
    r#"
    local function try(count)
      local job = gma2workers.RunAsync(options())
      local is_raised = armed(count, MASK, job.wait, job)
      local response = job:wait()
      check(response)
      assert(completed == 1 and responses == response, completed)
      return is_raised
    end
    "#,
    // Poll, with a job that has ended except for its callback.
    r#"
    local function first(list) return list[1] end
    local function try(count)
      local given = options()
      given.tasks[1].func, given.tasks[2].func = first, first
      local job = gma2workers.RunAsync(given)
      repeat local _, done = job:status() until done == 2
      local is_raised = armed(count, MASK, gma2workers.Poll)
      while gma2workers.Poll() > 0 do end
      assert(completed == 1, completed)
      check(responses)
      return is_raised
    end
    "#,
    // Map.
    r#"
    local function try(count)
      local is_raised, ok, results = armed(count, MASK, gma2workers.Map, double, { 1, 2, 3 }, { workers = 2 })
      assert(not ok or #results == 3 and results[3] == 6)
      return is_raised
    end
    "#,
    // RunSync with results so large that the collector is paused while they are merged, and runs right
    // afterwards.
    r#"
    local function many() local list = {} for i = 1, 5000 do list[i] = { i } end return list end
    local finalized = { __gc = function() end }
    local function try(count)
      for i = 1, 100 do setmetatable({}, finalized) end
      local is_raised, ok, response = armed(count, MASK, gma2workers.RunSync, { tasks = { { func = many } } })
      assert(not ok or response.result[1].data[5000][1] == 5000)
      return is_raised
    end
    "#,
    // Map with a callback.
    r#"
    local function try(count)
      completed = 0
      local is_raised, ok, job =
        armed(count, MASK, gma2workers.Map, double, { 1, 2, 3 }, { workers = 2, onComplete = complete })
      if ok then
        assert(job:wait()[3] == 6 and completed == 1)
      else
        assert(gma2workers.Poll() == 0 and completed == 0)
      end
      return is_raised
    end
    "#,
];
