//! Stacks: how deep a task may recurse in C, and values nested deeper than any stack.

use crate::support::Case;

/// T2, T3. `ends(recursion)` asserts that a recursion ends in the same way on the host and in tasks: both
/// work, or both fail with an error of Lua. A signal fails the test by itself.
#[track_caller]
fn ends(recursion: &str) {
    Case::new(&format!("local function recurse()\n{recursion}\nend"))
        .then(
            r#"
            local gma2workers = require "gma2workers"
            local ok = pcall(recurse)
            for _, mode in ipairs { "timer", "cmd" } do
              local tasks = { { func = recurse }, { func = recurse }, { func = type, args = { 1 } } }
              local result = gma2workers.RunSync { tasks = tasks, workers = 2, mode = mode }.result
              for i = 1, 2 do
                assert(result[i].success == ok, result[i].data)
                assert(ok or result[i].kind == "runtime", result[i].kind)
              end
              assert(result[3].data == "number", result[3].data)
            end
            "#,
        )
        .run()
        .expect_clean();
}

/// T2.
#[test]
fn recursion_through_to_string_is_that_tasks_error() {
    ends(
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return ('%s'):format(t) end
        return ('%s'):format(t)",
    );
    ends(
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() print(t) return '' end
        return tostring(t)",
    );
    ends("error(setmetatable({}, { __tostring = function(t) return tostring(t) end }))");
}

/// T2.
#[test]
fn recursion_through_every_metamethod_is_that_tasks_error() {
    for (event, use_it) in [
        ("__newindex", "t.x = 1"),
        ("__concat", "return t .. 1"),
        ("__eq", "return t == setmetatable({}, getmetatable(t))"),
        ("__lt", "return t < t"),
        ("__le", "return t <= t"),
        ("__len", "return #t"),
        ("__unm", "return -t"),
        ("__band", "return t & 1"),
        ("__pairs", "return pairs(t)"),
    ] {
        ends(&format!(
            "local t = setmetatable({{}}, {{}}) local function deeper() {use_it} end
            getmetatable(t).{event} = deeper return deeper()"
        ));
    }
    ends("local function deeper() setmetatable({}, { __gc = deeper }) collectgarbage() end return deeper()");
}

/// T2.
#[test]
fn recursion_through_the_library_is_that_tasks_error() {
    ends("local function deeper() return load(deeper) end return deeper()");
    ends("local function deeper() for line in deeper do return line end end return deeper()");
    ends("local function deeper() return (select(2, xpcall(error, deeper))) end return deeper()");
    ends("return (('a'):rep(300000):find(('(a)'):rep(33)))");
    ends("return (('('):rep(1000):find('%b()' .. ('.?'):rep(300)))");
    ends("return select('#', table.unpack({}, 1, 10000000))");
    ends("return (string.rep('x', 1, ('x'):rep(100)):gsub(('x?'):rep(300), ''))");
    ends("return load('return ' .. ('{'):rep(250) .. ('}'):rep(250))");
    ends("return assert(load(('if x then '):rep(250) .. ('end '):rep(250)))");
    ends("return assert(load('return ' .. ('-'):rep(1) .. ('not '):rep(10000) .. '1'))()");
    ends("return assert(load('return 1' .. ('..1'):rep(300)))()");
}

/// T2. Lua's deepest C recursion inside its parser, at every depth near the limit.
#[test]
fn the_parser_at_the_end_of_the_c_stack_is_that_tasks_error() {
    ends(
        r#"
        local text = "return " .. ("("):rep(190) .. "1" .. (")"):rep(190)
        for limit = 180, 199 do
          local depth = 0
          local function deeper()
            depth = depth + 1
            if depth == limit then return tostring(load(text)) end
            return (("x"):gsub("x", deeper))
          end
          pcall(deeper)
        end
        "#,
    );
}

/// T20. Where Lua 5.4 closes a coroutine, it counts nested calls anew: these are many times as deep as it allows elsewhere.
#[test]
fn closing_nested_in_recursion_is_that_tasks_error() {
    Case::new("if _VERSION == 'Lua 5.3' then return end")
        .then(
            r#"
            local gma2workers = require "gma2workers"
            local code = [[
              local depth, by_error = ...
              local all, last = {}, 0
              local function descend(n, i)
                if n < depth then return (("x"):gsub("x", function() descend(n + 1, i) return "y" end)) end
                last = i
                if all[i + 1] then all[i + 1]() end
              end
              for i = 1, 170 do
                local wrapped = coroutine.wrap(function()
                  local a <close> = setmetatable({}, { __close = function() descend(1, i) end })
                  coroutine.yield(coroutine.running())
                  error("closed", 0)
                end)
                local inner = wrapped()
                all[i] = by_error and wrapped or function() assert(coroutine.close(inner)) end
              end
              local ok, message = pcall(all[1])
              return last, ok, message
            ]]
            for _, depth in ipairs { 1, 20, 100, 185 } do
              for _, by_error in ipairs { false, true } do
                local task = { func = load(code, "=task"), args = { depth, by_error } }
                local after = { func = function() return "after" end }
                local result = gma2workers.RunSync { tasks = { task, after }, workers = 1 }.result
                local last, ok, message = table.unpack(result[1].returns)
                assert(last > 0 and (last < 170 or depth == 1 and ok == not by_error), last)
                assert(last == 170 or message:find("C stack overflow$"), message)
                assert(result[2].data == "after")
              end
            end
            "#,
        )
        .run()
        .expect_clean();
}

/// A script about values of a million levels; fewer in a debug build, which is slower.
fn deep(script: &str) -> Case {
    let levels = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    Case::new(&format!("local LEVELS = {levels}")).then(DEEP).then(script)
}

const DEEP: &str = r#"
    local gma2workers = require "gma2workers"
    gma = { back = function(value) return value end, sleep = function() end }
    local function nest(levels)
      local t = {}
      for _ = 1, levels do t = { t } end
      return t
    end
    local function depth(t)
      local levels = 0
      while t[1] do t, levels = t[1], levels + 1 end
      return levels
    end
    local function check(mode, task, ...)
      local entry = gma2workers.RunSync { tasks = { { func = task, args = { ... } } }, mode = mode }.result[1]
      assert(entry.success, entry.data)
      assert(type(entry.data) == "table" and depth(entry.data) == LEVELS, entry.data)
    end
"#;

/// V6. There and back, on the default stacks and on a small stack of the host.
#[test]
#[ignore = "long"]
fn a_million_levels_cross_on_any_stack() {
    for stack in ["8192", "2048", "256"] {
        deep("check('timer', function(t) return t end, nest(LEVELS)) check('cmd', nest, LEVELS)")
            .under(["sh", "-c", &format!("ulimit -s {stack}; exec \"$@\""), "sh"])
            .run()
            .expect_clean();
    }
}

/// V6. As arguments and answer of a host call, and as an error.
#[test]
fn a_million_levels_cross_in_a_host_call_and_an_error() {
    deep(
        r#"
            check('cmd', function(nest, levels) return gma.back(nest(levels)) end, nest, LEVELS)
            local function fail(nest, levels) error(nest(levels)) end
            local tasks = { { func = fail, args = { nest, LEVELS } } }
            local entry = gma2workers.RunSync { tasks = tasks }.result[1]
            assert(entry.kind == "runtime" and depth(entry.error) == LEVELS, entry.data)
            "#,
    )
    .run()
    .expect_clean();
}

/// V6, T2. With little left of the worker's C stack and of Lua's own stack.
#[test]
fn deep_values_cross_at_the_end_of_the_c_stack() {
    deep(
        r#"
            local function call_deep_down(nest, depth, levels)
              local count, answer = 0, nil
              local function deeper()
                count = count + 1
                if count == 150 then answer = depth(gma.back(nest(levels))) return "x" end
                return (("x"):gsub("x", deeper))
              end
              deeper()
              return answer
            end
            local function call_in_many_calls(nest, depth, levels)
              local function deeper(n)
                if n == 0 then return depth(gma.back(nest(levels))) end
                return (deeper(n - 1))
              end
              return deeper(15000)
            end
            for _, func in ipairs { call_deep_down, call_in_many_calls } do
              local tasks = { { func = func, args = { nest, depth, LEVELS // 5 } } }
              local entry = gma2workers.RunSync { tasks = tasks }.result[1]
              assert(entry.data == LEVELS // 5, entry.data)
            end
            "#,
    )
    .run()
    .expect_clean();
}
