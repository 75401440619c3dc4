//! Faults on purpose where threads are created and replaced, see faults.rs.

use crate::faults::{ACTIONS, run_with_faults, text};

/// L8. The next run may succeed.
#[test]
fn threads_that_cannot_be_created_are_the_callers_error() {
    run_with_faults(
        "host.threads=2*return",
        "cannot start workers: internal error: fault at host.threads",
        r#"
        for _ = 1, 2 do
          check_message(text, pcall(run, 4, 2))
          assert(gma2workers.info.threads == 0)
        end
        check_health()
        "#,
    );
    // A panic of the thread builder is such an error, too.
    run_with_faults(
        "host.threads=1*panic",
        &text("host.threads", "panic"),
        "check_message(text, pcall(run, 4, 2)) check_health()",
    );
}

/// L8. Fewer workers than asked for are better than none.
#[test]
fn a_job_runs_on_the_threads_that_there_are() {
    run_with_faults(
        "host.threads=1*off->1*return",
        "",
        r#"
        run(1, 1)
        local threads = gma2workers.info.threads
        local response = gma2workers.RunSync { tasks = sums(100), workers = threads + 5 }
        assert(response.workerCount == threads, response.workerCount)
        for i, entry in ipairs(response.result) do check_sum(i, entry) end
        check_health(threads)
        -- Later there are as many workers as asked for.
        assert(gma2workers.RunSync { tasks = sums(100), workers = threads + 5 }.workerCount == threads + 5)
        "#,
    );
}

/// L8, L10. A job that never started has no time-outs to watch.
#[test]
fn a_job_that_could_not_start_leaves_nothing_running() {
    for action in ACTIONS {
        run_with_faults(
            &format!("host.threads=1*{action}"),
            "internal error",
            r#"
            local tiny = { tasks = sums(1), timeout = 1e-6 }
            check_message(text, pcall(gma2workers.RunSync, tiny))
            os.execute("sleep 0.1")
            local before = os.clock()
            os.execute("sleep 1")
            local used = os.clock() - before
            -- A thread that goes on would use all of that second.
            assert(used < 0.5, ("%.3f s in 1 s"):format(used))
            check_health()
            "#,
        );
    }
}

/// Tasks that hold their thread and can't be stopped, one for each thread; and three more tasks.
const ALL_STUCK: &str = r#"
    local function stick() return ("a"):rep(60):find(("a*"):rep(30) .. "b") end
    run(2, 2)
    local threads = gma2workers.info.threads
    local tasks = sums(threads + 3)
    -- Far more time than they need to get stuck. The other tasks have no limit.
    for i = 1, threads do tasks[i] = { func = stick, timeout = 3 } end
    local response = gma2workers.RunSync { tasks = tasks, workers = threads }
    for i = 1, threads do assert(response.result[i].kind == "lost", response.result[i].data) end
"#;

/// Asserts that tasks are still stopped at their time limit.
const CHECK_TIME_OUTS: &str = r#"
    local function loop() while true do end end
    local response = gma2workers.RunSync { tasks = { { func = loop } }, timeout = 0.1 }
    assert(response.result[1].kind == "timeout", response.result[1].data)
    check_health(nil, threads)
"#;

/// L8, T5. A worker that was given up can't be replaced: the others go on, and if there are none, the job
/// ends.
#[test]
fn jobs_end_if_a_worker_cannot_be_replaced() {
    run_with_faults(
        "worker.threads=1*return",
        "",
        &(ALL_STUCK.to_owned()
            + "for i = threads + 1, threads + 3 do check_sum(i, response.result[i]) end"
            + CHECK_TIME_OUTS),
    );
    run_with_faults(
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
    );
}

/// E5. The watchdog survives a panic.
#[test]
fn jobs_end_after_a_panic_while_a_worker_is_replaced() {
    run_with_faults("worker.threads=1*panic", "", &(ALL_STUCK.to_owned() + CHECK_TIME_OUTS));
}
