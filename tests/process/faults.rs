//! Faults on purpose, in a build of the module that has points for them (see src/fault.rs): whatever fails
//! inside the library costs the tasks it concerns, and nothing else.

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

/// A script that runs with these faults, in the words of the crate `fail`. It knows what they say as `text`.
fn with_faults(faults: &str, text: &str, script: &str) -> Case {
    Case::new(&format!("local text = {text:?}"))
        .then(TOOLS)
        .then(script)
        .cpath(&failing_module_folder())
        .env("FAILPOINTS", faults)
}

/// What the scripts have at hand. `run` gives the entries of a job of so many sums. `check_health` finds out
/// that all is well: good tasks work, on as many threads as before.
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
      assert(not threads or info.threads <= threads, ("%d threads, not %d"):format(info.threads, threads or 0))
    end
"#;

/// What a fault says: one that was returned, or one that was a panic.
fn text(point: &str, action: &str) -> String {
    match action {
        "return" => format!("fault at {point}"),
        _ => format!("failpoint {point} panic (at "),
    }
}

/// A fault that is returned, and one that is a panic.
const ACTIONS: [&str; 2] = ["return", "panic"];

/// Every point that a worker passes for each task.
const WORKER_POINTS: [&str; 4] = ["worker.state", "worker.task", "worker.decode", "worker.encode"];

/// E5, E13. The first tasks fail, those after them don't.
#[test]
fn a_fault_in_a_worker_is_that_tasks_error() {
    for point in WORKER_POINTS {
        for action in ACTIONS {
            for (mode, times) in [("timer", 1), ("timer", 3), ("cmd", 1), ("cmd", 3)] {
                let faults = format!("{point}={times}*{action}");
                with_faults(&faults, &text(point, action), &format!("local mode, times = {mode:?}, {times}"))
                    .then(
                        r#"
                        -- With one worker they come in order.
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

/// E5. On many workers at once, all tasks of two jobs.
#[test]
fn a_job_whose_tasks_all_fail_inside_ends_and_the_next_ones_work() {
    for point in WORKER_POINTS {
        for action in ACTIONS {
            with_faults(
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
            )
            .run()
            .expect_clean();
        }
    }
}

/// E5. The task can catch it, like any error of a host call.
#[test]
fn a_fault_of_a_host_call_in_a_worker_is_an_error_at_the_call() {
    // The first that a worker encodes are the call's arguments; the fourth that it decodes, after the shape
    // of gma, the function and its arguments, is the answer.
    for (point, when) in [("worker.encode", "1*"), ("worker.decode", "3*off->1*")] {
        for action in ACTIONS {
            with_faults(
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
            )
            .run()
            .expect_clean();
        }
    }
}

/// E6. Nothing was started.
#[test]
fn a_fault_at_the_start_is_raised_at_the_callers_line() {
    // The first that the host encodes is the shape of gma.
    for point in ["host.start", "host.encode"] {
        for action in ACTIONS {
            with_faults(
                &format!("{point}=2*{action}"),
                &text(point, action),
                r#"
                local options = { tasks = sums(4), onComplete = print, timeout = 20 }
                local function start_one() gma2workers.RunSync(options) end
                local function start_other() gma2workers.RunAsync(options) end
                for _, start in ipairs { start_one, start_other } do
                  local ok, message = pcall(start)
                  check_message(text, ok, message)
                  assert(message:find("^%(command line%):%d+: "), message)
                end
                assert(gma2workers.info.threads == 0, "threads were started")
                check_health()
                "#,
            )
            .run()
            .expect_clean();
        }
    }
}

/// E6. What was not the task's own to encode is the caller's error, or that task's.
#[test]
fn a_fault_while_the_tasks_are_read_is_raised_or_one_tasks_error() {
    // Without gma, the first that the host encodes is the function, and then each argument.
    for action in ACTIONS {
        with_faults(
            &format!("host.encode=1*off->1*{action}"),
            &text("host.encode", action),
            r#"
            local engine = gma
            gma = nil
            local ok, entries = pcall(run, 3, 1)
            gma = engine
            if ok then
              check_fault(entries[1], text)
              check_sum(2, entries[2])
              check_sum(3, entries[3])
            else
              check_message(text, ok, entries)
            end
            check_health()
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// L8. The next run may succeed.
#[test]
fn threads_that_cannot_be_created_are_the_callers_error() {
    with_faults(
        "host.threads=2*return",
        "cannot start workers: internal error: fault at host.threads",
        r#"
        for _ = 1, 2 do
          check_message(text, pcall(run, 4, 2))
          assert(gma2workers.info.threads == 0)
        end
        check_health()
        "#,
    )
    .run()
    .expect_clean();
    // A panic of the thread builder's is one, too.
    with_faults(
        "host.threads=1*panic",
        &text("host.threads", "panic"),
        "check_message(text, pcall(run, 4, 2)) check_health()",
    )
    .run()
    .expect_clean();
}

/// L8. Fewer workers than asked for are better than none.
#[test]
fn a_job_runs_on_the_threads_that_there_are() {
    with_faults(
        "host.threads=1*off->1*return",
        "",
        r#"
        run(1, 1)
        local threads = gma2workers.info.threads
        local response = gma2workers.RunSync { tasks = sums(100), workers = threads + 5 }
        assert(response.workerCount == threads, response.workerCount)
        for i, entry in ipairs(response.result) do check_sum(i, entry) end
        check_health(threads)
        -- Later there are as many as asked for.
        assert(gma2workers.RunSync { tasks = sums(100), workers = threads + 5 }.workerCount == threads + 5)
        "#,
    )
    .run()
    .expect_clean();
}

/// L8, L10. A job that never began has no time-out to watch over.
#[test]
fn a_job_that_could_not_start_leaves_nothing_running() {
    for action in ACTIONS {
        with_faults(
            &format!("host.threads=1*{action}"),
            "internal error",
            r#"
            local tiny = { tasks = sums(1), timeout = 1e-6 }
            check_message(text, pcall(gma2workers.RunSync, tiny))
            os.execute("sleep 0.1")
            local before = os.clock()
            os.execute("sleep 1")
            local used = os.clock() - before
            -- What goes on uses all of it.
            assert(used < 0.5, ("%.3f s in 1 s"):format(used))
            check_health()
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// E6.
#[test]
fn a_fault_while_the_response_is_made_is_raised_and_the_next_run_works() {
    for action in ACTIONS {
        with_faults(
            &format!("host.collect=1*{action}"),
            &text("host.collect", action),
            r#"
            local completed = 0
            local options = { tasks = sums(4), onComplete = function() completed = completed + 1 end }
            check_message(text, pcall(gma2workers.RunSync, options))
            assert(completed == 0)
            check_health(gma2workers.info.threads)
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// E6, M6. There nobody is called who could be told otherwise: the callback has to be.
#[test]
fn an_asynchronous_job_whose_response_cannot_be_made_comes_to_an_end() {
    for action in ACTIONS {
        with_faults(
            &format!("host.collect=1*{action}"),
            &text("host.collect", action),
            r#"
            local job = gma2workers.RunAsync { tasks = sums(4), onComplete = function() end }
            local ok, message = pcall(job.wait, job)
            if not ok then check_message(text, ok, message) end
            assert(gma2workers.Poll() == 0)
            local status = job:status()
            assert(status ~= "running", status)
            check_health(gma2workers.info.threads)
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// E6. One entry can't be decoded.
#[test]
fn a_fault_in_the_hosts_decoder_is_that_entrys_error() {
    for action in ACTIONS {
        with_faults(
            &format!("host.decode=1*off->2*{action}"),
            &text("host.decode", action),
            r#"
            local failed = 0
            for i, entry in ipairs(run(6, 1)) do
              if entry.success then check_sum(i, entry) else check_fault(entry, text) failed = failed + 1 end
            end
            assert(failed == 2, failed)
            check_health(gma2workers.info.threads)
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// E6. The task that called can catch it.
#[test]
fn a_fault_in_the_host_during_a_call_is_an_error_at_the_call() {
    // The first that the host decodes are the call's arguments; the third that it encodes, after the shape of
    // gma and the function, is the answer.
    for (point, when) in [("host.decode", "1*"), ("host.encode", "2*off->1*")] {
        for action in ACTIONS {
            with_faults(
                &format!("{point}={when}{action}"),
                &text(point, action),
                r#"
                local function ask_twice()
                  local ok, message = pcall(gma.add, 1, 2)
                  return ok, message, gma.add(1, 2)
                end
                local returns = gma2workers.RunSync { tasks = { { func = ask_twice } } }.result[1].returns
                check_message(text, table.unpack(returns, 1, 2))
                assert(returns[3] == 3, returns[3])
                check_health(gma2workers.info.threads)
                "#,
            )
            .run()
            .expect_clean();
        }
    }
}

/// E6. Nobody hears the calls of that job any more; what it told before is still heard.
#[test]
fn a_job_whose_line_to_the_host_breaks_ends_with_errors_at_the_calls() {
    with_faults(
        "host.call=3*off->1*return",
        "cannot call gma.add: the task is over, or its job is closing",
        r#"
        local tasks = sums(6, ask)
        -- This one has no use for the host.
        tasks[7] = { func = add, args = { 7, 7 } }
        local result = gma2workers.RunSync { tasks = tasks, workers = 1 }.result
        for i = 1, 3 do check_sum(i, result[i]) end
        for i = 4, 6 do
          assert(not result[i].success and result[i].data:find(text, 1, true), result[i].data)
          assert(result[i].kind == "runtime", result[i].kind)
        end
        check_sum(7, result[7])
        check_health(gma2workers.info.threads)
        "#,
    )
    .run()
    .expect_clean();
    // With workers that wait, that compute, that sleep and that tell.
    with_faults(
        "host.call=1*return",
        "",
        r#"
        local function tell() for i = 1, 5000 do gma.echo(i) end end
        local function rest() gma.sleep(60) end
        for _, mode in ipairs { "timer", "cmd" } do
          local tasks = sums(4, ask)
          for i, func in ipairs { tell, tell, rest, rest } do tasks[4 + i] = { func = func } end
          tasks[9] = { func = add, args = { 9, 9 } }
          local result = gma2workers.RunSync { tasks = tasks, workers = 9, mode = mode }.result
          assert(#result == 9)
          check_sum(9, result[9])
          -- The point has failed once: the second job has no sleepers.
          tasks = sums(4, ask)
        end
        check_health(gma2workers.info.threads)
        "#,
    );
}

/// E6. A panic while a call is taken ends that run.
#[test]
fn a_panic_while_a_host_call_is_taken_is_raised_and_the_next_run_works() {
    with_faults(
        "host.call=2*off->1*panic",
        &text("host.call", "panic"),
        r#"
        local function keep_asking() while true do gma.add(1, 2) end end
        local tasks = { { func = keep_asking }, { func = keep_asking }, { func = add, args = { 1, 2 } } }
        check_message(text, pcall(gma2workers.RunSync, { tasks = tasks, workers = 3 }))
        check_health()
        "#,
    )
    .run()
    .expect_clean();
}

/// Tasks that hold their thread, whatever is asked of them, as many as there are threads; and three more.
const ALL_STUCK: &str = r#"
    local function stick() return ("a"):rep(60):find(("a*"):rep(30) .. "b") end
    run(1, 1)
    local threads = gma2workers.info.threads
    local tasks = sums(threads + 3)
    for i = 1, threads do tasks[i] = { func = stick } end
    local response = gma2workers.RunSync { tasks = tasks, workers = threads, timeout = 0.5 }
    for i = 1, threads do assert(response.result[i].kind == "lost", response.result[i].data) end
"#;

/// Finds out that tasks are still stopped.
const CHECK_TIME_OUTS: &str = r#"
    local function loop() while true do end end
    local response = gma2workers.RunSync { tasks = { { func = loop } }, timeout = 0.1 }
    assert(response.result[1].kind == "timeout", response.result[1].data)
    check_health(nil, threads)
"#;

/// L8, T5. A worker that was given up can't be replaced: the others go on, and without any the job ends.
#[test]
fn a_worker_that_cannot_be_replaced_is_missed_by_no_job() {
    with_faults(
        "worker.threads=1*return",
        "",
        &(ALL_STUCK.to_owned()
            + "for i = threads + 1, threads + 3 do check_sum(i, response.result[i]) end"
            + CHECK_TIME_OUTS),
    )
    .run()
    .expect_clean();
    with_faults(
        "worker.threads=1000*return",
        "",
        &(ALL_STUCK.to_owned()
            + r#"
            for i = threads + 1, threads + 3 do
              local entry = response.result[i]
              assert(entry.kind == "lost" and entry.data == "Error: no worker was left to run it", entry.data)
            end
            "#
            + CHECK_TIME_OUTS),
    )
    .run()
    .expect_clean();
}

/// E5. The watchdog outlives a panic.
#[test]
fn a_panic_while_a_worker_is_replaced_is_missed_by_no_job() {
    with_faults("worker.threads=1*panic", "", &(ALL_STUCK.to_owned() + CHECK_TIME_OUTS)).run().expect_clean();
}

/// T4. A worker's tasks run in one coroutine: a stop that comes just as one has ended is not the next one's.
#[test]
fn a_stop_as_a_task_ends_is_not_the_next_ones() {
    with_faults(
        "worker.returned=1*sleep(1500)",
        "",
        r#"
        local response = gma2workers.RunSync { tasks = sums(3), workers = 1, timeout = 1 }
        for i, entry in ipairs(response.result) do check_sum(i, entry) end
        check_health(gma2workers.info.threads)
        "#,
    )
    .run()
    .expect_clean();
}

/// E5, E6. Faults on all sides, with time-outs, cancels and failing tasks between them.
#[test]
fn whatever_fails_every_task_has_one_outcome() {
    let mut faults = Vec::new();
    for point in WORKER_POINTS {
        faults.push(format!("{point}=20*off->10%30*panic->10%30*return->3*panic"));
    }
    for point in ["host.decode", "host.encode", "host.call"] {
        faults.push(format!("{point}=50*off->3%5*return->50*off->3%5*return"));
    }
    with_faults(
        &faults.join(";"),
        "",
        r#"
        local function loop() while true do pcall(function() while true do end end) end end
        local function rest() gma.sleep(60) end
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
          for i, name in ipairs(names) do tasks[i] = { func = funcs[name], args = { i, i } } end
          local options = { tasks = tasks, workers = round % 3 + 2, mode = round % 2 == 0 and "cmd" or "timer",
            timeout = 0.02 }
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
        -- What is left of the faults comes to its end.
        for _ = 1, 100 do pcall(run, 10, 2, nil, ask) pcall(run, 10, 2, "cmd", ask) end
        check_health()
        "#,
    )
    .run()
    .expect_clean();
}
