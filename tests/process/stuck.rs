//! Tasks that nothing can stop, that try to end the process, or that are stopped at awkward moments.

use crate::support::Case;

/// Tasks that hold their thread for longer than a test may take: waiting for one is a hang.
const TASKS: &str = r#"
    local gma2workers = require "gma2workers"
    local stuck = {}
    -- The pattern tries every way to divide the text among its parts.
    function stuck.find() return (("x"):rep(1000)):find((".-"):rep(30) .. "y") end
    function stuck.handler() xpcall(error, function() while true do end end) end
    function stuck.finalizer()
      setmetatable({}, { __gc = function() while true do end end })
      collectgarbage()
    end
    -- It runs when the state closes, or when the next task's state is made.
    function stuck.last_finalizer() kept = setmetatable({}, { __gc = function() while true do end end }) end
    local function check_health()
      local function add(a, b) return a + b end
      local tasks = {}
      for i = 1, 10 do tasks[i] = { func = add, args = { i, i } } end
      local response = gma2workers.RunSync { tasks = tasks, workers = 2 }
      for i, entry in ipairs(response.result) do assert(entry.data == 2 * i, entry.data) end
    end
"#;

/// T5, L1, L11. Each task is given up or stopped; the script goes on, and ends when it wants to.
#[test]
#[ignore = "long"]
fn a_script_ends_after_tasks_were_stuck() {
    for name in ["find", "handler", "finalizer", "last_finalizer"] {
        for mode in ["timer", "cmd"] {
            for (ending, code) in
                [("", 0), ("os.exit(7)", 7), ("os.exit(7, true)", 7), ("error('at the end', 0)", 1)]
            {
                let outcome = Case::new(TASKS)
                    .then(&format!("local func, mode = stuck.{name}, {mode:?}"))
                    .then(
                        r#"
                        local response = gma2workers.RunSync { tasks = { { func = func }, { func = func } },
                          workers = 2, mode = mode, timeout = 0.1 }
                        for _, entry in ipairs(response.result) do
                          -- A finalizer may run at the state's end, after the task has ended.
                          local is_right = entry.kind == "timeout" or entry.kind == "lost"
                            or func == stuck.last_finalizer and entry.success
                          assert(is_right, tostring(entry.kind) .. ": " .. tostring(entry.data))
                        end
                        check_health()
                        "#,
                    )
                    .then(ending)
                    .run()
                    .expect_code(code)
                    .expect_stdout("");
                if code != 1 {
                    outcome.expect_no_complaint();
                }
            }
        }
    }
}

/// C3. Nothing can stop this `init`. Its job ends when it is cancelled, and when it is dropped.
#[test]
fn an_init_that_is_stuck_is_given_up() {
    for ending in ["", "os.exit(0, true)"] {
        Case::new(TASKS)
            .then(
                r#"
                local begun = 0
                gma = { begun = function() begun = begun + 1 end }
                local function init(find) gma.begun() find() end
                local function start()
                  return gma2workers.RunAsync { tasks = { { func = print }, { func = print } }, workers = 1,
                    init = { func = init, args = { stuck.find } }, onComplete = function() end }
                end
                local job, result
                -- The job may be cancelled before the host call has returned, and `init` is not stuck then.
                repeat
                  job, begun = start(), 0
                  while begun < 1 do job:wait(0.001) end
                  job:cancel()
                  result = job:wait().result
                  assert(result[2].kind == "cancelled", result[2].kind)
                until result[1].kind == "lost"
                job, begun = start(), 0
                while begun < 1 do job:wait(0.001) end
                job = nil
                collectgarbage()
                check_health()
                "#,
            )
            .then(ending)
            .run()
            .expect_code(0)
            .expect_stdout("");
    }
}

/// C3. Nothing can stop this `init`, which has a limit: one thread is lost, and all tasks have its error.
#[test]
fn an_init_that_is_stuck_past_its_time_is_not_run_again() {
    Case::new(TASKS)
        .then(
            r#"
            local begun = 0
            gma = { begun = function() begun = begun + 1 end }
            local tasks = {}
            for i = 1, 5 do tasks[i] = { func = print } end
            local result = gma2workers.RunSync { tasks = tasks, workers = 1, timeout = 0.1,
              init = { func = function(find) gma.begun() find() end, args = { stuck.find } } }.result
            for i = 1, 5 do
              assert(result[i].kind == "lost", result[i].kind)
              assert(result[i].data == "Error: init timed out after 0.1 s (init = { func = f, timeout = seconds } gives it "
                .. "another limit), and could not be stopped: its thread was given up", result[i].data)
            end
            assert(begun == 1 and gma2workers.info.lost == 1, begun)
            check_health()
            "#,
        )
        .then("os.exit(0, true)")
        .run()
        .expect_code(0)
        .expect_stdout("");
}

/// L11, L1. The task has not been given up yet: the process ends while it is deep in C.
#[test]
fn a_script_ends_with_a_task_deep_in_c() {
    for ending in ["", "os.exit(7)", "os.exit(7, true)"] {
        Case::new(TASKS)
            .then(
                r#"
                local begun = 0
                gma = { begun = function() begun = begun + 1 end }
                local function find(find) gma.begun() find() end
                local tasks = { { func = find, args = { stuck.find } }, { func = find, args = { stuck.find } } }
                local job = gma2workers.RunAsync { tasks = tasks, workers = 2, onComplete = print }
                while begun < 2 do job:wait(0.001) end
                "#,
            )
            .then(ending)
            .run()
            .expect_code(if ending.is_empty() { 0 } else { 7 })
            .expect_no_complaint()
            .expect_stdout("");
    }
}

/// T5. The worker comes back; its result is dropped.
#[test]
fn the_late_result_of_a_task_that_was_given_up_is_dropped() {
    Case::new(TASKS)
        .then(
            r#"
            local input = os.tmpname()
            os.remove(input)
            assert(os.execute("mkfifo " .. input))
            -- Opened for reading and writing, so that opening does not wait for a writer; a task that is
            -- stopped there closes it again.
            local writer = assert(io.open(input, "r+"))
            -- It reads until there is no writer any more, and only the kernel can stop it.
            local function read(name, i)
              local text = assert(io.open(name)):read("a")
              print("late", i)
              return text
            end
            local completed = 0
            local tasks = { { func = read, args = { input, 1 } }, { func = read, args = { input, 2 } } }
            local response = gma2workers.RunSync { tasks = tasks, workers = 2, timeout = 3,
              onComplete = function() completed = completed + 1 end }
            for i = 1, 2 do
              local entry = response.result[i]
              assert(entry.kind == "lost", tostring(entry.kind) .. tostring(entry.data))
              assert(entry.data:find("timed out after 3 s", 1, true), entry.data)
            end
            assert(gma2workers.info.lost == 2, gma2workers.info.lost)
            check_health()
            -- The pool has grown by the replacements, and takes the lost workers back.
            local threads = gma2workers.info.threads
            writer:write("something")
            writer:close()
            os.remove(input)
            while gma2workers.info.lost > 0 do
              check_health()
            end
            for _ = 1, 20 do check_health() end
            assert(gma2workers.info.threads <= threads + 2, gma2workers.info.threads)
            assert(response.result[1].kind == "lost" and completed == 1)
            "#,
        )
        .run()
        .expect_clean();
}

/// T5. Each of several jobs has a stuck task: each job ends, and the rest of the pool works on.
#[test]
fn jobs_with_stuck_tasks_end_one_after_another() {
    Case::new(TASKS)
        .then(
            r#"
            local input = os.tmpname()
            os.remove(input)
            assert(os.execute("mkfifo " .. input))
            -- Opening a pipe for reading waits for a writer.
            for round = 1, 3 do
              local tasks = { { func = io.open, args = { input }, timeout = 0.5 }, { func = type, args = { 1 } },
                { func = type, args = { "" } } }
              local response
              -- On a busy machine the time may be over before the task has opened the pipe.
              repeat
                response = gma2workers.RunSync { tasks = tasks, workers = 1 }
              until response.result[1].kind ~= "timeout"
              assert(response.result[1].kind == "lost", response.result[1].data)
              assert(response.result[2].data == "number" and response.result[3].data == "string")
              assert(gma2workers.info.lost == round, gma2workers.info.lost)
            end
            os.remove(input)
            check_health()
            "#,
        )
        .run()
        .expect_clean();
}

/// I2. In every way that a task can call it.
#[test]
fn os_exit_is_refused_wherever_a_task_calls_it() {
    Case::new(TASKS)
        .then(
            r#"
            local exit = os.exit
            local tasks = {}
            local function add(func, ...) tasks[#tasks + 1] = { func = func, args = { ... } } end
            local function call(...) os.exit(...) end
            add(call)
            for _, code in ipairs { 0, 9, true, false } do
              add(call, code)
              add(call, code, true)
              add(call, code, false)
              add(exit, code, true)
              add(function(...) exit(...) end, code, true)
            end
            add(function() load("os.exit(9, true)")() end)
            add(function() _ENV["os"]["exit"](9) end)
            add(function() local _, f = next({ os.exit }) f(9) end)
            add(function() coroutine.wrap(function() os.exit(9, true) end)() end)
            add(function() coroutine.wrap(os.exit)(9, true) end)
            add(function() error(select(2, coroutine.resume(coroutine.create(os.exit), 9)), 0) end)
            add(function() error(select(2, pcall(os.exit, 9, true)), 0) end)
            add(function() error(select(2, xpcall(error, os.exit, 9)), 0) end)
            add(function() error(select(2, xpcall(error, function() os.exit(9, true) end)), 0) end)
            add(function() table.sort({ 3, 2, 1 }, os.exit) end)
            add(function() return (("x"):gsub("x", os.exit)) end)
            add(function() return setmetatable({}, { __index = os.exit }).field end)
            add(function() tostring(setmetatable({}, { __tostring = os.exit })) end)
            -- In Lua 5.4, a finalizer's error is a warning.
            local function collect() collectgarbage() if _VERSION ~= "Lua 5.3" then error("went on") end end
            add(function() setmetatable({}, { __gc = os.exit }) collect() end)
            add(function() setmetatable({}, { __gc = function() os.exit(9, true) end }) collect() end)
            add(function() error(setmetatable({}, { __tostring = function() os.exit(9, true) end })) end)
            -- Its finalizers run when its state closes, during any caller's code.
            local function at_the_end()
              kept = setmetatable({}, { __gc = function() os.exit(9, true) end })
              other = setmetatable({}, { __gc = os.exit })
              coroutine.wrap(function() local t = setmetatable({}, { __gc = os.exit }) coroutine.yield(t) end)()
              return "returned"
            end
            for _, mode in ipairs { "timer", "cmd" } do
              for _, workers in ipairs { 1, 3 } do
                local response = gma2workers.RunSync { tasks = tasks, mode = mode, workers = workers }
                for i, entry in ipairs(response.result) do
                  local text = tostring(entry.data)
                  assert(not entry.success, i .. " went on: " .. text)
                  assert(entry.kind == "runtime", entry.kind)
                end
                response = gma2workers.RunSync { mode = mode, workers = workers,
                  tasks = { { func = at_the_end }, { func = at_the_end }, { func = type, args = { 1 } } } }
                assert(response.result[1].data == "returned", response.result[1].data)
                assert(response.result[2].data == "returned", response.result[2].data)
                assert(response.result[3].data == "number", response.result[3].data)
                check_health()
              end
            end
            print("still here")
            "#,
        )
        .run()
        .expect_clean()
        .expect_stdout("still here\n");
}

/// L5. Other jobs compute, are stuck, or wait for the host.
#[test]
fn os_exit_in_a_callback_ends_the_process_while_other_jobs_run() {
    for exit in ["os.exit(3)", "os.exit(3, true)"] {
        for ending in [
            "gma2workers.RunSync { tasks = quick, onComplete = function() EXIT end }",
            "gma2workers.RunAsync { tasks = quick, onComplete = function() EXIT end } while true do gma2workers.Poll() end",
            "gma2workers.RunAsync { tasks = quick, mode = 'cmd', onComplete = function() EXIT end }:wait()",
            "gma.leave = function() EXIT end gma2workers.RunSync { tasks = { { func = leave } } }",
        ] {
            Case::new(TASKS)
                .then(
                    r#"
                    local begun = 0
                    gma = { begun = function() begun = begun + 1 end, sleep = function() end, ask = function() end,
                      leave = function() end }
                    local function loop() gma.begun() while true do end end
                    local function rest() gma.begun() gma.sleep(1000) end
                    local function ask() gma.begun() while true do gma.ask() end end
                    local function find(find) gma.begun() find() end
                    local function leave() gma.leave() end
                    local quick = { { func = type, args = { 1 } } }
                    local tasks = { { func = loop }, { func = rest }, { func = ask },
                      { func = find, args = { stuck.find } } }
                    local job = gma2workers.RunAsync { tasks = tasks, workers = 4, onComplete = print }
                    while begun < 4 do job:wait(0.001) end
                    "#,
                )
                .then(&ending.replace("EXIT", exit))
                .run()
                .expect_code(3)
                .expect_no_complaint()
                .expect_stdout("");
        }
    }
}

/// P1. One press is enough: looping tasks are stopped, whatever kind of loop it is, and the next job works.
#[test]
fn a_caught_ctrl_c_leaves_a_working_pool() {
    Case::new(TASKS)
        .then(
            r#"
            local begun = 0
            gma = { begun = function()
              begun = begun + 1
              if begun == 3 then print("begun") io.stdout:flush() end
            end }
            local function plain() gma.begun() while true do end end
            local function caught() gma.begun() while true do pcall(function() while true do end end) end end
            local function nested()
              gma.begun()
              while true do coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)() end
            end
            local completed = 0
            local ok, message = pcall(function()
              gma2workers.RunSync { tasks = { { func = plain }, { func = caught }, { func = nested }, { func = plain } },
                workers = 3, onComplete = function() completed = completed + 1 end }
            end)
            assert(not ok and message:find("interrupted!", 1, true), message)
            assert(completed == 0 and begun == 3)
            -- A task that still loops would keep the process busy.
            repeat
              local before = os.clock()
              os.execute("sleep 0.2")
            until os.clock() - before < 0.02
            assert(gma2workers.info.lost == 0, gma2workers.info.lost)
            local threads = gma2workers.info.threads
            check_health()
            -- An idle thread may have ended.
            assert(gma2workers.info.threads <= threads, "a thread was lost")
            assert(gma2workers.Poll() == 0)
            "#,
        )
        .interrupt_at("begun")
        .run()
        .expect_clean();
}

/// P1. If Ctrl-C ended only a wait, the job goes on.
#[test]
fn a_wait_that_ctrl_c_ended_can_be_repeated() {
    // Once the host has answered, it waits.
    for begin in ["gma.go() print('begun')", "gma.begun()"] {
        Case::new(TASKS)
            .then(
                r#"
                local interrupted = false
                gma = {
                  sleep = function() end,
                  begun = function()
                    print("begun")
                    io.stdout:flush()
                    -- Runs until Ctrl-C comes, once.
                    while not interrupted do end
                  end,
                  go = function() return interrupted end,
                }
                "#,
            )
            .then(&format!("local function begin() {begin} end"))
            .then(
                r#"
                local function task(begin)
                  pcall(begin)
                  -- If Ctrl-C comes in a host call, it is an error of that call.
                  local function gone() gma.sleep(0.001) return gma.go() end
                  repeat local ok, is_gone = pcall(gone) until ok and is_gone
                  return "done"
                end
                local completed = 0
                local job = gma2workers.RunAsync { tasks = { { func = task, args = { begin } } },
                  onComplete = function() completed = completed + 1 end }
                local ok, message = pcall(job.wait, job)
                assert(not ok and message:find("interrupted!", 1, true), message)
                interrupted = true
                assert(job:wait().result[1].data == "done" and completed == 1)
                check_health()
                "#,
            )
            .interrupt_at("begun")
            .run()
            .expect_clean();
    }
}
