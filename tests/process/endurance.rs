//! Many jobs and many tasks: none is lost, and nothing grows.

use crate::support::Case;

/// Jobs of 1, 2 and 64 one-line tasks in turn: a lost wake-up would make one of them hang.
#[test]
#[ignore = "long"]
fn no_wake_up_is_lost() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function line(i) return i end
        for _, size in ipairs { 1, 2, 64 } do
          for first = 1, 10000, size do
            local tasks = {}
            for i = 1, size do tasks[i] = { func = line, args = { first + i } } end
            local result = gma2workers.RunSync { tasks = tasks, workers = 2 }.result
            for i = 1, size do assert(result[i].data == first + i, result[i].data) end
          end
        end
        "#,
    )
    .run()
    .expect_clean();
}

#[test]
fn no_host_call_is_lost() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local calls, echoes = 0, 0
        gma = {
          add = function(n) calls = calls + n return calls end,
          echo = function() echoes = echoes + 1 end,
        }
        local function ask(times) for i = 1, times do gma.add(1) gma.echo(i) end end
        for _, workers in ipairs { 1, 2, 7 } do
          local tasks = {}
          for i = 1, 7 do tasks[i] = { func = ask, args = { 500 } } end
          gma2workers.RunSync { tasks = tasks, workers = workers }
        end
        print(calls, echoes)
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("10500\t10500\n");
}

/// `usage()` returns the process's memory in kilobytes and its number of threads.
const USAGE: &str = r#"
    local gma2workers = require "gma2workers"
    local function usage()
      collectgarbage()
      local status = assert(io.open("/proc/self/status")):read("a")
      return tonumber(status:match("VmRSS:%s*(%d+)")), tonumber(status:match("Threads:%s*(%d+)"))
    end
    local function check_growth(before, threads, more)
      local after, threads_after = usage()
      assert(after - before < 4 * 1024, ("memory went from %d to %d kB"):format(before, after))
      local growth = ("threads went from %d to %d"):format(threads, threads_after)
      assert(threads_after <= threads + (more or 0), growth)
    end
"#;

#[test]
#[ignore = "long"]
fn memory_and_threads_are_steady_over_many_jobs() {
    Case::new(USAGE)
        .then(
            r#"
            local function work(list) return { #list, list } end
            local function run(times)
              for i = 1, times do
                local list = {}
                for j = 1, 100 do list[j] = "entry " .. i .. " " .. j end
                local task = { func = work, args = { list } }
                local tasks = { task, { func = error, args = { "no" } }, task }
                local mode = i % 10 == 0 and "cmd" or "timer"
                gma2workers.RunSync { tasks = tasks, workers = i % 3 + 1, mode = mode }
                gma2workers.RunAsync { tasks = tasks, onComplete = function() end }
                if i % 5 == 0 then
                  while gma2workers.Poll() > 0 do end
                end
              end
            end
            run(100)
            local before, threads = usage()
            run(1000)
            -- At most five asynchronous jobs of two workers and one job of three run at the same time.
            check_growth(before, threads, 13)
            "#,
        )
        .run()
        .expect_clean();
}

#[test]
#[ignore = "long"]
fn memory_and_threads_are_steady_over_plugins_killed_in_a_run() {
    Case::new(USAGE)
        .then(
            r#"
            gma = { sleep = function(seconds) coroutine.yield(seconds) end }
            local function rest() gma.sleep(1000) end
            local function run(times)
              local text = ("x"):rep(100000)
              for _ = 1, times do
                local tasks = { { func = rest, args = { text } }, { func = rest } }
                local plugin = coroutine.create(function()
                  gma2workers.RunSync { tasks = tasks, workers = 2 }
                end)
                assert(coroutine.resume(plugin))
                assert(coroutine.status(plugin) == "suspended", "the run has not waited")
                -- Off Plugin: the engine drops the coroutine. The sleep of its tasks ends with it.
                plugin = nil
                collectgarbage()
              end
            end
            run(50)
            local before, threads = usage()
            run(200)
            -- The threads of the job before may still be ending.
            check_growth(before, threads, 8)
            "#,
        )
        .run()
        .expect_clean();
}

#[test]
#[ignore = "long"]
fn memory_is_steady_over_many_tasks() {
    Case::new(USAGE)
        .then(
            r#"
            local function line(i) return i end
            local function run(times)
              local tasks = {}
              for i = 1, 1000 do tasks[i] = { func = line, args = { i } } end
              for _ = 1, times do gma2workers.RunSync { tasks = tasks, workers = 2 } end
            end
            -- The host's own heap grows by what a few jobs leave to its collector.
            run(200)
            local before, threads = usage()
            run(1000)
            check_growth(before, threads)
            "#,
        )
        .run()
        .expect_clean();
}
