//! The progress bars of jobs: on a terminal, and when the process ends.

use crate::support::{Case, empty_folder, lua};

/// A job of four tasks that take a while.
const JOB: &str = r#"
    local gma2workers = require "gma2workers"
    local function task(n) local stop = os.clock() + 0.06 repeat until os.clock() > stop return n end
    local tasks = {}
    for n = 1, 4 do tasks[n] = { func = task, args = { n } } end
    local function work(title) return gma2workers.RunSync { tasks = tasks, workers = 1, progress = title } end
"#;

/// What a terminal would show of a script's standard output and standard error.
fn on_terminal(script: &str) -> String {
    let folder = empty_folder();
    let file = folder.path().join("script.lua");
    std::fs::write(&file, script).expect("a file to write");
    let command = format!("{} '{}'", lua(), file.display());
    let outcome = Case::command(["script", "-qec", &command, "/dev/null"]).run();
    outcome.expect_code(0).stdout
}

#[test]
fn a_bar_on_a_terminal_disappears_with_its_job() {
    // Each task ends when the bar shows those before it.
    let shown = on_terminal(
        r#"
        local gma2workers = require "gma2workers"
        local told = -1
        local function wait(n) while host.told() < n - 1 do end end
        local tasks = {}
        for n = 1, 4 do tasks[n] = { func = wait, args = { n } } end
        gma2workers.RunSync { tasks = tasks, workers = 1, progress = "Work", host = { told = function() return told end },
          onProgress = function(done) told = done end }
        io.stderr:write "after"
        "#,
    );
    assert!(shown.starts_with("\rWork [                        ] 0/4\x1b[K"), "{shown:?}");
    assert!(shown.contains("/4, 0:"), "{shown:?}");
    assert!(shown.ends_with("\rWork [========================] 4/4\x1b[K\r\x1b[Kafter"), "{shown:?}");
    assert!(!shown.contains('\n'), "{shown:?}");
}

#[test]
fn a_bar_on_a_terminal_stays_on_one_line() {
    let shown = on_terminal(&format!("{JOB} work(('Wörk\\n'):rep(100))"));
    let title = format!("\r{}", "Wörk ".repeat(6));
    assert!(shown.starts_with(&format!("{title} [")), "{shown:?}");
    assert!(!shown.contains('\n'), "{shown:?}");
}

#[test]
fn a_bar_on_a_terminal_disappears_on_an_error() {
    let shown = on_terminal(&format!(
        "{JOB} pcall(gma2workers.RunSync, {{ tasks = tasks, progress = 'Work', onComplete = error }})
        pcall(gma2workers.Map, error, {{ 1 }}, {{ progress = 'Work' }})
        local job = gma2workers.RunAsync {{ tasks = tasks, progress = 'Work', onComplete = print }}
        gma2workers.Poll()
        job:cancel()
        io.stderr:write('after') os.exit(0, true)"
    ));
    assert!(shown.ends_with("\x1b[K\r\x1b[Kafter"), "{shown:?}");
    let closings = shown.matches("\r\x1b[K").count();
    assert_eq!(closings, 3, "{shown:?}");
}

#[test]
fn there_is_no_bar_without_a_terminal() {
    Case::new(JOB).then("work('Work')").run().expect_clean().expect_stdout("");
}

#[test]
fn the_engines_bar_is_preferred_to_a_terminals() {
    let engine = "gma = { gui = { progress = { start = function(title) print(title) return 1 end,
        stop = function(handle) print('stop ' .. handle) end } } }";
    Case::new(engine).then(JOB).then("work('Work')").run().expect_clean().expect_stdout("Work\nstop 1\n");
    assert_eq!(on_terminal(&format!("{engine} {JOB} work('Work')")), "Work\r\nstop 1\r\n");
}

#[test]
fn closing_the_state_closes_the_engines_bar() {
    Case::new(
        r#"
        gma = { gui = { progress = { start = function() return 1 end, setrange = print,
          stop = function(handle) print("stop " .. handle) end } } }
        local gma2workers = require "gma2workers"
        local function loop() while true do end end
        job = gma2workers.RunAsync { tasks = { { func = loop } }, progress = "Work", onComplete = print }
        print(job:status())
        "#,
    )
    .run()
    .expect_code(0)
    .expect_stderr_with("a job was never run to its end")
    .expect_stdout("1\t0\t1\nrunning\t0\t1\nstop 1\n");
}

#[test]
fn ctrl_c_closes_the_engines_bar() {
    let outcome = Case::new(
        r#"
        local is_open = false
        gma = { sleep = function() end, is_open = function() return is_open end,
          gui = { progress = { start = function() is_open = true return 1 end,
            stop = function(handle) print("stop " .. handle) end } } }
        local gma2workers = require "gma2workers"
        local function rest() while not gma.is_open() do end gma.sleep(0.05) print("begun") gma.sleep(1000) end
        gma2workers.RunSync { tasks = { { func = rest } }, progress = "Work" }
        "#,
    )
    .interrupt_at("begun")
    .run();
    outcome.expect_own_error("interrupted!").expect_stdout("begun\nstop 1\n");
}
