//! Long arguments, which a worker decodes while the host still encodes the rest.

use crate::faults::{ACTIONS, run_with_faults};
use crate::support::Case;

/// `rows(count)` makes a list; `run(count, ...)` runs a task that counts it, beside others.
const TOOLS: &str = r#"
    local gma2workers = require "gma2workers"
    local function rows(count)
      local list = {}
      for i = 1, count do list[i] = { id = i, name = "row " .. i } end
      return list
    end
    local function count_of(list)
      for i, row in ipairs(list) do assert(row.id == i and row.name == "row " .. i) end
      return #list
    end
    local function run(workers, mode)
      local response = gma2workers.RunSync { workers = workers, mode = mode, tasks = {
        { func = count_of, args = { rows(24000) } }, { func = count_of, args = { rows(3) } },
        { func = count_of, args = { rows(12000) } } } }
      for i, count in ipairs { 24000, 3, 12000 } do
        local entry = response.result[i]
        assert(entry.data == count, tostring(entry.data))
      end
    end
    local function run_all()
      run(1, "timer")
      run(2, "cmd")
    end
"#;

/// V22. What goes wrong before the job begins is no task's error: the worker begins again.
#[test]
fn a_fault_while_arguments_are_decoded_early_costs_nothing() {
    for point in ["worker.early=1*", "worker.early=1*off->2*", "worker.state=1*"] {
        for action in ACTIONS {
            run_with_faults(&format!("{point}{action}"), "", &format!("{TOOLS} run_all()"));
        }
    }
}

/// V22. The host fails to send a block, after one was sent or before.
#[test]
fn a_fault_between_two_blocks_of_arguments_is_that_tasks_error_or_the_callers() {
    for when in ["1*", "1*off->1*"] {
        for action in ACTIONS {
            run_with_faults(
                &format!("host.block={when}{action}"),
                "host.block",
                &format!(
                    r#"{TOOLS}
                    local ok, message = pcall(run, 2)
                    assert(not ok and message:find(text, 1, true), message)
                    run_all()
                    "#
                ),
            );
        }
    }
}

/// V22.
#[test]
fn a_refused_list_leaves_no_worker_waiting() {
    Case::new(TOOLS)
        .then(
            r#"
            local function refuse()
              local options = { tasks = { { func = count_of, args = { rows(16000) } }, { func = count_of, args = 7 } } }
              assert(not pcall(gma2workers.RunSync, options))
            end
            refuse()
            local nproc = io.popen("nproc")
            local cores = nproc:read("n")
            nproc:close()
            assert(cores == 1 or gma2workers.info.threads == 1, "the worker did not begin early")
            for _ = 1, 20 do refuse() end
            assert(gma2workers.info.threads <= cores, gma2workers.info.threads)
            assert(gma2workers.info.lost == 0)
            run_all()
            "#,
        )
        .run()
        .expect_clean();
}

/// V21. On one core, a worker beside the host would only hold it up.
#[test]
fn long_arguments_cross_on_one_core() {
    let one_core = ["taskset", "-c", "0"];
    let refused = "assert(not pcall(gma2workers.RunSync, { tasks = { { func = count_of, args = { rows(16000) } }, 7 } }))
        assert(gma2workers.info.threads == 0, gma2workers.info.threads)";
    Case::new(TOOLS).then(refused).then("run_all()").under(one_core).run().expect_clean();
    // The cores were counted before.
    let moved = r#"
        run(2)
        local file = io.open("/proc/self/stat")
        assert(os.execute("taskset -apc 0 " .. file:read("n") .. " >/dev/null"))
        file:close()
        run_all()
    "#;
    Case::new(TOOLS).then(moved).run().expect_clean();
}

/// V22. The host's state is closed, or the process ends, by a hook that runs while the list is read.
#[test]
fn a_host_that_ends_while_arguments_are_read_ends_cleanly() {
    for exit in ["os.exit(0, false)", "os.exit(0, true)"] {
        for calls in [12, 20] {
            Case::new(TOOLS)
                .then(&format!(
                    r#"
                    local list, left = rows(20000), {calls}
                    debug.sethook(function()
                      left = left - 1
                      if left == 0 then {exit} end
                    end, "c")
                    gma2workers.RunSync {{ tasks = {{ {{ func = count_of, args = {{ list }} }}, {{ func = rows, args = {{ list }} }} }} }}
                    debug.sethook()
                    "#
                ))
                .run()
                .expect_clean();
        }
    }
}
