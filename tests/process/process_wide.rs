//! Things a process has only one of: signals, output, the locale, the number of processors.

use std::fs;
use std::process::Command;

use crate::embedding::host;
use crate::support::{Case, empty_folder, lua, module};

/// `status(field)` of this process or of one of its threads.
const STATUS: &str = r#"
    local gma2workers = require "gma2workers"
    local function status(field, of)
      for line in io.lines((of or "/proc/self") .. "/status") do
        local value = line:match("^" .. field .. ":%s*(%S+)")
        if value then return value end
      end
    end
"#;

#[test]
fn workers_are_named_and_block_the_hosts_signals() {
    Case::new(STATUS)
        .then(
            r#"
            local own = assert(io.open("/proc/self/stat")):read("n")
            local blocked = status("SigBlk")
            local mapped = io.open("/proc/self/maps"):read("a")
            local last_reserved = (mapped:find("/ld-musl-", 1, true) or mapped:find("-musl/libc.so", 1, true)) and 34 or 33
            -- A thread sets its name when it starts, so all three must have started; and an idle one may end.
            local begun, seen = 0, false
            gma = { begin = function() begun = begun + 1 end, is_seen = function() return seen end }
            local function meet() gma.begin() while not gma.is_seen() do end end
            local tasks = { { func = meet }, { func = meet }, { func = meet } }
            local job = gma2workers.RunAsync { tasks = tasks, workers = 3, onComplete = function() end }
            repeat gma2workers.Poll() until begun == 3
            local names = {}
            for thread in io.popen("ls /proc/" .. own .. "/task"):lines() do
              local folder = ("/proc/%d/task/%s"):format(own, thread)
              local mask = math.tointeger("0x" .. status("SigBlk", folder))
              if tonumber(thread) == own then
                assert(status("SigBlk", folder) == blocked, "the host's signals are blocked")
              else
                names[#names + 1] = assert(io.open(folder .. "/comm")):read()
                for signal = 1, 64 do
                  -- KILL and STOP can't be blocked, and the C library reserves two signals, musl three. In Lua 5.4, a worker is
                  -- stopped by URG.
                  local is_blockable = signal ~= 9 and signal ~= 19 and (signal < 32 or signal > last_reserved)
                  local is_own = _VERSION ~= "Lua 5.3" and signal == 23 and not names[#names]:find "watc"
                  assert(not is_blockable or is_own == (mask & 1 << signal - 1 == 0), "a worker takes signal " .. signal)
                end
              end
            end
            table.sort(names)
            local watchdog = table.remove(names)
            assert(watchdog == ("gma2worker-watch"):sub(1, 15), watchdog)
            assert(#names >= 3 and #names == gma2workers.info.threads, #names)
            for i, name in ipairs(names) do
              assert(name:find("^gma2worker%-%d+$"), name)
              assert(name ~= names[i - 1], name .. " is there twice")
            end
            seen = true
            assert(job:wait().failed == 0)
            "#,
        )
        .run()
        .expect_clean();
}

#[test]
fn the_hosts_signal_handlers_and_hook_stay() {
    Case::new(STATUS)
        .then(
            r#"
            package.loaded.gma2workers = nil
            local count = 0
            local function hook() count = count + 1 end
            debug.sethook(hook, "c", 1000)
            -- The C library reserves two signals as soon as there are threads, and tasks in Lua 5.4 are stopped by URG.
            local others = ~(3 << 31 | (_VERSION == "Lua 5.3" and 0 or 1 << 22))
            local function all()
              local masks = {}
              for i, field in ipairs { "SigCgt", "SigIgn", "SigBlk" } do
                masks[i] = ("%x"):format(math.tointeger("0x" .. status(field)) & others)
              end
              return table.concat(masks, " ")
            end
            local before = all()
            local gma2workers = require "gma2workers"
            assert(all() == before, "require changed " .. before .. " to " .. all())
            local tasks = { { func = type, args = { 1 } }, { func = error, args = { "x" } } }
            gma2workers.RunSync { tasks = tasks, onProgress = function() end }
            gma2workers.RunAsync { tasks = tasks, mode = "cmd", onComplete = function() end }:wait()
            assert(all() == before, "a run changed " .. before .. " to " .. all())
            local now, mask, every = debug.gethook()
            assert(now == hook and mask == "c" and every == 1000)
            assert(count > 0)
            "#,
        )
        .run()
        .expect_clean();
}

/// A job whose task must be stopped. Prints the kind of its failure.
const STOP: &str = r#"
    local gma2workers = require "gma2workers"
    local function loop() while true do end end
    print(gma2workers.RunSync({ tasks = { { func = loop } }, timeout = 0.01 }).result[1].kind)
"#;

/// In Lua 5.4, a signal stops tasks. If the host handles the usual one, another is taken.
#[test]
fn a_stop_leaves_the_hosts_handlers_alone() {
    let steps = ["handle", "open", "a", "run", "a", STOP, "run", "a", STOP, "close", "a"];
    host(steps).run().expect_clean().expect_stdout("timeout\ntimeout\n");
}

/// Then the threads that run already can't be stopped in Lua 5.4.
#[test]
fn a_handler_that_the_host_sets_later_never_runs_on_a_worker() {
    let steps = ["open", "a", "run", "a", STOP, "handle", "run", "a", STOP];
    let last = if lua() == "lua5.3" { "timeout" } else { "lost" };
    host(steps).run().expect_clean().expect_stdout(&format!("timeout\n{last}\n"));
}

#[test]
fn output_comes_in_whole_lines_and_before_the_response() {
    let outcome = Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local function say(name, lines)
          for i = 1, lines, 2 do
            print(name, i, "end")
            io.write(name, "\t", i + 1, "\t", "end\n")
          end
        end
        gma2workers.RunSync { workers = 2,
          tasks = { { func = say, args = { "one", 20000 } }, { func = say, args = { "two", 20000 } } } }
        print("done")
        "#,
    )
    .run()
    .expect_clean();
    let mut lines = outcome.stdout.lines();
    assert_eq!(lines.next_back(), Some("done"), "something came out after the response");
    // The lines of each task are in order, and there are no others.
    let (mut one, mut two) = (0, 0);
    for line in lines {
        let count = if line.starts_with("one") { &mut one } else { &mut two };
        *count += 1;
        let name = if line.starts_with("one") { "one" } else { "two" };
        assert_eq!(line, format!("{name}\t{count}\tend"));
    }
    assert_eq!((one, two), (20_000, 20_000));
}

#[test]
fn the_output_of_tasks_and_host_keeps_its_order() {
    // A pipe is fully buffered: two separate buffers would not keep this order.
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        gma = { say = function(text) io.stdout:write(text, "\n") end }
        local function task(name)
          print(name, 1)
          gma.say(name .. " asks the host")
          io.write(name, " ", 2, "\n")
        end
        gma2workers.RunAsync { tasks = { { func = task, args = { "task" } } },
          onComplete = function() io.write("completed\n") end }:wait()
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("task\t1\ntask asks the host\ntask 2\ncompleted\n");
}

/// The first processor that this process may use.
fn a_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it lists them");
    list.trim().split(['-', ',']).next().unwrap_or_default().to_owned()
}

#[test]
fn by_default_there_is_a_worker_for_each_usable_processor() {
    let script = r#"
        local tasks = {}
        for i = 1, 1000 do tasks[i] = { func = type, args = { i } } end
        print(require("gma2workers").RunSync { tasks = tasks }.workerCount)
    "#;
    let usable = std::thread::available_parallelism().expect("Linux tells");
    Case::new(script).run().expect_clean().expect_stdout(&format!("{usable}\n"));
    Case::new(script).under(["taskset", "-c", &a_processor()]).run().expect_clean().expect_stdout("1\n");
}

#[test]
fn more_workers_than_processors_run_at_the_same_time() {
    // Each task waits for all the others, so they end only if all run.
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local here = 0
        gma = {
          sleep = function() end,
          arrive = function() here = here + 1 end,
          here = function() return here end,
        }
        local function meet(count)
          gma.arrive()
          while gma.here() < count do gma.sleep(0.001) end
        end
        local tasks = {}
        for i = 1, 6 do tasks[i] = { func = meet, args = { 6 } } end
        print(gma2workers.RunSync { tasks = tasks, workers = "6" }.workerCount)
        "#,
    )
    .under(["taskset", "-c", &a_processor()])
    .run()
    .expect_clean()
    .expect_stdout("6\n");
}

/// A locale that writes one half as 0,5, if there is one.
fn a_locale_with_a_comma() -> Option<String> {
    let known = Command::new("locale").arg("-a").output().ok()?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let is_one =
        |name: &&str| ["de_", "fr_", "it_", "es_", "nl_"].iter().any(|prefix| name.starts_with(prefix));
    known.lines().find(is_one).map(str::to_owned)
}

#[test]
fn numbers_cross_in_any_locale() {
    let Some(locale) = a_locale_with_a_comma() else {
        eprintln!("skipped: no locale with a decimal comma is installed");
        return;
    };
    Case::new(
        r#"
        assert(os.setlocale(os.getenv("A_LOCALE"), "numeric"))
        assert(tostring(0.5) == "0,5")
        local gma2workers = require "gma2workers"
        local function back(...) return ... end
        local tasks = { { func = back, args = { 0.5, "0.5", 1e300, 3 } } }
        local returns = gma2workers.RunSync { tasks = tasks, workers = "1" }.result[1].returns
        assert(returns[1] == 0.5 and returns[2] == "0.5" and returns[3] == 1e300 and returns[4] == 3)
        "#,
    )
    .env("A_LOCALE", locale)
    .run()
    .expect_clean();
}

#[test]
fn standard_input_belongs_to_the_host_alone() {
    Case::new(
        r#"
        assert(io.read() == "first")
        local function read() return io.read() end
        local function read_all() return io.read("a") end
        local function lines() return io.lines()() end
        local function method() return io.stdin:read() end
        local function input() return io.input():read("n") end
        local function dropped_handle()
          local found
          getmetatable(io.stdout).__gc = function(file) found = file end
          collectgarbage()
          return found and found:read()
        end
        local tasks = {}
        for i, func in ipairs { read, read_all, lines, method, input, dropped_handle } do
          tasks[i] = { func = func }
        end
        local response = require("gma2workers").RunSync { tasks = tasks, mode = "cmd" }
        for i, result in ipairs(response.result) do
          assert(not result.success or result.data == nil, i .. " has read " .. tostring(result.data))
        end
        io.write(io.read("a"))
        "#,
    )
    .input("first\nsecond\nthird\n4\n5\n6\n7\n8\n9\n")
    .run()
    .expect_clean()
    .expect_stdout("second\nthird\n4\n5\n6\n7\n8\n9\n");
}

#[test]
fn a_gma_function_is_a_host_call_even_if_it_is_a_lua_function() {
    // In the engine, `gma.sleep` is `coroutine.yield`, as its documentation says.
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        gma = { sleep = coroutine.yield, locale = os.setlocale }
        local function sleep() gma.sleep(0) return "slept" end
        -- The host may change the locale; a task may not.
        local function ask() return gma.locale("C", "ctype") end
        local result = gma2workers.RunSync { tasks = { { func = sleep }, { func = ask } } }.result
        print(result[1].data)
        print(result[2].data)
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("slept\nC\n");
}

/// B26. The first job pins the library, which some systems find only by its file.
#[test]
fn a_job_runs_though_the_binary_was_replaced_after_loading() {
    let folder = empty_folder();
    let binary = folder.path().join("gma2workers.so");
    fs::copy(module(), &binary).expect("the module can be copied");
    Case::new("local gma2workers = require 'gma2workers'")
        .then(&format!("assert(os.remove({binary:?})) assert(io.open({binary:?}, 'w')):close()"))
        .then("print(gma2workers.RunSync { tasks = { { func = type, args = { 1 } } } }.result[1].data)")
        .cpath(folder.path())
        .run()
        .expect_clean()
        .expect_stdout("number\n");
}
