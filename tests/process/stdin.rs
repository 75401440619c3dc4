//! Standard input belongs to the host.

use crate::support::Case;

/// I7. The input is larger than a buffer, and the host has read a part of it before.
#[test]
fn no_task_reads_standard_input_in_any_way() {
    let lines: String = (1..=20_000).map(|n| format!("line {n}\n")).collect();
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        assert(io.read() == "line 1")
        local funcs = {
          function() return io.read() end,
          function() return io.read("n", "l", "L", "a", 100) end,
          function() return io.lines()() end,
          function() for line in io.lines() do return line end end,
          function() return io.stdin:read() end,
          function() return io.stdin:lines()() end,
          function() return io.input():read() end,
          function() return io.input(io.stdin):read() end,
          function() io.input(io.stdin) return io.read() end,
          function() return assert(loadfile())() end,
          function() return assert(loadfile(nil, "t"))() end,
          function() return dofile() end,
          function() return dofile(nil) end,
          function() return coroutine.wrap(function() return io.read() end)() end,
          function() return io.stdin:seek("cur", 0) and io.stdin:read() end,
          function() assert(io.stdin:close()) return io.read() end,
          function() assert(io.close(io.stdin)) return io.read() end,
        }
        local tasks = {}
        for i, func in ipairs(funcs) do tasks[i] = { func = func } end
        for _, mode in ipairs { "timer", "cmd" } do
          for _, workers in ipairs { 1, 3 } do
            for _, sandbox in ipairs { false, true } do
              local response = gma2workers.RunSync { tasks = tasks, mode = mode, workers = workers, sandbox = sandbox }
              for i, entry in ipairs(response.result) do
                assert(not entry.success, i .. " has read " .. tostring(entry.data))
                assert(type(entry.data) == "string" and entry.kind == "runtime", entry.data)
              end
            end
          end
        end
        local count = 1
        for line in io.lines() do
          count = count + 1
          assert(line == "line " .. count, line)
        end
        assert(count == 20000, count)
        -- Changes to a task's own input do not affect the host's.
        assert(io.type(io.stdin) == "file" and io.input() == io.stdin)
        "#,
    )
    .input(&lines)
    .run()
    .expect_clean();
}

/// I7. A task may still read files that it opens itself.
#[test]
fn a_task_may_read_files_it_opens() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        local name = os.tmpname()
        local file = assert(io.open(name, "w"))
        file:write("first\nsecond\n")
        file:close()
        local function read(name)
          io.input(name)
          local first = io.read()
          local second = io.lines()()
          return first, second, io.lines(name)()
        end
        local tasks = { { func = read, args = { name } }, { func = io.read } }
        for _, mode in ipairs { "timer", "cmd" } do
          local result = gma2workers.RunSync { tasks = tasks, mode = mode, workers = 1 }.result
          local returns = result[1].returns
          assert(returns and returns[1] == "first" and returns[2] == "second" and returns[3] == "first", result[1].data)
          -- The next task does not get that file as its input.
          assert(not result[2].success, result[2].data)
        end
        os.remove(name)
        assert(io.read("a") == "the host's")
        "#,
    )
    .input("the host's")
    .run()
    .expect_clean();
}
