//! Faults on purpose on the host's side, see faults.rs.

use crate::faults::{ACTIONS, run_with_faults, text};

/// E6. Nothing has been started.
#[test]
fn a_fault_at_the_start_is_raised_at_the_callers_line() {
    // The host encodes the shape of gma first.
    for point in ["host.start", "host.encode"] {
        for action in ACTIONS {
            run_with_faults(
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
            );
        }
    }
}

/// E6. A fault while a task's own values are encoded is that task's error; any other is the caller's.
#[test]
fn a_fault_while_the_tasks_are_read_is_raised_or_is_one_tasks_error() {
    // Without gma, the host encodes the function first, then each argument.
    for action in ACTIONS {
        run_with_faults(
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
        );
    }
}

/// E6.
#[test]
fn a_fault_while_the_response_is_made_is_raised_and_the_next_run_works() {
    for action in ACTIONS {
        run_with_faults(
            &format!("host.collect=1*{action}"),
            &text("host.collect", action),
            r#"
            local completed = 0
            local options = { tasks = sums(4), onComplete = function() completed = completed + 1 end }
            check_message(text, pcall(gma2workers.RunSync, options))
            assert(completed == 0)
            check_health(gma2workers.info.threads)
            "#,
        );
    }
}

/// E6, M6. An asynchronous job has no caller to raise the error at, so the callback must get it.
#[test]
fn an_asynchronous_job_ends_if_its_response_cannot_be_made() {
    for action in ACTIONS {
        run_with_faults(
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
        );
    }
}

/// E6. One record can't be decoded.
#[test]
fn a_fault_in_the_hosts_decoder_is_that_records_error() {
    for action in ACTIONS {
        run_with_faults(
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
        );
    }
}

/// E6. The calling task can catch it.
#[test]
fn a_fault_on_the_host_during_a_call_is_an_error_at_the_call() {
    // The host first decodes the call's arguments. The third value that it encodes is the answer, after the
    // shape of gma and the function.
    for (point, when) in [("host.decode", "1*"), ("host.encode", "2*off->1*")] {
        for action in ACTIONS {
            run_with_faults(
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
            );
        }
    }
}

/// E6. The job's later calls get no answer; earlier echoes are still shown.
#[test]
fn a_job_that_loses_its_connection_to_the_host_ends_with_errors_at_the_calls() {
    run_with_faults(
        "host.call=3*off->1*return",
        "cannot call gma.add: the task is over, or its job is closing",
        r#"
        local tasks = sums(6, ask)
        -- This task does not call the host.
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
    );
    // The same with workers that wait, compute, sleep and echo.
    for mode in ["timer", "cmd"] {
        run_with_faults(
            "host.call=1*return",
            mode,
            r#"
            local function tell() for i = 1, 5000 do gma.echo(i) end end
            local function rest() gma.sleep(1000) end
            local tasks = sums(4, ask)
            for i, func in ipairs { tell, tell, rest, rest } do tasks[4 + i] = { func = func } end
            tasks[9] = { func = add, args = { 9, 9 } }
            local result = gma2workers.RunSync { tasks = tasks, workers = 9, mode = text }.result
            assert(#result == 9)
            check_sum(9, result[9])
            check_health(gma2workers.info.threads)
            "#,
        );
    }
}

/// E6. A panic while a call is accepted ends the run.
#[test]
fn a_panic_while_a_host_call_is_accepted_is_raised_and_the_next_run_works() {
    run_with_faults(
        "host.call=2*off->1*panic",
        &text("host.call", "panic"),
        r#"
        local function keep_asking() while true do gma.add(1, 2) end end
        local tasks = { { func = keep_asking }, { func = keep_asking }, { func = add, args = { 1, 2 } } }
        check_message(text, pcall(gma2workers.RunSync, { tasks = tasks, workers = 3 }))
        check_health()
        "#,
    );
}
