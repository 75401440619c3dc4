//! Programs that embed Lua: they open and close states, and live on.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::support::{Case, drop_in, empty_folder, lua, module_folder, project, version};

/// Compiles a program of this folder.
fn compile(name: &str) -> PathBuf {
    compile_with(name, lua())
}

/// Compiles a program of this folder with that Lua library.
fn compile_with(name: &str, lua: &str) -> PathBuf {
    let program = module_folder().with_file_name(format!("process-{name}-{lua}"));
    let source = project().join("tests/process").join(name).with_extension("c");
    let output = Command::new("cc")
        .args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .args([&format!("-I/usr/include/lua{}", version()), &format!("-l{lua}"), "-ldl", "-lpthread"])
        .output()
        .expect("cc links Rust programs too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs these steps in the program, see host.c.
pub fn host<'a>(steps: impl IntoIterator<Item = &'a str>) -> Case {
    static HOST: LazyLock<PathBuf> = LazyLock::new(|| compile("host"));
    Case::command([HOST.clone().into_os_string()].into_iter().chain(steps.into_iter().map(OsString::from)))
}

/// Prints, in a state without the module, whether the library is mapped.
const IS_MAPPED: &str = r#"
    local maps = assert(io.open("/proc/self/maps")):read("a")
    print(maps:find("gma2workers.so", 1, true) and "mapped" or "not mapped")
"#;

/// Waits until everything has stopped. A task that never stops makes this hang.
const UNTIL_IDLE: &str = r#"
    local function used_in_a_while()
      local before = os.clock()
      os.execute("sleep 0.2")
      return os.clock() - before
    end
    while used_in_a_while() > 0.02 do end
"#;

/// A job with host calls that must work.
const RUN: &str = r#"
    local gma2workers = require "gma2workers"
    local times = 0
    gma = { double = function(n) times = times + 1 return 2 * n end }
    local function work(n) return gma.double(n) + 1 end
    local tasks = {}
    for i = 1, 4 do tasks[i] = { func = work, args = { i } } end
    local response = gma2workers.RunSync { tasks = tasks, workers = 2 }
    for i = 1, 4 do assert(response.result[i].data == 2 * i + 1, response.result[i].data) end
    assert(times == 4)
"#;

/// Leaves jobs in flight. Their tasks loop, loop where a stop is difficult, sleep, or wait for the host.
const LEAVE_TASKS: &str = r#"
    local gma2workers = require "gma2workers"
    local begun = 0
    gma = { sleep = function() end, begun = function() begun = begun + 1 end, ask = function() end }
    local function loop() gma.begun() while true do end end
    local function hard()
      gma.begun()
      local function compare() coroutine.wrap(function() while true do end end)() end
      while true do pcall(table.sort, { 3, 2, 1 }, compare) end
    end
    local function rest() gma.begun() gma.sleep(math.huge) end
    local function ask() gma.begun() while true do gma.ask() end end
    for count, func in ipairs { loop, hard, rest, ask } do
      local job = gma2workers.RunAsync { tasks = { { func = func }, { func = func }, { func = func } },
        workers = 2, onComplete = function() print("completed") end,
        onProgress = function(done) if done > 0 then print("progressed") end end }
      while begun < 2 * count do job:wait(0.001) end
    end
"#;

/// L2. Idle workers.
#[test]
fn the_library_stays_mapped_once_threads_run_in_it() {
    host([
        "open",
        "a",
        "run",
        "a",
        "require 'gma2workers'",
        "close",
        "a",
        "open",
        "b",
        "run",
        "b",
        IS_MAPPED,
    ])
    .run()
    .expect_clean()
    .expect_stdout("not mapped\n");
    let steps = ["open", "a", "run", "a", RUN, "close", "a", "open", "b", "run", "b", UNTIL_IDLE];
    host(steps.into_iter().chain(["run", "b", IS_MAPPED])).run().expect_clean().expect_stdout("mapped\n");
}

/// L2. The pin itself: for other reasons, the C library may keep a library mapped for a while.
#[test]
fn a_run_pins_the_library() {
    let log = |chunk| {
        let steps = ["open", "a", "run", "a", chunk, "close", "a"];
        host(steps).env("LD_DEBUG", "files").run().expect_code(0).stderr
    };
    let pins =
        |log: &str| log.lines().any(|line| line.contains("gma2workers.so") && line.contains("NODELETE"));
    let loaded = log("require 'gma2workers'");
    assert!(loaded.contains("gma2workers.so"), "the dynamic linker keeps no log here:\n{loaded}");
    assert!(!pins(&loaded), "loading alone has pinned it");
    assert!(pins(&log(RUN)), "a run has not pinned it");
}

/// L2, L4. Busy workers: their tasks are stopped, and no callback runs.
#[test]
fn closing_a_state_stops_its_tasks_and_runs_no_callback() {
    let steps = ["open", "a", "run", "a", LEAVE_TASKS, "close", "a", "open", "b", "run", "b", UNTIL_IDLE];
    host(steps.into_iter().chain(["run", "b", IS_MAPPED, "run", "b", RUN, "close", "b"]))
        .run()
        .expect_clean()
        .expect_stdout("mapped\n");
}

/// L2, L4. The program ends right afterwards, in every possible way.
#[test]
fn a_program_may_end_with_its_state_open_or_just_closed() {
    host(["open", "a", "run", "a", LEAVE_TASKS]).run().expect_clean().expect_stdout("");
    host(["open", "a", "run", "a", LEAVE_TASKS, "close", "a"]).run().expect_clean().expect_stdout("");
    for exit in ["os.exit(0, true)", "os.exit(0)"] {
        Case::new(LEAVE_TASKS).then(exit).run().expect_clean().expect_stdout("");
        host(["open", "a", "run", "a", LEAVE_TASKS, "run", "a", exit]).run().expect_clean().expect_stdout("");
    }
}

/// L4. A plugin's coroutine waits in `RunSync` when the state closes.
#[test]
fn closing_a_state_stops_the_run_of_a_suspended_coroutine() {
    const SUSPENDED: &str = r#"
        gma2workers = require "gma2workers"
        gma = { sleep = coroutine.yield }
        local function loop() while true do end end
        plugin = coroutine.create(function()
          gma2workers.RunSync { tasks = { { func = loop }, { func = loop } }, workers = 2, onComplete = print }
        end)
        assert(coroutine.resume(plugin))
        assert(coroutine.status(plugin) == "suspended")
    "#;
    let steps = ["open", "a", "run", "a", SUSPENDED, "close", "a", "open", "b", "run", "b", UNTIL_IDLE];
    host(steps.into_iter().chain(["run", "b", RUN])).run().expect_clean().expect_stdout("");
}

/// Opens, runs and closes a state this many times. Writes the number of threads and the kilobytes in use, a
/// line each time.
fn figures_of_many_states(chunk: &str, times: usize) -> Vec<(u64, u64)> {
    const TELL: &str = r#"
        local status = assert(io.open("/proc/self/status")):read("a")
        print(status:match("Threads:%s*(%d+)"), status:match("VmRSS:%s*(%d+)"))
    "#;
    let steps = ["open", "a", "run", "a", chunk, "run", "a", TELL, "close", "a"];
    let outcome = host(std::iter::repeat_n(steps, times).flatten()).run().expect_clean();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let figures =
        |line: &str| line.split_once('\t').map(|(threads, memory)| (number(threads), number(memory)));
    let figures: Vec<_> = outcome.stdout.lines().filter_map(figures).collect();
    assert_eq!(figures.len(), times, "{outcome}");
    figures
}

/// L3.
#[test]
fn a_hundred_states_in_turn_cost_no_more_than_one() {
    // In the first hundred, the allocator and the code that is used settle.
    let figures = figures_of_many_states(RUN, 200);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
    let ((_, memory_before), (threads, memory)) = (figures[99], figures[199]);
    // A thread may still be ending when the next job counts the idle threads.
    assert!(threads <= 1 + cores.max(2) + 2, "{threads} threads");
    assert!(
        memory * 100 <= memory_before * 105,
        "from {memory_before} kB after 100 to {memory} kB after 200"
    );
}

/// L3, L4.
#[test]
fn a_hundred_states_that_leave_tasks_behind_cost_no_more_than_a_few() {
    let leave = r#"
        local gma2workers = require "gma2workers"
        local begun = 0
        gma = { sleep = function() end, begun = function() begun = begun + 1 end }
        local function rest() gma.begun() gma.sleep(1000) end
        local function loop() gma.begun() while true do end end
        local job = gma2workers.RunAsync { tasks = { { func = rest }, { func = loop } }, workers = 2,
          onComplete = print }
        while begun < 2 do job:wait(0.001) end
    "#;
    let figures = figures_of_many_states(leave, 100);
    // The tasks of one state stop while those of the next begin, so a few more threads hold a state: how many depends on the
    // machine's load. What is never given back would be there in each of the last figures.
    let most = |figure: fn(&(u64, u64)) -> u64| figures[5..15].iter().map(figure).max().expect("some");
    let least = |figure: fn(&(u64, u64)) -> u64| figures[80..].iter().map(figure).min().expect("some");
    let (threads_before, threads) = (most(|it| it.0), least(|it| it.0));
    assert!(threads <= threads_before + 4, "from {threads_before} threads after 10 to {threads} after 100");
    let (memory_before, memory) = (most(|it| it.1), least(|it| it.1));
    assert!(memory <= memory_before + 4096, "from {memory_before} kB after 10 to {memory} kB after 100");
}

/// L6. Both states load the module at the same time, too.
#[test]
fn two_states_work_on_two_threads_at_once() {
    let chunk = |name: &str| {
        format!("local NAME = {name:?}").to_owned()
            + r#"
            local gma2workers = require "gma2workers"
            local heard, asked = 0, 0
            gma = {
              ask = function() asked = asked + 1 return NAME end,
              echo = function(text) assert(text == NAME, text) heard = heard + 1 end,
            }
            local function ask(name, i)
              gma.echo(name)
              assert(gma.ask() == name)
              return name .. i
            end
            for round = 1, 100 do
              local tasks = {}
              for i = 1, 4 do tasks[i] = { func = ask, args = { NAME, i } } end
              local completed = 0
              local response = gma2workers.RunSync { tasks = tasks, workers = round % 3 + 1,
                mode = round % 10 == 0 and "cmd" or "timer", onComplete = function() completed = completed + 1 end }
              for i = 1, 4 do assert(response.result[i].data == NAME .. i, response.result[i].data) end
              assert(heard == 4 * round and asked == 4 * round and completed == 1)
            end
            "#
    };
    let (one, other) = (chunk("one"), chunk("other"));
    let steps = ["open", "a", "open", "b", "together", "a", &one, "b", &other];
    host(steps.into_iter().chain(["close", "a", "close", "b"])).run().expect_clean().expect_stdout("");
    // One thread closes and opens states while the other runs.
    host(
        ["open", "a", "open", "b", "together", "a", &one, "b", &other, "close", "a", "open", "a"]
            .into_iter()
            .chain(["together", "a", &one, "b", &other, "close", "b", "run", "a", RUN, "close", "a"]),
    )
    .run()
    .expect_clean();
}

/// L7.
#[test]
fn a_second_state_sees_nothing_of_the_first() {
    const SECOND: &str = r#"
        local gma2workers = require "gma2workers"
        assert(gma2workers.Poll() == 0, "it has jobs of the first")
        gma = { sleep = function() end, ask = function() return "the second's" end }
        local function ask() return gma.ask(), gma.begun, kept end
        local returns = gma2workers.RunSync { tasks = { { func = ask }, { func = ask } } }.result[1].returns
        assert(returns[1] == "the second's" and returns[2] == nil and returns[3] == nil)
        assert(gma2workers.info.threads > 0, "the threads are the process's")
    "#;
    const FIRST: &str =
        "kept = 1 require('gma2workers').RunSync { tasks = { { func = print } }, globals = { 'kept' } }";
    for first in [RUN, FIRST, LEAVE_TASKS] {
        host(["open", "a", "run", "a", first, "close", "a", "open", "b", "run", "b", SECOND, "close", "b"])
            .run()
            .expect_clean();
        // The same while the first state is still open, and in use.
        let steps = ["open", "a", "run", "a", first, "open", "b", "run", "b", SECOND];
        host(steps.into_iter().chain(["run", "a", RUN, "close", "b", "run", "a", RUN, "close", "a"]))
            .run()
            .expect_clean();
    }
}

/// L7. The thread that loaded the module and ran the first jobs has ended when the state is used again.
#[test]
fn a_state_may_be_used_on_one_thread_after_another() {
    const START: &str = r#"
        gma2workers = require "gma2workers"
        gma = { ask = function() return "answered" end }
        local function ask() return gma.ask() end
        job = gma2workers.RunAsync { tasks = { { func = ask }, { func = error, args = { "no" } } },
          onComplete = function(response) completed = response end }
    "#;
    const FINISH: &str = r#"
        assert(job:wait() == completed)
        assert(completed.result[1].data == "answered", completed.result[1].data)
        assert(completed.result[2].data == "Error: no", completed.result[2].data)
    "#;
    for (first, second) in [("run", "elsewhere"), ("elsewhere", "run"), ("elsewhere", "elsewhere")] {
        host(["open", "a", first, "a", START, second, "a", FINISH, first, "a", RUN, "close", "a"])
            .run()
            .expect_clean();
    }
}

/// What a forked child must be told at once, whichever function it calls.
const REFUSED: &str = r#"
    local gma2workers = require "gma2workers"
    local began = gma2workers.clock()
    local function refused(func, ...)
      local ok, message = pcall(func, ...)
      assert(not ok, "it worked")
      assert(type(message) == "string" and message:find("used after fork", 1, true), message)
    end
    local options = { tasks = { { func = print } }, onComplete = print }
    refused(gma2workers.RunSync, options)
    refused(gma2workers.RunAsync, options)
    options.mode = "cmd"
    refused(gma2workers.RunSync, options)
    if job then
      refused(job.wait, job)
      refused(job.wait, job, 0.1)
      refused(job.status, job)
      refused(job.cancel, job)
      refused(gma2workers.Poll)
      job = nil
    end
    for _ = 1, 3 do collectgarbage() end
    assert(gma2workers.info.version)
    local took = gma2workers.clock() - began
    -- If the child waited for a thread, it would wait for ever, since it has none.
    assert(took < 20, took)
"#;

/// P4.
#[test]
fn a_run_in_a_forked_child_is_refused_at_once() {
    // The child closes the state, keeps it, or opens a state of its own.
    let child = ["fork", "run", "a", REFUSED, "close", "a", "parent"];
    let untidy = ["fork", "run", "a", REFUSED, "parent"];
    let anew = ["fork", "close", "a", "open", "b", "run", "b", REFUSED, "close", "b", "parent"];
    let parent = ["run", "a", RUN];
    let begin = ["open", "a", "run", "a", RUN];
    let steps = begin.into_iter().chain(child).chain(parent).chain(untidy).chain(parent).chain(anew);
    host(steps.chain(parent).chain(["close", "a"])).run().expect_clean().expect_stdout("");
}

/// P4. Tasks run, sleep, wait for the host and call it, so that a fork sometimes happens while the library
/// holds a lock.
#[test]
fn a_child_is_refused_while_tasks_run_and_the_parents_job_goes_on() {
    const START: &str = r#"
        gma2workers = require "gma2workers"
        over, calls = false, 0
        gma = {
          sleep = function() end,
          is_over = function() calls = calls + 1 return over end,
          echo = function() end,
        }
        local function ask() while not gma.is_over() do gma.echo("x") end return "asked" end
        local function rest() while not gma.is_over() do gma.sleep(0.001) end return "rested" end
        local function loop()
          while not gma.is_over() do
            local t = {}
            for i = 1, 1000 do t[i] = { tostring(i) } end
          end
          return "looped"
        end
        job = gma2workers.RunAsync { tasks = { { func = ask }, { func = rest }, { func = loop } }, workers = 3,
          timeout = 60, onComplete = function(response) completed = response end }
        while calls < 10 do job:wait(0.01) end
    "#;
    const GO_ON: &str = r#"
        local before = calls
        while calls < before + 10 do job:wait(0.01) end
    "#;
    const FINISH: &str = r#"
        over = true
        assert(job:wait() == completed)
        for i, text in ipairs { "asked", "rested", "looped" } do
          assert(completed.result[i].data == text, completed.result[i].data)
        end
    "#;
    let child = ["fork", "run", "a", REFUSED, "close", "a", "parent", "run", "a", GO_ON];
    let steps = ["open", "a", "run", "a", START].into_iter().chain(std::iter::repeat_n(child, 20).flatten());
    host(steps.chain(["run", "a", FINISH, "run", "a", RUN, "close", "a"]))
        .run()
        .expect_clean()
        .expect_stdout("");
}

/// P4. Before the first job there are no threads that the child could lack.
#[test]
fn a_fork_before_the_first_job_does_no_harm() {
    let steps = ["open", "a", "run", "a", "require 'gma2workers'", "fork", "run", "a", RUN, "close", "a"];
    host(steps.into_iter().chain(["parent", "run", "a", RUN, "close", "a"])).run().expect_clean();
}

/// D8. The coroutine that loaded the module has ended and been collected when the module is used.
#[test]
fn the_module_may_be_loaded_and_used_in_coroutines() {
    let in_a_coroutine = |chunk: &str| format!("coroutine.wrap(function() {chunk} end)() collectgarbage()");
    let load = in_a_coroutine("assert(require 'gma2workers')");
    let run = in_a_coroutine(RUN);
    let deeper = in_a_coroutine(&run);
    host([
        "open", "a", "run", "a", &load, "run", "a", RUN, "run", "a", &run, "run", "a", &deeper, "close", "a",
    ])
    .run()
    .expect_clean();
    host(["open", "a", "run", "a", &deeper, "run", "a", RUN, "close", "a"]).run().expect_clean();
    // The second state loads the module after the first was closed.
    host(["open", "a", "run", "a", &run, "close", "a", "open", "b", "run", "b", &load, "run", "b", &deeper])
        .run()
        .expect_clean();
}

/// B2. The bare binary can't be loaded, but the folder finds the hidden Lua.
#[test]
fn a_program_that_hides_its_lua_gets_a_load_error_but_can_use_the_folder() {
    static HIDDEN: LazyLock<PathBuf> = LazyLock::new(|| compile("hidden"));
    let hidden = |chunk: &str| {
        let words = [HIDDEN.clone().into_os_string(), format!("lib{}.so.0", lua()).into(), chunk.into()];
        Case::command(words).run().expect_clean()
    };
    hidden("print(_VERSION)").expect_stdout(&format!("Lua {}\n", version()));
    hidden(
        r#"
        for _ = 1, 2 do
          local ok, message = pcall(require, "gma2workers")
          -- In glibc's words, and in musl's.
          assert(not ok and (message:find "gma2workers%.so: undefined symbol: lua" or message:find ": luaL?_%w+: symbol not found"), message)
        end
        "#,
    );
    let plugins = empty_folder();
    drop_in(&plugins.path().join("anything"));
    let words = [
        HIDDEN.clone().into_os_string(),
        format!("lib{}.so.0", lua()).into(),
        RUN.replace("gma2workers", "anything").into(),
    ];
    Case::command(words)
        .path(plugins.path())
        .without_cpath()
        .env("GMA2WORKERS_BACKEND", "native")
        .run()
        .expect_clean();
}

/// B11. Errors are exceptions in such a Lua.
#[test]
fn a_lua_compiled_as_cpp_is_refused_and_the_folder_falls_back() {
    let program = compile_with("host", &format!("{}-c++", lua()));
    let run = |chunk: &str| {
        let steps = ["open", "a", "run", "a", chunk, "close", "a"].map(OsString::from);
        Case::command([program.clone().into_os_string()].into_iter().chain(steps))
    };
    run("for _ = 1, 2 do print(pcall(require, 'gma2workers')) end").run().expect_clean().expect_stdout(
        &"false\tgma2workers needs a Lua that raises errors by longjmp, but this one was compiled as C++ and throws exceptions\n".repeat(2),
    );
    let plugins = empty_folder();
    let folder = plugins.path().join("anything");
    drop_in(&folder);
    fs::create_dir(folder.join("cooperative")).expect("a folder can be made");
    for part in [".", "cooperative"] {
        for entry in fs::read_dir(project().join("lua").join(part)).expect("the Lua side can be listed") {
            let path = entry.expect("a file of it").path();
            if path.is_file() {
                let copy = folder.join(part).join(path.file_name().expect("it has a name"));
                fs::copy(&path, copy).expect("it can be copied");
            }
        }
    }
    run(&RUN.replace("gma2workers\"", "anything\""))
        .path(plugins.path())
        .without_cpath()
        .run()
        .expect_code(0)
        .expect_stderr_with("tasks take turns on the host (the cooperative backend): gma2workers needs a Lua that raises errors by longjmp");
}
