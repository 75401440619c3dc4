//! Memory that runs out for the whole process (`ulimit -v`), and memory that must not grow.

use crate::support::Case;

/// Address spaces, in kilobytes, in which a process with two workers must survive tasks that take all memory
/// they can get. In the small one, the C library's threads share one heap; in the large one, each has its
/// own.
const SPACES: [u32; 2] = [60_000, 200_000];

/// A script in a process with at most this much address space.
fn in_space(kilobytes: u32, script: &str) -> Case {
    let limit = format!("ulimit -v {kilobytes}; exec \"$@\"");
    Case::new(TOOLS).then(script).under(["sh", "-c", &limit, "sh"])
}

/// `check_memory(entry)`: the task ran out of memory. `check_health()`: the next jobs work, on no more
/// threads.
const TOOLS: &str = r#"
    local gma2workers = require "gma2workers"
    local function run(tasks, workers, mode)
      return gma2workers.RunSync { tasks = tasks, workers = workers or 2, mode = mode }.result
    end
    local function check_memory(entry, name)
      assert(not entry.success, name .. " has not run out of memory")
      local says = ("%s: %s: %s"):format(name, entry.kind, entry.data)
      assert(entry.kind == "memory" and entry.data:find("not enough memory", 1, true), says)
    end
    local threads
    local function check_health()
      local function add(a, b) return a + b end
      for _, mode in ipairs { "timer", "cmd" } do
        local tasks = {}
        for i = 1, 10 do tasks[i] = { func = add, args = { i, i } } end
        for i, entry in ipairs(run(tasks, 2, mode)) do assert(entry.data == 2 * i, entry.data) end
      end
      local info = gma2workers.info
      assert(info.lost == 0, info.lost)
      threads = threads or info.threads
      assert(info.threads <= threads + 2, ("%d threads, not %d"):format(info.threads, threads))
    end
    check_health()
"#;

/// Each of these tasks fills all memory, on two workers at once.
#[track_caller]
fn run_out(name: &str, hog: &str) {
    for (space, mode) in SPACES.into_iter().zip(["cmd", "timer"]) {
        in_space(space, &format!("local function hog() {hog} end local name, mode = {name:?}, {mode:?}"))
            .then(
                r#"
                local entries = run({ { func = hog }, { func = hog }, { func = hog } }, 2, mode)
                for i = 1, 3 do check_memory(entries[i], name) end
                check_health()
                "#,
            )
            .run()
            .expect_clean();
    }
}

/// T1.
#[test]
#[ignore = "long"]
fn tables_that_fill_all_memory_are_that_tasks_error() {
    run_out("many tables", "local t = {} while true do t[#t + 1] = { 1, 2, 3, 4 } end");
    run_out("one table", "local t = {} while true do t[#t + 1] = 1 end");
    run_out("globals", "local i = 0 while true do i = i + 1 _G['name' .. i] = { 1, 2, 3, 4 } end");
}

/// T1.
#[test]
fn strings_that_fill_all_memory_are_that_tasks_error() {
    run_out("one string", "local s = 'x' while true do s = s .. s end");
    run_out("many strings", "local t = {} while true do t[#t + 1] = ('text'):rep(250) .. #t end");
}

/// T1. The buffers of Lua's standard library.
#[test]
#[ignore = "long"]
fn buffers_that_fill_all_memory_are_that_tasks_error() {
    run_out("rep", "local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end");
    run_out("rep at once", "return ('x'):rep(1 << 30)");
    run_out(
        "concat",
        "local t = {} for i = 1, 1e5 do t[i] = 'some text' end
        local u = {} while true do u[#u + 1] = table.concat(t, #u) end",
    );
    run_out(
        "gsub",
        "local s, t = ('x'):rep(1 << 20), {} while true do t[#t + 1] = s:gsub('x', 'yyyy') .. #t end",
    );
    run_out(
        "format",
        "local s, t = ('x'):rep(1 << 20), {} while true do t[#t + 1] = ('%s %d'):format(s, #t) end",
    );
}

/// T1.
#[test]
#[ignore = "long"]
fn functions_and_coroutines_that_fill_all_memory_are_that_tasks_error() {
    run_out(
        "closures",
        "local t = {} while true do local n = { 1, 2, 3, 4 } t[#t + 1] = function() return n end end",
    );
    run_out(
        "chunks",
        "local t = {} while true do t[#t + 1] = load('return ' .. ('{ 1 },'):rep(100) .. #t) or error('not enough memory') end",
    );
    run_out("coroutines", "local t = {} while true do t[#t + 1] = coroutine.create(print) end");
    run_out(
        "coroutines that run",
        "local t = {}
        while true do
          local wrapped = coroutine.wrap(function(x) coroutine.yield() return x end)
          wrapped(('text'):rep(250) .. #t)
          t[#t + 1] = wrapped
        end",
    );
}

/// T1. The task may even catch the error, again and again.
#[test]
fn a_task_that_catches_memory_errors_harms_no_other() {
    for (space, mode) in SPACES.into_iter().zip(["cmd", "timer"]) {
        in_space(space, &format!("local mode = {mode:?}"))
        .then(r#"
            local function hog() local t = {} while true do t[#t + 1] = { ("text"):rep(250) .. #t } end end
            local function stubborn()
              local message
              for _ = 1, 3 do message = select(2, pcall(hog)) end
              return tostring(message)
            end
            local function in_a_coroutine() return tostring(select(2, coroutine.resume(coroutine.create(hog)))) end
            local function in_a_handler() return tostring(select(2, xpcall(hog, function(m) return m end))) end
            local tasks = { { func = stubborn }, { func = in_a_coroutine }, { func = in_a_handler } }
            for _, entry in ipairs(run(tasks, 2, mode)) do
              local text = entry.success and entry.data or entry.kind
              assert(text == "not enough memory" or text == "memory", text)
            end
            check_health()
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// T13. The spaces differ in how much of one is left when a state has taken its last region, of 8 MiB, which it then fills slowly.
#[test]
fn tasks_that_fill_all_memory_leave_the_host_some() {
    for space in (68_000..72_500).step_by(100) {
        in_space(
            space,
            r#"
            local function hog()
              local t = {}
              while true do
                t[#t + 1] = { 1, 2, 3, 4 }
                for _ = 1, 20 do end
              end
            end
            local result
            local function complete(response) result = response.result end
            gma2workers.RunAsync { tasks = { { func = hog }, { func = hog } }, workers = 2, onComplete = complete }
            repeat
              local text = ("x"):rep(512 << 10)
            until gma2workers.Poll() == 0
            for i = 1, 2 do check_memory(result[i], "task " .. i) end
            check_health()
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// T1. More workers than there is memory for: each job ends, and so does the next.
#[test]
#[ignore = "long"]
fn many_workers_that_fill_all_memory_are_errors() {
    for space in [200_000, 400_000] {
        in_space(
            space,
            r#"
            local function tables() local t = {} while true do t[#t + 1] = {} end end
            local function text() local s = "x" while true do s = s .. s end end
            local function coroutines() local t = {} while true do t[#t + 1] = coroutine.create(print) end end
            for _ = 1, 2 do
              local tasks = {}
              for i = 1, 4 do tasks[i] = { func = ({ tables, text, coroutines, tables })[i] } end
              -- There may be no memory for all threads; then there are fewer.
              for i, entry in ipairs(run(tasks, 4)) do check_memory(entry, "task " .. i) end
              check_health()
            end
            "#,
        )
        .run()
        .expect_clean();
    }
}

/// Values too large for the memory: 120 MB at least three times over.
#[track_caller]
fn cross(argument: &str, task: &str) {
    for (space, mode) in [(200_000, "timer"), (300_000, "cmd")] {
        in_space(space, &format!("local function make() {argument} end local function task(...) {task} end local mode = {mode:?}"))
            .then(
                r#"
                -- The host has no more memory: a value that it can't make or send raises an error there.
                local ok, result = pcall(function() return run({ { func = task, args = { make() } } }, 1, mode) end)
                if ok then
                  check_memory(result[1], "what crosses")
                else
                  assert(tostring(result):find("not enough memory", 1, true), result)
                end
                result = nil
                collectgarbage()
                check_health()
                "#,
            )
            .run()
            .expect_clean();
    }
}

/// T1, V12.
#[test]
#[ignore = "long"]
fn arguments_too_large_for_the_memory_are_errors() {
    cross("return ('x'):rep(120000000)", "return #(...)");
    cross(
        "local t = {} for i = 1, 3000000 do t[i] = i + 0.5 end return t",
        "return #(...) .. ('x'):rep(300000000)",
    );
    cross(
        "local t = {} for i = 1, 1000000 do t[i] = { i } end return t",
        "return #(...) .. ('x'):rep(300000000)",
    );
    cross(
        "local t = {} for i = 1, 200000 do t[i] = ('text'):rep(100) .. i end return t",
        "return #(...) .. ('x'):rep(300000000)",
    );
}

/// T1, V12.
#[test]
#[ignore = "long"]
fn results_too_large_for_the_memory_are_errors() {
    cross("return 1", "return ('x'):rep(120000000)");
    cross("return 1", "local s = ('x'):rep(30000000) return s, s .. 1, s .. 2, s .. 3, s .. 4");
    cross("return 1", "local t = {} for i = 1, 10000000 do t[i] = i + 0.5 end return t");
    cross("return 1", "local t = {} for i = 1, 2500000 do t[i] = { i } end return t");
    cross("return 1", "local t = {} for i = 1, 500000 do t[i] = ('text'):rep(100) .. i end return t");
    cross("return 1", "error({ ('x'):rep(120000000) })");
}

/// T7.
#[test]
fn a_hundred_thousand_tasks_need_no_more_memory_than_ten_thousand() {
    // A debug build is slower.
    let count = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    Case::new(&format!("local count = {count}"))
        .then(
            r#"
        local gma2workers = require "gma2workers"
        local calls = 0
        gma = { ask = function(i) calls = calls + 1 return i end }
        local function usage()
          collectgarbage() collectgarbage()
          local status = assert(io.open("/proc/self/status")):read("a")
          return tonumber(status:match("VmRSS:%s*(%d+)")), tonumber(status:match("Threads:%s*(%d+)")),
            collectgarbage("count")
        end
        local function work(i, list) list[#list + 1] = i return list, "text " .. i end
        local function ask(i) return gma.ask(i) end
        local function fail(i) error({ i }) end
        local funcs = { work, work, work, ask, fail }
        local function run(count)
          for first = 1, count, 1000 do
            local tasks = {}
            for i = 1, 1000 do tasks[i] = { func = funcs[i % #funcs + 1], args = { i, { "one", "two" } } } end
            local result = gma2workers.RunSync { tasks = tasks, workers = 2 }.result
            for i = 1, 1000 do assert(result[i].success == (i % #funcs + 1 ~= 5)) end
          end
        end
        run(count // 10)
        local memory, threads, lua = usage()
        run(count - count // 10)
        local memory_after, threads_after, lua_after = usage()
        assert(calls == count // 5, calls)
        assert(memory_after <= memory + 10 * 1024, ("from %.0f to %.0f kB"):format(memory, memory_after))
        assert(threads_after == threads, ("from %d to %d threads"):format(threads, threads_after))
        assert(lua_after <= lua * 1.1 + 16, ("Lua's own: from %.0f to %.0f kB"):format(lua, lua_after))
        "#,
        )
        .run()
        .expect_clean();
}

/// V16.
#[test]
fn many_tasks_with_the_same_table_take_little_more_memory_than_two() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function peak()
          for line in io.lines("/proc/self/status") do
            local kib = line:match("^VmHWM:%s*(%d+)")
            if kib then return tonumber(kib) / 1024 end
          end
        end
        local rows = {}
        for i = 1, 30000 do rows[i] = { id = i, name = "Fixture " .. i, level = i / 7 } end
        local text = ("x"):rep(2 << 20)
        local function count(list, long) return #list + #long end
        local function run(tasks)
          local list = {}
          for i = 1, tasks do list[i] = { func = count, args = { rows, text } } end
          for _, entry in ipairs(gma2workers.RunSync { tasks = list, workers = 2 }.result) do
            assert(entry.data == 30000 + (2 << 20), entry.data)
          end
        end
        run(2)
        local before = peak()
        -- The messages of 60 tasks, if each had its own, would take more than 200 MiB.
        run(60)
        assert(peak() < before + 30, ("%.0f MiB after %.0f MiB"):format(peak(), before))
        "#,
    )
    .run()
    .expect_clean();
}

/// T22. A page that is taken from the system costs a fault.
#[test]
fn texts_that_are_dropped_leave_their_pages_to_the_next() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        -- musl has no cache of pages.
        if assert(io.open("/proc/self/maps")):read("a"):find("musl") then return end
        local function faults()
          local fields = assert(io.open("/proc/self/stat")):read("a"):match("%) (.*)")
          local count = 0
          for field in fields:gmatch("%S+") do
            count = count + 1
            if count == 8 then return tonumber(field) end
          end
        end
        local function drop(kib)
          local text, bytes = ("x"):rep(1024), 0
          for _ = 1, 200 do bytes = bytes + #text:rep(kib) end
          return bytes
        end
        local function grow()
          local text = ("x"):rep(300 << 10)
          for _ = 1, 1000 do text = text .. ("y"):rep(1 << 10) end
          return #text
        end
        local function keep_the_last()
          local text, last = ("x"):rep(400 << 10), {}
          for i = 1, 1000 do last[i % 50] = text .. i end
          return #last
        end
        local function check(most, func, ...)
          local before = faults()
          assert(gma2workers.RunSync { tasks = { { func = func, args = { ... } } }, workers = 1 }.result[1].success)
          assert(faults() - before < most, ("%d faults, not %d"):format(faults() - before, most))
        end
        -- They would be 50,000, 90,000, 110,000 and 100,000.
        check(20000, drop, 500)
        check(20000, drop, 900)
        check(50000, grow)
        check(50000, keep_the_last)
        "#,
    )
    .run()
    .expect_clean();
}
