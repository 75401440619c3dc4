//! What failing tasks and callbacks do to the process. The library itself writes nothing.

use crate::support::Case;

#[test]
fn the_library_is_silent_whatever_fails() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        gma = { fail = function() error("the host call failed") end, echo = function() end }
        local rate = 5
        local function raise(value) error(value) end
        local function raise_object()
          local function fail() error("in __tostring") end
          error(setmetatable({}, { __tostring = fail }))
        end
        local function call_host() gma.fail() end
        local function call_nothing() gma.nothing() end
        local function finalizer()
          setmetatable({}, { __gc = function() error("in a finalizer") end })
          collectgarbage()
        end
        local tasks = {
          { func = raise, args = { "text" } }, { func = raise, args = { {} } }, { func = raise },
          { func = raise_object }, { func = call_host }, { func = call_nothing }, { func = finalizer },
          { func = function() return rate end },
          { func = type, args = { io.stdout } },
          { func = coroutine.create, args = { type } },
          { func = function() missing() end },
          { func = function() require "gma2workers" end },
          { func = string.rep, args = { "x", -1 } },
        }
        local failed = 0
        local function count(response)
          for _, result in ipairs(response.result) do failed = failed + (result.success and 0 or 1) end
        end
        for _, mode in ipairs { "timer", "cmd" } do
          for _, workers in ipairs { 1, 3 } do
            count(gma2workers.RunSync { tasks = tasks, mode = mode, workers = workers })
            gma2workers.RunAsync { tasks = tasks, workers = workers, onComplete = count }:wait()
          end
        end
        -- In Lua 5.4, a finalizer's error is a warning, which is hidden.
        assert(failed >= 8 * (_VERSION == "Lua 5.3" and 11 or 10), failed)
        local few, none = { tasks = {}, workers = 0 }, {}
        for _, wrong in ipairs { { tasks = 1 }, { tasks = { 1 } }, few, none } do
          assert(not pcall(gma2workers.RunSync, wrong))
          assert(not pcall(gma2workers.RunAsync, wrong))
        end
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("");
}

#[test]
fn an_error_in_on_complete_is_raised_by_run_sync() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        gma2workers.RunSync { tasks = { { func = type, args = { 1 } } },
          onComplete = function() error("the callback failed") end }
        "#,
    )
    .run()
    .expect_own_error("the callback failed");
}

#[test]
fn an_error_in_an_asynchronous_on_complete_is_shown_on_stderr_and_other_jobs_go_on() {
    let outcome = Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local tasks = { { func = type, args = { 1 } } }
        gma2workers.RunAsync { tasks = tasks, onComplete = function() error("the callback failed") end }
        gma2workers.RunAsync { tasks = tasks, onComplete = function() print("completed") end }
        while gma2workers.Poll() > 0 do end
        "#,
    )
    .run()
    .expect_code(0)
    .expect_stdout("completed\n")
    .expect_stderr_with("gma2workers: error in a callback: ")
    .expect_stderr_with("the callback failed\nstack traceback:");
    let times = outcome.stderr.matches("the callback failed").count();
    assert_eq!(times, 1, "{outcome}");
}

#[test]
fn os_exit_in_a_task_does_not_end_the_process() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function plain() os.exit(9) end
        local function closing() os.exit(true, true) end
        local function in_a_coroutine() coroutine.wrap(function() os.exit(9, true) end)() end
        local function in_a_finalizer()
          local refused
          setmetatable({}, { __gc = function() refused = not pcall(os.exit, 9, true) end })
          collectgarbage()
          error("os.exit was refused: " .. tostring(refused))
        end
        local function at_the_end() kept = setmetatable({}, { __gc = function() os.exit(9) end }) end
        for _, mode in ipairs { "timer", "cmd" } do
          local tasks = { { func = plain }, { func = closing }, { func = in_a_coroutine },
            { func = in_a_finalizer } }
          local response = gma2workers.RunSync { tasks = tasks, mode = mode, workers = 2 }
          for i, result in ipairs(response.result) do
            assert(not result.success, i)
            assert(result.data:find("os.exit", 1, true), result.data)
          end
          assert(response.result[4].data:find("refused: true", 1, true), response.result[4].data)
          tasks = { { func = at_the_end }, { func = type, args = { 1 } } }
          response = gma2workers.RunSync { tasks = tasks, mode = mode, workers = 1 }
          assert(response.result[2].data == "number")
        end
        print("still here")
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("still here\n");
}

/// Runs a function until it hits a limit of Lua, on the host and in tasks; both must report the same error.
#[track_caller]
fn ends_as_on_the_host(recursion: &str) {
    // Garbage is collected first, since a finalizer that runs at the deepest point would fail there.
    Case::new(&format!("local function recurse() collectgarbage()\n{recursion}\nend"))
        .then(
            r#"
            local gma2workers = require "gma2workers"
            local ok, message = pcall(recurse)
            for _, mode in ipairs { "timer", "cmd" } do
              local tasks = { { func = recurse }, { func = recurse }, { func = type, args = { 1 } } }
              local result = gma2workers.RunSync { tasks = tasks, workers = 1, mode = mode }.result
              for i = 1, 2 do
                assert(result[i].success == ok, result[i].data)
                if not ok then
                  -- A worker starts a few calls deeper or less deep, so places and traceback may differ.
                  local function gist(text)
                    return (text:gsub("^Error: ", ""):match("^[^\n]*"):gsub("[^ ]+ [^ ]+:%d+: ", ""))
                  end
                  local expected, got = gist(tostring(message)), gist(result[i].data)
                  assert(got == expected, ("%q, not %q"):format(got, expected))
                end
              end
              assert(result[3].data == "number", result[3].data)
            end
            print(ok, message)
            "#,
        )
        .run()
        .expect_clean();
}

#[test]
#[ignore = "long"]
fn endless_recursion_in_lua_is_that_tasks_error() {
    ends_as_on_the_host("local function deeper() return 1 + deeper() end return deeper()");
    ends_as_on_the_host("local function deeper(...) return select('#', deeper(1, ...)) end return deeper()");
}

#[test]
fn recursion_through_gsub_is_that_tasks_error() {
    ends_as_on_the_host("local function deeper() return (('x'):gsub('x', deeper)) end return deeper()");
}

#[test]
fn recursion_through_sort_is_that_tasks_error() {
    ends_as_on_the_host(
        "local function deeper() table.sort({ 1, 2, 3 }, deeper) return true end return deeper()",
    );
}

#[test]
fn recursion_through_metamethods_is_that_tasks_error() {
    ends_as_on_the_host(
        "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) return t[1]",
    );
    ends_as_on_the_host(
        "local t = setmetatable({}, { __add = function(a, b) return a + b end }) return t + 1",
    );
    ends_as_on_the_host(
        "local t = setmetatable({}, { __tostring = function(t) return tostring(t) end }) return tostring(t)",
    );
}

#[test]
fn recursion_through_pcall_ends() {
    ends_as_on_the_host("local function deeper() return pcall(deeper) end return select('#', deeper()) > 0");
    ends_as_on_the_host("local function deeper() assert(pcall(deeper)) end return deeper()");
}

#[test]
fn recursion_through_error_handlers_ends() {
    ends_as_on_the_host("local function handler() error('again') end return xpcall(error, handler, 'first')");
    ends_as_on_the_host("local function deeper() return xpcall(deeper, deeper) end return (deeper())");
}

#[test]
fn recursion_through_coroutines_is_that_tasks_error() {
    ends_as_on_the_host("local function deeper() return coroutine.wrap(deeper)() end return deeper()");
    ends_as_on_the_host(
        "local function deeper() return coroutine.resume(coroutine.create(deeper)) end return (deeper())",
    );
}

#[test]
fn recursion_through_the_parser_is_that_tasks_error() {
    ends_as_on_the_host("return assert(load('return ' .. ('('):rep(1000) .. '1' .. (')'):rep(1000)))()");
    // The deepest C stack in Lua: the parser's own recursion on top of nearly all allowed calls.
    ends_as_on_the_host(
        r#"
        local text = "return " .. ("("):rep(190) .. "1" .. (")"):rep(190)
        local depth = 0
        local function deeper()
          depth = depth + 1
          if depth == 190 then return tostring(assert(load(text))()) end
          return (("x"):gsub("x", deeper))
        end
        return deeper()
        "#,
    );
}

#[test]
fn recursion_through_require_is_that_tasks_error() {
    ends_as_on_the_host(
        r#"
        package.searchers[2] = function(name) return function() return require(name .. "x") end end
        return require "deeper"
        "#,
    );
}

#[test]
fn a_new_state_leaves_nothing_to_finalize() {
    // Garbage from making the state must not be finalized while a task runs, nor fail there.
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function finalized()
          local count = 0
          getmetatable(io.stdout).__gc = function() count = count + 1 end
          collectgarbage()
          return count
        end
        for _, mode in ipairs { "timer", "cmd" } do
          print(gma2workers.RunSync { tasks = { { func = finalized } }, mode = mode }.result[1].data)
        end
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("0\n0\n");
}

/// E17. Every public call, at every depth up to the limit of nested C calls.
#[test]
fn errors_near_the_limit_of_c_calls_are_texts() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function one() return 1 end
        local function nothing() end
        local tasks = { { func = one } }
        local calls = {
          function() gma2workers.RunSync { tasks = tasks } end,
          function() gma2workers.RunSync { tasks = tasks, globals = { "print" }, workers = "2", onProgress = nothing } end,
          function() gma2workers.RunSync { tasks = { {} } } end,
          function() gma2workers.RunAsync({ tasks = tasks, onComplete = nothing }):wait() end,
          function() gma2workers.Map(one, { 1, 2, 3 }) end,
          function() gma2workers.Map(one, { 1, 2, 3 }, { chunk = 2, onError = "collect" }) end,
          function() gma2workers.Poll() end,
        }
        local ways = {
          function(func) assert(pcall(func)) end,
          function(func) local _ = ("x"):gsub("x", function() func() end) end,
          function(func) coroutine.wrap(func)() end,
        }
        local overflows, others = 0, {}
        for _, enter in ipairs(ways) do
          for number, call in ipairs(calls) do
            local depth
            local function nest()
              depth = depth + 1
              local ok, message = pcall(call)
              if not ok then
                -- At this depth, no further call is possible.
                if type(message) ~= "string" then others[#others + 1] = number .. ": " .. type(message) end
                if type(message) == "string" and message:find("C stack overflow", 1, true) then overflows = overflows + 1 end
              end
              if depth < 250 then pcall(enter, nest) end
            end
            -- Each level takes two calls, so a second round covers the depths in between.
            depth = 0
            nest()
            depth = 0
            pcall(nest)
          end
        end
        assert(#others == 0, table.concat(others, ", "))
        assert(overflows > #calls * #ways, overflows)
        assert(gma2workers.RunSync({ tasks = tasks }).result[1].data == 1)
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("");
}
