//! Faults on purpose, in a build of the module with failpoints (see src/fault.rs): a fault inside the library
//! costs only the tasks it concerns.

use std::path::PathBuf;

use crate::support::{Case, module_folder};

/// The folder of the module that `scripts/build PROFILE failpoints` made.
fn failing_module_folder() -> PathBuf {
    let folder = module_folder();
    let profile = folder.parent().expect("it lies in the profile's folder");
    let (target, name) = (profile.parent(), profile.file_name());
    let folder = target.zip(name).map(|(target, name)| target.join("failpoints").join(name).join("lua"));
    let folder = folder.expect("cargo has a folder for each profile");
    assert!(
        folder.join("gma2workers.so").exists(),
        "{} has no module: run scripts/build PROFILE failpoints",
        folder.display()
    );
    folder
}

/// A script that runs with these faults, in the notation of the crate `fail`. Its variable `text` is a part
/// of their message.
fn with_faults(faults: &str, text: &str, script: &str) -> Case {
    Case::new(&format!("local text = {text:?}"))
        .then(TOOLS)
        .then(script)
        .cpath(&failing_module_folder())
        .env("FAILPOINTS", faults)
}

/// Runs a script with these faults. It must end cleanly.
#[track_caller]
pub fn run_with_faults(faults: &str, text: &str, script: &str) {
    with_faults(faults, text, script).run().expect_clean();
}

/// Functions for the scripts. `run` returns the results of a job of sums. `check_health` asserts that good
/// tasks still work, on no more threads than before.
const TOOLS: &str = r#"
    local gma2workers = require "gma2workers"
    gma = { add = function(a, b) return a + b end, sleep = function() end, echo = function() end }
    local function add(a, b) return a + b end
    local function ask(a, b) return gma.add(a, b) end
    local function sums(count, func)
      local tasks = {}
      for i = 1, count do tasks[i] = { func = func or add, args = { i, i } } end
      return tasks
    end
    local function run(count, workers, mode, func)
      return gma2workers.RunSync { tasks = sums(count, func), workers = workers, mode = mode }.result
    end
    local function check_sum(i, entry)
      assert(entry.success and entry.data == 2 * i, entry.data)
    end
    local function check_fault(entry, text)
      assert(not entry.success, "it worked")
      assert(entry.kind == "runtime", entry.kind)
      assert(entry.data:find("internal error: ", 1, true), entry.data)
      assert(entry.data:find(text, 1, true), entry.data)
    end
    local function check_message(text, ok, message)
      assert(not ok, "it worked")
      assert(type(message) == "string", type(message))
      assert(message:find("internal error: ", 1, true), message)
      assert(message:find(text, 1, true), message)
    end
    local function check_health(threads, lost)
      for _, mode in ipairs { "timer", "cmd" } do
        for i, entry in ipairs(run(10, 2, mode)) do check_sum(i, entry) end
        for i, entry in ipairs(run(10, 2, mode, ask)) do check_sum(i, entry) end
      end
      assert(gma2workers.Poll() == 0, "a job is still there")
      local info = gma2workers.info
      assert(info.lost == (lost or 0), info.lost .. " lost")
      -- The jobs above have two workers.
      local most = math.max(threads or math.huge, 2)
      assert(info.threads <= most, ("%d threads, not %s"):format(info.threads, most))
    end
"#;

/// A part of the message of a fault: of a returned error, or of a panic.
pub fn text(point: &str, action: &str) -> String {
    match action {
        "return" => format!("fault at {point}"),
        _ => format!("failpoint {point} panic (at "),
    }
}

/// A fault is a returned error or a panic.
pub const ACTIONS: [&str; 2] = ["return", "panic"];

/// The points that a worker passes for each task.
const WORKER_POINTS: [&str; 4] = ["worker.state", "worker.task", "worker.decode", "worker.encode"];

/// E5, E13. The first tasks fail; the later ones work.
#[test]
fn a_fault_in_a_worker_is_that_tasks_error() {
    for point in WORKER_POINTS {
        for action in ACTIONS {
            for (mode, times) in [("timer", 1), ("timer", 3), ("cmd", 1), ("cmd", 3)] {
                let faults = format!("{point}={times}*{action}");
                with_faults(&faults, &text(point, action), &format!("local mode, times = {mode:?}, {times}"))
                    .then(
                        r#"
                        -- One worker runs the tasks in order.
                        for i, entry in ipairs(run(6, 1, mode)) do
                          if i <= times then check_fault(entry, text) else check_sum(i, entry) end
                        end
                        check_health(gma2workers.info.threads)
                        "#,
                    )
                    .run()
                    .expect_clean();
            }
        }
    }
}

/// E5. All tasks of two jobs fail, on several workers at once.
#[test]
fn a_job_in_which_every_task_has_a_fault_ends_and_the_next_jobs_work() {
    for point in WORKER_POINTS {
        for action in ACTIONS {
            run_with_faults(
                &format!("{point}=200*{action}"),
                &text(point, action),
                r#"
                for _, mode in ipairs { "timer", "cmd" } do
                  local entries = run(100, 4, mode)
                  assert(#entries == 100)
                  for _, entry in ipairs(entries) do check_fault(entry, text) end
                end
                check_health(gma2workers.info.threads)
                "#,
            );
        }
    }
}

/// V20. The first blocks of the result have reached the host, or the host fails to decode one.
#[test]
fn a_fault_between_two_blocks_of_a_result_is_that_tasks_error() {
    for point in ["worker.block", "host.decode"] {
        for action in ["return", "panic"] {
            run_with_faults(
                &format!("{point}=1*{action}"),
                &text(point, action),
                r#"
                local function rows(count)
                  local list = {}
                  for i = 1, count do list[i] = { id = i, name = "row " .. i } end
                  return list
                end
                local tasks = {}
                for i = 1, 4 do tasks[i] = { func = rows, args = { 40000 } } end
                local failed = 0
                for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 1 }.result) do
                  if entry.success then
                    assert(#entry.data == 40000 and entry.data[40000].name == "row 40000")
                  else
                    failed = failed + 1
                    check_fault(entry, text)
                  end
                end
                assert(failed == 1, failed)
                "#,
            );
        }
    }
}

/// E5. The task can catch the error, like any error of a host call.
#[test]
fn a_fault_of_a_host_call_in_a_worker_is_an_error_at_the_call() {
    // The first value that a worker encodes is the call's arguments. The fourth that it decodes is the
    // answer, after the shape of gma, the function and its arguments.
    for (point, when) in [("worker.encode", "1*"), ("worker.decode", "3*off->1*")] {
        for action in ACTIONS {
            run_with_faults(
                &format!("{point}={when}{action}"),
                &text(point, action),
                r#"
                local function ask_twice(a, b)
                  local ok, message = pcall(gma.add, a, b)
                  return ok, message, gma.add(a, b)
                end
                local returns = run(1, 1, "timer", ask_twice)[1].returns
                check_message(text, table.unpack(returns, 1, 2))
                assert(returns[3] == 2, returns[3])
                check_health(gma2workers.info.threads)
                "#,
            );
        }
    }
}

/// T4. A worker's tasks run in one coroutine: a stop that comes just after one task has ended must not hit
/// the next.
#[test]
fn a_stop_as_a_task_ends_does_not_hit_the_next_task() {
    run_with_faults(
        "worker.returned=1*sleep(3500)",
        "",
        r#"
        local response = gma2workers.RunSync { tasks = sums(3), workers = 1, timeout = 3 }
        for i, entry in ipairs(response.result) do check_sum(i, entry) end
        check_health(gma2workers.info.threads)
        "#,
    );
}

/// E5, E6. Faults on both sides, combined with time-outs, cancelled jobs and failing tasks.
#[test]
fn every_task_has_one_outcome_whatever_fails() {
    let mut faults = Vec::new();
    for point in WORKER_POINTS {
        faults.push(format!("{point}=20*off->10%30*panic->10%30*return->3*panic"));
    }
    for point in ["host.decode", "host.encode", "host.call"] {
        faults.push(format!("{point}=50*off->3%5*return->50*off->3%5*return"));
    }
    run_with_faults(
        &faults.join(";"),
        "",
        r#"
        local function loop() while true do pcall(function() while true do end end) end end
        local function rest() gma.sleep(1000) end
        local function fail() error({ "failed" }) end
        local kinds = { add = { runtime = true, cancelled = true }, ask = { runtime = true, cancelled = true },
          loop = { timeout = true, cancelled = true, runtime = true },
          rest = { timeout = true, cancelled = true, runtime = true },
          fail = { runtime = true, cancelled = true } }
        local funcs = { add = add, ask = ask, loop = loop, rest = rest, fail = fail }
        local names = { "add", "ask", "add", "ask", "fail", "add", "loop", "ask", "rest", "add" }
        local completed, started = 0, 0
        for round = 1, 60 do
          local tasks = {}
          for i, name in ipairs(names) do
            -- A task that ends by itself has a limit that no pause uses up.
            local limit = kinds[name].timeout and 0.02 or 60
            tasks[i] = { func = funcs[name], args = { i, i }, timeout = limit }
          end
          local options = { tasks = tasks, workers = round % 3 + 2, mode = round % 2 == 0 and "cmd" or "timer" }
          function options.onComplete(response)
            completed = completed + 1
            assert(#response.result == #names)
            for i, name in ipairs(names) do
              local entry = response.result[i]
              if entry.success then
                assert((name == "add" or name == "ask") and entry.data == 2 * i, name)
              else
                assert(kinds[name][entry.kind], name .. ": " .. entry.kind .. ": " .. entry.data)
              end
            end
          end
          local ok, job = pcall(gma2workers.RunAsync, options)
          if ok then
            started = started + 1
            if round % 4 == 0 then job:cancel() end
            assert(job:wait())
          else
            assert(job:find("internal error: ", 1, true), job)
          end
        end
        assert(completed == started and started > 30, completed .. " of " .. started)
        -- Uses up the remaining faults.
        for _ = 1, 100 do pcall(run, 10, 2, nil, ask) pcall(run, 10, 2, "cmd", ask) end
        check_health()
        "#,
    );
}

/// A job of long texts, one of which each task has: 1 MiB, and different. `check_text` checks a task's record.
const LONG_TEXTS: &str = r#"
    local function text_of(i) return ("x"):rep(1 << 20) .. i end
    local function ends(text) return #text, text:sub(-4) end
    local function long_tasks(count)
      local tasks = {}
      for i = 1, count do tasks[i] = { func = ends, args = { text_of(1000 + i) } } end
      return tasks
    end
    local function check_text(i, entry)
      assert(entry.success, entry.data)
      assert(entry.returns[1] == (1 << 20) + 4 and entry.returns[2] == tostring(1000 + i))
    end
"#;

/// V18, E5. While a worker reads a text of the host's.
#[test]
fn a_fault_while_a_worker_reads_a_long_text_is_that_tasks_error() {
    for action in ACTIONS {
        with_faults(&format!("worker.pinned=1*{action}"), &text("worker.pinned", action), LONG_TEXTS)
            .then(
                r#"
                for round = 1, 3 do
                  local failed = 0
                  for i, entry in ipairs(gma2workers.RunSync { tasks = long_tasks(6), workers = 2 }.result) do
                    if entry.success then
                      check_text(i, entry)
                    else
                      check_fault(entry, text)
                      failed = failed + 1
                    end
                  end
                  assert(failed == (round == 1 and 1 or 0), failed)
                end
                check_health(gma2workers.info.threads)
                "#,
            )
            .run()
            .expect_clean();
    }
}

/// V18. Workers are slow to begin, so the host copies their texts. The texts are garbage as soon as `RunAsync` has returned.
#[test]
fn long_texts_that_no_worker_has_read_are_copied_before_the_hosts_call_ends() {
    run_with_faults(
        "worker.task=200*sleep(20)",
        "",
        &format!(
            "{LONG_TEXTS}{}",
            r#"
            local before = collectgarbage() and collectgarbage "count"
            local tasks, response = long_tasks(20)
            gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = function(r) response = r end }
            for _, task in ipairs(tasks) do task.args = nil end
            collectgarbage()
            assert(collectgarbage "count" < before + 1024, "the texts are not garbage")
            while not response do gma2workers.Poll(0.01) end
            assert(response.failed == 0)
            for i, entry in ipairs(response.result) do check_text(i, entry) end
            check_health()
            "#
        ),
    );
}

/// V18. The host has no memory for copies.
#[test]
fn a_long_text_that_the_host_cannot_copy_fails_its_own_task_alone() {
    run_with_faults(
        "host.keep=return;worker.task=1*sleep(2500)",
        "",
        &format!(
            "{LONG_TEXTS}{}",
            r#"
            local tasks = long_tasks(6)
            tasks[7] = { func = add, args = { 7, 7 } }
            local result = gma2workers.RunSync { tasks = tasks, workers = 1 }.result
            for i = 1, 6 do
              local entry = result[i]
              assert(not entry.success and entry.kind == "memory" and entry.data:find "not enough memory", entry.data)
            end
            check_sum(7, result[7])
            check_health()
            "#
        ),
    );
}

/// V18, L4. A worker that is about to read a text keeps the host in its call, so the state can't be closed. It is tried until the
/// worker was fast enough to read the host's own text.
#[test]
fn a_host_closes_its_state_as_soon_as_its_long_texts_were_read() {
    for exit in ["os.exit(0, true)", "os.exit(0)", "return"] {
        run_with_faults(
            "worker.pinned=sleep(100)",
            "",
            &format!(
                "{LONG_TEXTS}{}{exit}",
                r#"
                local clock, took = require "consolenative".clock
                local longer = ("x"):rep(16 << 20)
                repeat
                  local tasks = { { func = ends, args = { longer .. 1 } }, { func = ends, args = { longer .. 2 } } }
                  local start = clock()
                  local job = gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = function() end }
                  took = clock() - start
                  if took < 0.1 then job:wait() end
                until took >= 0.1
                "#
            ),
        );
    }
}

/// V18, L4. The state is closed while tasks with texts have yet to begin.
#[test]
fn a_host_closes_its_state_before_its_long_texts_are_read() {
    run_with_faults(
        "worker.task=sleep(20)",
        "",
        &format!(
            "{LONG_TEXTS}{}",
            r#"
            for _, workers in ipairs { 1, 2, 4 } do
              gma2workers.RunAsync { tasks = long_tasks(20), workers = workers, onComplete = function() end }
            end
            gma2workers.cancelAll()
            gma2workers.RunAsync { tasks = long_tasks(20), workers = 2, onComplete = function() print "completed" end }
            os.exit(0, true)
            "#
        ),
    );
}
