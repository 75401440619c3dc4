//! Processor time while there is nothing to do, and threads that can't be created.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::{Case, empty_folder, is_installed, lua, module};

/// `spent(func)` returns what the process used during the call: wake-ups of the main thread, wake-ups of all
/// other threads, and processor seconds. A busy machine increases none of them.
const SPENT: &str = r#"
    local gma2workers = require "gma2workers"
    local native = require "consolenative"
    local pid = assert(io.open("/proc/self/stat")):read("n")
    local function wake_ups()
      local main, others, thread = 0, 0, nil
      local pipe = assert(io.popen("cat /proc/" .. pid .. "/task/*/status"))
      for line in pipe:lines() do
        thread = tonumber(line:match("^Pid:%s*(%d+)")) or thread
        local times = tonumber(line:match("^voluntary_ctxt_switches:%s*(%d+)")) or 0
        if thread == pid then main = main + times else others = others + times end
      end
      pipe:close()
      return main, others
    end
    local function spent(func)
      local main, others = wake_ups()
      local before = os.clock()
      func()
      local seconds = os.clock() - before
      local main_after, others_after = wake_ups()
      return main_after - main, others_after - others, seconds
    end
"#;

#[test]
fn an_idle_pool_uses_no_processor() {
    Case::new(SPENT)
        .then(
            r#"
            gma2workers.RunSync { tasks = { { func = print }, { func = print } }, workers = 2 }
            -- A thread looks for work for a moment before it sleeps, and rests once within a second; later on a busy machine.
            local others, seconds
            for _ = 1, 10 do
              native.sleep(1.5)
              _, others, seconds = spent(function() native.sleep(2) end)
              if others <= 4 and seconds < 0.5 then break end
            end
            assert(others <= 4, others .. " wake-ups in 2 s")
            -- A thread that never sleeps would use all the time.
            assert(seconds < 0.5, ("%.3f s in 2 s"):format(seconds))
            "#,
        )
        .run()
        .expect_clean();
}

#[test]
fn waiting_uses_hardly_any_processor() {
    Case::new(SPENT)
        .then(
            r#"
            gma = { sleep = function() end }
            local function rest(seconds) gma.sleep(seconds) end
            local task = { func = rest, args = { 3 } }
            gma2workers.RunSync { tasks = { { func = print }, { func = print } }, workers = 2 }
            local duration
            local main, others, seconds = spent(function()
              duration = gma2workers.RunSync({ tasks = { task, task }, workers = 2 }).duration
            end)
            assert(main <= 100 * duration and others <= 7 * duration,
              ("%d and %d wake-ups in %.1f s"):format(main, others, duration))
            assert(seconds < 0.5 * duration, ("%.3f s in %.1f s"):format(seconds, duration))
            "#,
        )
        .run()
        .expect_clean();
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("Linux has it").uid() == 0
}

#[test]
fn a_thread_limit_of_the_system_is_the_callers_error() {
    if !is_installed("setpriv") || !is_installed("prlimit") || !is_root() {
        // The limit counts all processes of a user, so the test needs a user without others; only root can
        // become one.
        eprintln!("skipped: it takes root, setpriv and prlimit");
        return;
    }
    // That user can read only files open to all.
    let folder = empty_folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .expect("a folder can be opened to all");
    fs::copy(module(), folder.path().join("gma2workers.so")).expect("the module can be copied");
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        for _ = 1, 2 do
          local ok, message = pcall(gma2workers.RunSync, { tasks = { { func = type, args = { 1 } } } })
          assert(not ok, "a run without threads")
          print(message)
          assert(gma2workers.Poll() == 0)
        end
        "#,
    )
    .under(["setpriv", "--reuid=64321", "--regid=64321", "--clear-groups", "prlimit", "--nproc=1"])
    .in_folder(folder.path())
    .cpath(folder.path())
    .run()
    .expect_clean()
    .expect_stdout_with("cannot start workers: ");
}

/// Runs tasks that want ever more memory; only the system limits them.
#[track_caller]
fn runs_out_of_memory(eat: &str) {
    Case::new(&format!("local function eat() {eat} end"))
        .then(
            r#"
            local gma2workers = require "gma2workers"
            for _, mode in ipairs { "timer", "cmd" } do
              local tasks = { { func = eat }, { func = eat } }
              local result = gma2workers.RunSync { tasks = tasks, workers = 2, mode = mode }.result
              -- It runs in a job of its own: beside a task that still takes memory there may be none left for
              -- it.
              local good = { { func = type, args = { 1 } } }
              local after = gma2workers.RunSync { tasks = good, mode = mode }.result
              print(result[1].kind, result[2].kind, after[1].data)
            end
            "#,
        )
        .under(["prlimit", "--as=250000000"])
        .run()
        .expect_clean()
        .expect_stdout("memory\tmemory\tnumber\nmemory\tmemory\tnumber\n");
}

#[test]
#[ignore = "long"]
fn a_task_that_runs_out_of_memory_is_that_tasks_error() {
    runs_out_of_memory("local text = 'x' while true do text = text .. text end");
    runs_out_of_memory(
        "local all, long = {}, ('x'):rep(100000) for i = 1, math.huge do all[i] = long .. i end",
    );
    runs_out_of_memory("local all = {} for i = 1, math.huge do all[i] = { i, i } end");
}

#[test]
fn results_without_memory_for_them_are_that_tasks_error() {
    runs_out_of_memory("local text = ('x'):rep(80000000) return { text, text .. 'y' }");
}

#[test]
fn a_buffer_past_the_limit_is_out_of_memory() {
    // Lua's buffers have a message of their own for it.
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function repeated() return ("x"):rep(100000000) end
        local function replaced() return (("x"):rep(1000000):gsub("x", ("y"):rep(100))) end
        local tasks = { { func = repeated }, { func = replaced } }
        for i, result in ipairs(gma2workers.RunSync { tasks = tasks, memoryLimit = 10000000 }.result) do
          print(result.kind, (result.data:match("not enough memory")))
        end
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("memory\tnot enough memory\nmemory\tnot enough memory\n");
}

/// T13. The system refuses that task more memory, but has plenty for the others.
#[test]
fn a_refused_allocation_fails_no_other_task() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local asked, done = false, 0
        gma = {
          ask = function() asked = true end,
          may_begin = function() return asked end,
          done = function() done = done + 1 end,
          may_end = function() return done == 3 end,
        }
        local function ask()
          local caught = select(2, pcall(string.rep, "x", 1 << 30))
          gma.ask()
          -- The task's state is still intact.
          while not gma.may_end() do end
          return caught
        end
        local function innocent(size)
          while not gma.may_begin() do end
          local list = {}
          for i = 1, size do list[i] = { i } end
          gma.done()
          return #list
        end
        local tasks = { { func = ask } }
        for _, size in ipairs { 100, 5000, 200000 } do tasks[#tasks + 1] = { func = innocent, args = { size } } end
        for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 4 }.result) do print(entry.data) end
        "#,
    )
    .under(["prlimit", "--as=1000000000"])
    .run()
    .expect_clean()
    .expect_stdout(if lua() == "lua5.3" {
        "not enough memory for buffer allocation\n100\n5000\n200000\n"
    } else {
        "not enough memory\n100\n5000\n200000\n"
    });
}

/// T13. Several tasks take all memory of the system, are refused more, and keep what they have.
#[test]
fn tasks_that_keep_all_memory_leave_the_others_some() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local full, is_over = 0, false
        gma = {
          full = function() full = full + 1 end,
          may_begin = function() return full == 3 end,
          over = function() is_over = true end,
          may_end = function() return is_over end,
        }
        local function eat(kind)
          local all, n, long = {}, 0, ("x"):rep(10000)
          local function take()
            while true do
              n = n + 1
              all[n] = kind == "tables" and { n, n } or kind == "texts" and long .. n or coroutine.wrap(print)
            end
          end
          pcall(take)
          gma.full()
          -- It asks for more all the time, until the other tasks have ended.
          repeat pcall(take) until gma.may_end()
          error "has eaten"
        end
        local function await() while not gma.may_begin() do end end
        local function innocent(what)
          local list = {}
          for i = 1, 1000 do list[i] = { i } end
          if what == "error" then error("as it should") end
          return #list + #("x"):rep(70000)
        end
        local tasks = {}
        for _, kind in ipairs { "tables", "texts", "coroutines" } do tasks[#tasks + 1] = { func = eat, args = { kind } } end
        tasks[#tasks + 1] = { func = await }
        for i = 1, 1000 do tasks[#tasks + 1] = { func = innocent, args = { i % 2 == 0 and "error" or "value" } } end
        tasks[#tasks + 1] = { func = function() gma.over() end }
        local result = gma2workers.RunSync { tasks = tasks, workers = 4 }.result
        for i = 1, 3 do assert(result[i].kind == "runtime" or result[i].kind == "memory", result[i].data) end
        for i = 1, 1000 do
          local entry = result[4 + i]
          assert(entry.data == 71000 or i % 2 == 0 and entry.data:find("as it should"), entry.data)
        end
        print("all answered")
        "#,
    )
    .under(["prlimit", "--as=400000000"])
    .run()
    .expect_clean()
    .expect_stdout("all answered\n");
}
