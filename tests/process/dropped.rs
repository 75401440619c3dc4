//! Jobs that nobody waits for any more: whatever their tasks do, they are stopped or given up.

use crate::support::{Case, empty_folder, whole_drop_in};

/// `leave[how](func)` starts a job with two tasks and drops it. One task calls `gma.begun` and then the
/// function under test; the other waits for that call, so that the first is at the right place when it is
/// stopped.
const LEAVE: &str = r#"
    local gma2workers = require "gma2workers"
    local begun, arrive = 0, function() end
    gma = {
      begun = function() begun = begun + 1 end,
      has_begun = function() return begun == 1 end,
      arrive = function() arrive() end,
      sleep = function() end,
    }
    local function watch()
      while not gma.has_begun() do end
      gma.arrive()
      while true do end
    end
    local function options(func, onComplete)
      begun = 0
      return { tasks = { { func = func }, { func = watch } }, workers = 2, onComplete = onComplete }
    end
    local leave = {}

    function leave.by_ctrl_c(func)
      function arrive() error("interrupted!", 0) end
      local ok, message = pcall(gma2workers.RunSync, options(func))
      assert(not ok and message == "interrupted!", message)
    end

    -- A plugin that the engine has killed is a coroutine that is never resumed.
    function leave.by_the_collector(func)
      local has_arrived = false
      function arrive() has_arrived = true end
      gma.sleep = coroutine.yield
      local plugin, given = coroutine.create(gma2workers.RunSync), options(func)
      repeat assert(coroutine.resume(plugin, given)) until has_arrived
      plugin, gma.sleep = nil, function() end
      collectgarbage()
      collectgarbage()
    end

    -- Here the host waits on, but the stop may take as long as in the other cases.
    function leave.by_cancel(func)
      local job, is_over
      function arrive() job:cancel() end
      job = gma2workers.RunAsync(options(func, function() is_over = true end))
      while not is_over do job:wait(0.01) end
    end

    -- A task that still loops would keep the process busy.
    local function rest(name)
      for _ = 1, 100 do
        local before = os.clock()
        os.execute("sleep 0.2")
        if os.clock() - before < 0.02 then return end
      end
      error(name .. " still runs, or the host does")
    end

    local function check_health()
      local function add(a, b) gma.begun() return a + b end
      local tasks = {}
      for i = 1, 10 do tasks[i] = { func = add, args = { i, i } } end
      for i, entry in ipairs(gma2workers.RunSync { tasks = tasks, workers = 2 }.result) do
        assert(entry.data == 2 * i, entry.data)
      end
    end
"#;

/// C14. Nobody waits for a task to tidy up any more.
#[test]
fn a_dropped_job_has_no_grace() {
    Case::new(LEAVE)
        .then(
            r#"
            local options_without = options
            function options(...)
              local given = options_without(...)
              given.grace, given.timeout = 1e6, 1e6
              return given
            end
            local function loop() gma.begun() while true do end end
            leave.by_ctrl_c(loop)
            rest "a task without a caller"
            leave.by_the_collector(loop)
            rest "a task without a plugin"
            check_health()
            "#,
        )
        .run()
        .expect_code(0)
        .expect_stdout("");
}

/// L15. Lua code, even below C functions.
#[test]
fn the_tasks_of_a_dropped_job_stop() {
    for how in ["by_ctrl_c", "by_the_collector", "by_cancel"] {
        Case::new(LEAVE)
            .then(&format!("leave = leave.{how}"))
            .then(
                r#"
                local function loop() while true do end end
                local function begin(func) return function() gma.begun() func() end end
                local tasks = {}
                function tasks.in_a_loop() while true do end end
                function tasks.in_a_comparator()
                  while true do pcall(table.sort, { 3, 2, 1 }, function() coroutine.wrap(loop)() end) end
                end
                function tasks.in_a_callback()
                  while true do pcall(string.gsub, "x", "x", function() coroutine.wrap(loop)() end) end
                end
                function tasks.in_a_reader()
                  while true do load(function() coroutine.wrap(loop)() end) end
                end
                function tasks.in_a_message_handler()
                  while true do xpcall(error, function() coroutine.wrap(loop)() end) end
                end
                function tasks.in_a_metamethod()
                  local object = setmetatable({}, { __tostring = function() coroutine.wrap(loop)() end })
                  while true do pcall(print, object) end
                end
                function tasks.in_a_sort_in_a_coroutine_in_a_sort()
                  local function sort() pcall(table.sort, { 3, 2, 1 }, function() coroutine.wrap(loop)() end) end
                  while true do pcall(table.sort, { 3, 2, 1 }, function() coroutine.wrap(sort)() end) end
                end
                -- The task may still be unaware that its call will get no answer, and go on.
                function tasks.in_host_calls()
                  while true do pcall(table.sort, { 2, 1 }, coroutine.wrap(function() pcall(gma.has_begun) end)) end
                end
                function tasks.asleep() gma.sleep(math.huge) end
                for name, func in pairs(tasks) do
                  leave(begin(func))
                  rest(name)
                  assert(gma2workers.info.lost == 0, name .. " was given up")
                  check_health()
                end
                print "rests"
                "#,
            )
            .run()
            .expect_clean()
            .expect_stdout("rests\n");
    }
}

/// L15, T5. Code that nothing can stop.
#[test]
fn tasks_of_a_dropped_job_that_cannot_be_stopped_are_given_up() {
    for how in ["by_ctrl_c", "by_the_collector", "by_cancel"] {
        Case::new(LEAVE)
            .then(&format!("leave = leave.{how}"))
            .then(
                r#"
                local tasks = {}
                -- This pattern finds the y, then tries every way to divide the text among its parts.
                function tasks.in_c() ("y" .. ("x"):rep(1000)):gsub((".-"):rep(30) .. "y", gma.begun) end
                -- Lua calls no hook in a finalizer, and this one catches every other error.
                function tasks.in_a_finalizer()
                  setmetatable({}, { __gc = function()
                    pcall(gma.begun)
                    while true do pcall(coroutine.wrap(function() while true do end end)) end
                  end })
                  collectgarbage()
                end
                local lost, left = 0, 0
                for _, func in pairs(tasks) do
                  lost = lost + 1
                  -- A task may be stopped before its call of the host has returned. Then it is not stuck, and this tries again.
                  repeat
                    leave(func)
                    left = left + 1
                    for _ = 1, 100 do
                      if gma2workers.info.lost >= lost then break end
                      os.execute("sleep 0.1")
                    end
                  until gma2workers.info.lost >= lost
                  check_health()
                end
                assert(gma2workers.info.lost <= left, gma2workers.info.lost)
                print "counted"
                "#,
            )
            .run()
            .expect_clean()
            .expect_stdout("counted\n");
    }
}

/// M9. A program without an engine that ends with such jobs is told once; one that turned or cancelled them is not.
#[test]
fn a_job_that_was_never_turned_is_reported_at_the_end() {
    const LINE: &str = "gma2workers: a job was never run to its end, so its onComplete was not called: call job:wait(), \
        or gma2workers.Poll() until it returns 0\n";
    const START: &str = r#"
        local gma2workers = require "gma2workers"
        local function start()
          return gma2workers.RunAsync { tasks = { { func = function() return 1 end } }, onComplete = function() end }
        end
        local job = start()
    "#;
    for (rest, expected) in [
        ("", LINE),
        ("start() job = nil collectgarbage()", LINE),
        ("job:status() gma2workers.jobs()", LINE),
        ("job:wait()", ""),
        ("job:wait(0)", ""),
        ("while gma2workers.Poll() > 0 do end", ""),
        ("start() gma2workers.Poll(5)", ""),
        ("for _ in job:results() do end", ""),
        ("job:cancel()", ""),
        ("gma2workers.cancelAll()", ""),
        ("os.exit(0, true)", LINE),
        ("gma = { timer = function() end } start() job:wait()", ""),
    ] {
        for backend in ["native", "cooperative"] {
            let folder = empty_folder();
            whole_drop_in(&folder.path().join("gma2workers"));
            let outcome = Case::new(START)
                .then(rest)
                .path(folder.path())
                .env("GMA2WORKERS_BACKEND", backend)
                .without_cpath()
                .run()
                .expect_code(0)
                .expect_stdout("");
            assert_eq!(outcome.stderr, expected, "{backend}: {rest}");
        }
    }
}
