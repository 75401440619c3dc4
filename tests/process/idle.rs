//! Threads: a job starts as many as it can use; idle ones keep nothing of their last job, and those beyond the number of cores end.

use crate::support::Case;

/// The process's status as the system reports it: its threads, and the memory in use, in KiB.
const STATUS: &str = r#"
    local gma2workers = require "gma2workers"
    local function status(field)
      for line in io.lines("/proc/self/status") do
        local number = line:match("^" .. field .. ":%s*(%d+)")
        if number then return tonumber(number) end
      end
    end
    -- An event that never comes makes this hang.
    local function await(condition)
      while not condition() do os.execute("sleep 0.1") end
    end
    local function add(a, b) return a + b end
    local function run(workers)
      local tasks = {}
      for i = 1, workers do tasks[i] = { func = add, args = { i, i } } end
      for i, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = workers }.result) do
        assert(entry.data == 2 * i, entry.data)
      end
    end
    -- By default, a job has a worker for each core.
    local many = {}
    for i = 1, 256 do many[i] = { func = add, args = { i, i } } end
    local cores = gma2workers.RunSync { tasks = many }.workerCount
"#;

/// T14.
#[test]
fn an_idle_thread_keeps_nothing_of_its_last_job() {
    Case::new(STATUS)
        .then(
            r#"
            local function count() return #large_text end
            local function fill()
              local list = {}
              for i = 1, 100000 do list[i] = { i, tostring(i) } end
              return #list
            end
            local function load_large() return load(("x = 1 "):rep(1 << 20)) and 1 end
            -- A long message crosses with a traceback, and is also kept where a coroutine has failed.
            local function fail() coroutine.wrap(error)(("x"):rep(20 << 20)) end
            run(4)
            local before = status("VmRSS")
            for _, func in ipairs { count, fill, load_large, fail } do
              -- An argument of several tasks is a part of their states.
              local shared = func == count and ("y"):rep(20 << 20)
              rawset(_G, "large_text", ("x"):rep(40 << 20))
              local tasks = {}
              for i = 1, 8 do tasks[i] = { func = func, args = { shared } } end
              local response = gma2workers.RunSync { tasks = tasks, workers = 4, globals = { "large_text" } }
              assert(func == fail or response.failed == nil or response.failed == 0, response.result[1].data)
              rawset(_G, "large_text", nil)
              response, tasks, shared = nil, nil, nil
              collectgarbage()
              collectgarbage()
              -- The pool may have been cleaned up as idle before the host freed its own part; this makes it
              -- idle again.
              run(4)
              await(function() return status("VmRSS") < before + 15000 end)
            end
            "#,
        )
        .run()
        .expect_clean();
}

/// T14.
#[test]
fn an_idle_thread_keeps_little_memory() {
    Case::new(STATUS)
        .then(
            r#"
            -- Each task waits until all have begun, so that each thread has a state.
            local begun = 0
            gma = { begin = function() begun = begun + 1 end, begun = function() return begun end, sleep = function() end }
            local function meet(count)
              gma.begin()
              while gma.begun() < count do gma.sleep(0.001) end
              return true
            end
            local function start(count)
              begun = 0
              local tasks = {}
              for i = 1, count do tasks[i] = { func = meet, args = { count } } end
              for _, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = count }.result) do
                assert(entry.data == true, entry.data)
              end
              collectgarbage()
            end
            start(cores)
            local before = status("VmRSS")
            local count = cores + 100
            start(count)
            await(function()
              -- They may have ended before this looked.
              if gma2workers.info.threads < count then start(count) end
              local memory = status("VmRSS")
              return gma2workers.info.threads == count and memory < before + 100 * 32
            end)
            start(count)
            "#,
        )
        .run()
        .expect_clean();
}

/// T14.
#[test]
fn threads_beyond_the_cores_end_when_they_had_nothing_to_do() {
    Case::new(STATUS)
        .then(
            r#"
            local threads = status("Threads")
            -- Some may have ended before this looks.
            repeat run(100) until gma2workers.info.threads == math.max(100, cores)
            await(function() return gma2workers.info.threads == cores end)
            await(function() return status("Threads") == threads end)
            repeat run(cores + 5) until gma2workers.info.threads == cores + 5
            "#,
        )
        .run()
        .expect_clean();
}

/// T14, T5. A thread that was given up stays until its task has ended; the other threads end.
#[test]
fn a_lost_thread_ends_when_it_is_back() {
    Case::new(STATUS)
        .then(
            r#"
            local input = os.tmpname()
            os.remove(input)
            assert(os.execute("mkfifo " .. input))
            -- Opened for reading and writing, so that opening does not wait for a writer.
            local writer = assert(io.open(input, "r+"))
            local tasks = {}
            for i = 1, cores + 3 do tasks[i] = { func = function(name) io.open(name):read("a") end, args = { input } } end
            local response = gma2workers.RunSync { tasks = tasks, workers = #tasks, timeout = 3 }
            for _, entry in ipairs(response.result) do assert(entry.kind == "lost", entry.data) end
            assert(gma2workers.info.lost == cores + 3)
            repeat run(cores + 10) until gma2workers.info.threads > cores + 3
            await(function() return gma2workers.info.threads == cores + 3 end)
            assert(gma2workers.info.lost == cores + 3)
            run(cores + 1)
            writer:close()
            os.remove(input)
            await(function() return gma2workers.info.lost == 0 and gma2workers.info.threads == cores end)
            run(cores + 1)
            "#,
        )
        .run()
        .expect_clean();
}

/// L17.
#[test]
fn a_first_job_starts_as_many_threads_as_it_can_use() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function run(count)
          local tasks = {}
          for i = 1, count do tasks[i] = { func = tostring, args = { i } } end
          assert(gma2workers.RunSync { tasks = tasks }.result[count].data == tostring(count))
        end
        run(1)
        assert(gma2workers.info.threads == 1, gma2workers.info.threads)
        run(1)
        assert(gma2workers.info.threads == 1, gma2workers.info.threads)
        "#,
    )
    .run()
    .expect_clean();
}
