//! How a process ends while jobs run, and what Ctrl-C does.

use std::time::Duration;

use crate::support::{Case, WAIT_FOR_REST, module};

/// Two tasks that sleep longer than a case may take. The job stays in the background; both tasks have begun.
const TWO_SLEEPERS: &str = r#"
    local gma2workers = require "gma2workers"
    local begun = 0
    gma = { sleep = function() end, begun = function() begun = begun + 1 end }
    local function rest() gma.begun() gma.sleep(1000) end
    local function completed() print("completed") end
    local job = gma2workers.RunAsync { tasks = { { func = rest }, { func = rest } }, workers = 2,
      onComplete = completed }
    while begun < 2 do job:wait(0.01) end
"#;

/// Two tasks that never end.
const TWO_LOOPS: &str = r#"
    local gma2workers = require "gma2workers"
    local begun = 0
    gma = { begun = function() begun = begun + 1 end }
    local function loop() gma.begun() while true do end end
    local function completed() print("completed") end
    local job = gma2workers.RunAsync { tasks = { { func = loop }, { func = loop } }, workers = 2,
      onComplete = completed }
    while begun < 2 do job:wait(0.01) end
"#;

/// Two tasks that sleep longer than a case may take. They report after the host has waited for a while: the
/// host is then in C, where Lua's own Ctrl-C hook can't reach it.
const WAITING: &str = r#"
    local gma2workers = require "gma2workers"
    gma = { sleep = function() end }
    local function rest() gma.sleep(0.05) print("begun") gma.sleep(1000) end
    local tasks = { { func = rest }, { func = rest } }
    local function wait() return gma2workers.RunSync { tasks = tasks, workers = 2 } end
"#;

/// Less than any task above takes. An idle machine needs a hundredth of this.
const AT_ONCE: Duration = Duration::from_secs(30);

#[test]
fn a_script_ends_right_after_a_run() {
    for _ in 0..50 {
        Case::new(
            r#"
            local gma2workers = require "gma2workers"
            local tasks = { { func = print, args = { 1 } }, { func = error } }
            local result = gma2workers.RunSync { tasks = tasks }.result
            os.exit(result[1].success and not result[2].success)
            "#,
        )
        .run()
        .expect_clean()
        .expect_stdout("1\n");
    }
}

#[test]
fn a_script_ends_while_a_job_waits_to_be_merged() {
    for _ in 0..20 {
        Case::new(
            r#"
            local gma2workers = require "gma2workers"
            local tasks = {}
            for i = 1, 20 do tasks[i] = { func = string.rep, args = { "x", 1000 } } end
            gma2workers.RunAsync { tasks = tasks, workers = 4, onComplete = print }
            "#,
        )
        .run()
        .expect_code(0)
        .expect_stderr_with("a job was never run to its end")
        .expect_stdout("");
    }
}

/// The script ends at its last line, with `os.exit`, and with an `os.exit` that closes the state.
#[track_caller]
fn ends_in_every_way(script: &str) {
    Case::new(script).run().expect_clean().expect_stdout("");
    for exit in ["os.exit(7)", "os.exit(7, true)"] {
        Case::new(script).then(exit).run().expect_code(7).expect_no_complaint().expect_stdout("");
    }
}

#[test]
fn a_script_ends_while_tasks_sleep() {
    ends_in_every_way(TWO_SLEEPERS);
}

#[test]
fn a_script_ends_while_tasks_loop() {
    ends_in_every_way(TWO_LOOPS);
}

#[test]
fn a_script_ends_right_after_a_time_out() {
    for _ in 0..20 {
        Case::new(
            r#"
            local function loop() while true do end end
            local tasks = { { func = loop }, { func = loop } }
            local options = { tasks = tasks, workers = 2, timeout = 0.05 }
            local result = require("gma2workers").RunSync(options).result
            -- On a busy machine a task may be given up before it stops.
            local is_stopped = { timeout = true, lost = true }
            print(is_stopped[result[1].kind], is_stopped[result[2].kind])
            "#,
        )
        .run()
        .expect_clean()
        .expect_stdout("true\ttrue\n");
    }
}

#[test]
fn a_script_ends_while_a_lost_worker_is_stuck_in_c() {
    for ending in ["os.exit(7)", "os.exit(7, true)"] {
        Case::new(
            r#"
            local gma2workers = require "gma2workers"
            -- The pattern tries every way to divide the text among its parts, which takes ages.
            local function find() return (("x"):rep(1000)):find((".-"):rep(30) .. "y") end
            local kind
            -- On a busy machine the time may be over before the search begins.
            repeat
              kind = gma2workers.RunSync { tasks = { { func = find } }, timeout = 0.5 }.result[1].kind
            until kind ~= "timeout"
            print(kind)
            print(gma2workers.RunSync { tasks = { { func = type, args = { 1 } } } }.result[1].data)
            "#,
        )
        .then(ending)
        .run()
        .expect_code(7)
        .expect_no_complaint()
        .expect_stdout("lost\nnumber\n");
    }
}

#[test]
fn a_script_ends_while_tasks_wait_for_the_host() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local asked = 0
        gma = { ask = function() asked = asked + 1 end }
        local function ask() while true do gma.ask() end end
        local tasks = { { func = ask }, { func = ask } }
        local job = gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = print }
        while asked < 100 do job:wait(0.01) end
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("");
}

#[test]
fn a_scripts_own_error_is_reported_while_tasks_sleep() {
    Case::new(TWO_SLEEPERS)
        .then("error('the plugin failed')")
        .run()
        .expect_own_error("the plugin failed")
        .expect_stdout("");
}

#[test]
fn an_error_thrown_out_of_the_pump_ends_the_script() {
    // The host's Ctrl-C error is the one error that a host call passes on to the pump.
    Case::new(TWO_SLEEPERS)
        .then(
            r#"
            gma.fail = function() error("interrupted!") end
            local function ask() gma.fail() end
            local tasks = { { func = rest }, { func = ask } }
            gma2workers.RunSync { tasks = tasks, workers = 2, onComplete = completed }
            "#,
        )
        .run()
        .expect_own_error("interrupted!")
        .expect_stdout("");
}

#[test]
fn a_finalizer_may_use_a_job_while_the_state_closes_and_no_callback_runs() {
    // Objects are finalized in reverse order of their creation: one of the two runs before the job's own
    // finalizers, one after.
    Case::new(
        r#"
        local function ask_at_the_end(when)
          local function ask()
            -- An answer is right, and so is an error.
            pcall(poll)
            print(when)
          end
          -- It is kept until the state closes.
          _G[when] = setmetatable({}, { __gc = ask })
        end
        ask_at_the_end("after")
        "#,
    )
    .then(TWO_SLEEPERS)
    .then("poll = gma2workers.Poll ask_at_the_end('before')")
    .run()
    .expect_clean()
    .expect_stdout("before\nafter\n");
}

#[test]
fn jobs_without_a_reference_go_on() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        gma = { sleep = function() end }
        local completed = 0
        local function drop(func)
          local tasks = {}
          for i = 1, 4 do tasks[i] = { func = func, args = { 1000 } } end
          local function count() completed = completed + 1 end
          gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = count }
        end
        drop(function() return ("x"):rep(1000) end)
        drop(function() return {} end)
        drop(function(seconds) gma.sleep(seconds) end)
        for _ = 1, 3 do collectgarbage() end
        -- Dropping the handle changes nothing: the jobs that can end do end.
        while gma2workers.Poll() > 1 do end
        collectgarbage()
        print(completed, gma2workers.Poll())
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("2\t1\n");
}

#[test]
fn jobs_of_a_dropped_coroutine_do_no_harm() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        -- A minimal engine: its sleep yields.
        gma = { sleep = function(seconds) coroutine.yield(seconds) end }
        local function rest() gma.sleep(1000) end
        for _ = 1, 4 do
          local plugin = coroutine.create(function()
            gma2workers.RunSync { tasks = { { func = rest }, { func = rest } }, onComplete = print }
          end)
          assert(coroutine.resume(plugin))
          assert(coroutine.status(plugin) == "suspended")
        end
        -- Off Plugin: the engine drops the coroutines.
        for _ = 1, 3 do collectgarbage() end
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("");
}

/// Runs the script once for each way to write `os.exit(3)`, in place of EXIT.
#[track_caller]
fn exits_with_3(script: &str) {
    for exit in ["os.exit(3)", "os.exit(3, true)"] {
        Case::new("local gma2workers = require 'gma2workers'")
            .then(&script.replace("EXIT", exit))
            .then("print('it went on')")
            .run()
            .expect_code(3)
            .expect_no_complaint()
            .expect_stdout("");
    }
}

#[test]
fn os_exit_in_on_complete_ends_the_process() {
    exits_with_3(
        "gma2workers.RunSync { tasks = { { func = type, args = { 1 } } }, onComplete = function() EXIT end }",
    );
    exits_with_3(
        r#"
        local job = gma2workers.RunAsync { tasks = { { func = type, args = { 1 } } },
          onComplete = function() EXIT end }
        job:wait()
        "#,
    );
}

#[test]
fn os_exit_in_on_progress_ends_the_process() {
    exits_with_3(
        r#"
        local tasks = {}
        for i = 1, 50 do tasks[i] = { func = type, args = { i } } end
        gma2workers.RunSync { tasks = tasks, workers = 2, onProgress = function() EXIT end }
        "#,
    );
}

#[test]
fn os_exit_in_a_host_call_ends_the_process() {
    exits_with_3(
        r#"
        gma = { leave = function() EXIT end }
        local function leave() gma.leave() end
        gma2workers.RunSync { tasks = { { func = leave }, { func = leave }, { func = leave } }, workers = 2 }
        "#,
    );
}

#[test]
fn ctrl_c_ends_a_waiting_run() {
    let outcome = Case::new(WAITING).then("wait()").interrupt_at("begun").run();
    let outcome = outcome.expect_own_error("interrupted!");
    let after = outcome.after_interrupt.expect("the task had begun");
    assert!(after < AT_ONCE, "it took {after:?}");
}

#[test]
fn ctrl_c_ends_a_wait_for_a_job() {
    let script = "gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = print }:wait()";
    let outcome = Case::new(WAITING).then(script).interrupt_at("begun").run();
    let outcome = outcome.expect_own_error("interrupted!");
    let after = outcome.after_interrupt.expect("the task had begun");
    assert!(after < AT_ONCE, "it took {after:?}");
}

#[test]
fn ctrl_c_in_a_host_call_ends_the_run() {
    // In a host call, Ctrl-C raises an ordinary error, which the task would catch.
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        io.stdout:setvbuf("line")
        gma = {}
        function gma.ask()
          print("begun")
          for _ = 1, 10000000 do end
        end
        local function ask() while true do pcall(gma.ask) end end
        gma2workers.RunSync { tasks = { { func = ask }, { func = ask } }, workers = 2 }
        "#,
    )
    .interrupt_at("begun")
    .run()
    .expect_own_error("interrupted!");
}

#[test]
fn the_next_run_works_after_a_caught_ctrl_c() {
    Case::new(WAITING)
        .then(
            r#"
            local ok, message = pcall(wait)
            print(ok, (message:gsub("^.*: ", "")))
            local response = gma2workers.RunSync { tasks = { { func = type, args = { 1 } } } }
            print(response.result[1].data, gma2workers.Poll())
            "#,
        )
        .interrupt_at("begun")
        .run()
        .expect_clean()
        .expect_stdout_with("false\tinterrupted!\nnumber\t0\n");
}

#[test]
fn ctrl_c_stops_the_tasks() {
    Case::new(WAIT_FOR_REST)
        .then(
            r#"
        local gma2workers = require "gma2workers"
        local function loop() print("begun") while true do end end
        print(pcall(gma2workers.RunSync, { tasks = { { func = loop }, { func = loop } }, workers = 2 }))
        wait_for_rest()
        "#,
        )
        .interrupt_at("begun")
        .run()
        .expect_clean()
        .expect_stdout_with("interrupted!");
}

/// The actions that the dynamic linker logged in a case's stderr.
fn linker_log(case: Case) -> String {
    let outcome = case.env("LD_DEBUG", "files").run().expect_code(0);
    let module = module();
    let module = module.to_str().expect("this path is text");
    let is_ours = |line: &&str| line.contains(module);
    outcome.stderr.lines().filter(is_ours).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_pins_the_library_and_closing_the_state_does_not_unmap_it() {
    const MARK: &str = "as NODELETE";
    const UNMAPPED: &str = "destroying link map";
    let loaded = linker_log(Case::new("require 'gma2workers'"));
    if !loaded.contains(UNMAPPED) {
        // Other C libraries' linkers log nothing, and glibc's uses these words.
        eprintln!("skipped: the dynamic linker keeps no log that is understood here:\n{loaded}");
        return;
    }
    assert!(!loaded.contains(MARK), "loading alone has pinned it:\n{loaded}");
    let ran =
        linker_log(Case::new("require('gma2workers').RunSync { tasks = { { func = type, args = { 1 } } } }"));
    assert!(ran.contains(MARK), "a run has not pinned it:\n{ran}");
    assert!(!ran.contains(UNMAPPED), "it was unmapped with threads in it:\n{ran}");
}
