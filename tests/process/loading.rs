//! What loading needs, does and refuses.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{
    Case, drop_in, drop_in_without_binary, empty_folder, is_installed, lua, module, module_folder, processor,
    project, version, whole_drop_in,
};

/// Runs a sum under the name in use, so that loading alone does not pass.
const A_SUM: &str = r#"
    local function add(a, b) return a + b end
    local response = gma2workers.RunSync { tasks = { { func = add, args = { 1, 2 } } } }
    assert(response.result[1].data == 3, response.result[1].data)
"#;

/// Tries to load "anything" and prints the message.
const REFUSED: &str = r#"
    local ok, message = pcall(require, "anything")
    assert(not ok, "it was loaded")
    assert(type(message) == "string", type(message))
    print(message)
"#;

#[test]
fn one_file_is_the_whole_library() {
    let folder = empty_folder();
    fs::copy(module(), folder.path().join("gma2workers.so")).expect("the module can be copied");
    Case::new("local gma2workers = require 'gma2workers'")
        .then(A_SUM)
        .in_folder(folder.path())
        .cpath(folder.path())
        .run()
        .expect_clean();
}

#[test]
fn require_starts_no_thread() {
    Case::new(
        r#"
        local function threads()
          for line in io.lines("/proc/self/status") do
            local count = line:match("^Threads:%s*(%d+)")
            if count then return tonumber(count) end
          end
        end
        -- The host's own thread; an emulated one has threads of the emulator beside it.
        local before = threads()
        local gma2workers = require "gma2workers"
        assert(threads() == before, "after require there are " .. threads())
        assert(gma2workers.info.threads == 0)
        gma2workers.RunSync { tasks = { { func = print }, { func = print } }, workers = 2 }
        assert(threads() >= before + 2, "after a run there are " .. threads())
        -- All but the watchdog.
        assert(gma2workers.info.threads == threads() - before - 1)
        "#,
    )
    .run()
    .expect_clean()
    .expect_stdout("\n\n");
}

#[test]
fn require_and_run_leave_the_host_as_it_was() {
    Case::new(
        r#"
        local function snapshot()
          local seen, lines = {}, {}
          local function note(value, name)
            lines[name] = value
            if type(value) == "table" and not seen[value] then
              seen[value] = true
              for key, inner in next, value do
                note(inner, name .. "." .. tostring(key))
              end
              note(getmetatable(value), name .. "!")
            end
          end
          note(_G, "_G")
          note(getmetatable(""), "string metatable")
          return lines
        end
        local function check(before, after, when)
          for name, value in pairs(after) do
            if not name:find("gma2workers", 1, true) then
              assert(rawequal(before[name], value), name .. " is new " .. when)
            end
          end
          for name in pairs(before) do
            assert(after[name] ~= nil, name .. " is gone " .. when)
          end
        end
        local before = snapshot()
        local gma2workers = require "gma2workers"
        check(before, snapshot(), "after require")
        local function work() text = "a task's own" return text:upper() end
        gma2workers.RunSync { tasks = { { func = work } } }
        gma2workers.RunAsync { tasks = { { func = work } }, mode = "cmd", onComplete = function() end }:wait()
        check(before, snapshot(), "after two runs")
        "#,
    )
    .run()
    .expect_clean();
}

#[test]
fn require_takes_one_name_in_package_loaded() {
    Case::new(
        r#"
        local before = {}
        for name in pairs(package.loaded) do before[name] = true end
        local gma2workers = require "gma2workers"
        for name, value in pairs(package.loaded) do
          if not before[name] then
            assert(name == "gma2workers" and value == gma2workers, name .. " was taken")
          end
        end
        "#,
    )
    .run()
    .expect_clean();
}

#[test]
fn both_names_give_the_same_table() {
    let folder = empty_folder();
    drop_in(&folder.path().join("gma2-workers"));
    for script in [
        r#"assert(require "gma2-workers" == require "gma2workers")"#,
        r#"assert(require "gma2workers" == require "gma2-workers")"#,
    ] {
        Case::new(script).path(folder.path()).run().expect_clean();
        // A folder without a binary takes the one on package.cpath.
        fs::remove_file(folder.path().join("gma2-workers/gma2workers.so")).expect("it was there");
        Case::new(script).path(folder.path()).run().expect_clean();
        drop_in(&folder.path().join("gma2-workers"));
    }
}

/// L16. Folders and binaries of all names, on both backends.
#[test]
fn all_names_give_the_same_table_in_any_order() {
    let folder = empty_folder();
    whole_drop_in(&folder.path().join("gma2-workers"));
    // A copy of the binary is another library to the system.
    fs::copy(module(), folder.path().join("gma2_workers.so")).expect("the binary can be copied");
    let all = ["gma2workers", "gma2-workers", "gma2_workers"];
    for backend in ["native", "cooperative"] {
        for first in 0..3 {
            for second in 0..3 {
                // Without the folder's init.lua, there is only the native backend.
                let names = [all[first], all[second], all[0], all[1], all[2]];
                if backend == "cooperative" && names[0] != "gma2-workers" {
                    continue;
                }
                let script = format!("package.cpath = package.cpath .. ';{}/?.so'", folder.path().display());
                Case::new(&script)
                    .then(&format!("local names = {{ {names:?} }}").replace(['[', ']'], ""))
                    .then(
                        r"
                        local gma2workers = require(names[1])
                        for _, name in ipairs(names) do assert(require(name) == gma2workers, name) end
                        ",
                    )
                    .then(A_SUM)
                    .path(folder.path())
                    .env("GMA2WORKERS_BACKEND", backend)
                    .run()
                    .expect_clean();
            }
        }
    }
}

/// L16.
#[test]
fn a_folder_takes_a_binary_of_the_other_name() {
    for beside in [true, false] {
        let folder = empty_folder();
        let drop_in_folder = folder.path().join("anything");
        drop_in(&drop_in_folder);
        let to = if beside { drop_in_folder.clone() } else { folder.path().to_owned() };
        fs::rename(drop_in_folder.join("gma2workers.so"), to.join("gma2_workers.so")).expect("it was there");
        Case::new(&format!("package.cpath = '{}/?.so'", folder.path().display()))
            .then("local gma2workers = require 'anything' assert(gma2workers.info.backend == 'native')")
            .then(A_SUM)
            .path(folder.path())
            .run()
            .expect_clean();
    }
}

/// Loads the drop-in folder `folder` (below a folder on `package.path`) under `name`.
#[track_caller]
fn loads_as(folder: &str, name: &str) {
    let plugins = empty_folder();
    drop_in(&plugins.path().join(folder));
    Case::new(&format!("local gma2workers = require {name:?}"))
        .then(A_SUM)
        .then("assert(package.loaded['gma2workers'] == gma2workers)")
        .in_folder(plugins.path())
        .path(plugins.path())
        .without_cpath()
        .run()
        .expect_clean();
}

#[test]
fn the_drop_in_folder_may_be_renamed() {
    loads_as("gma2-workers", "gma2-workers");
    loads_as("gma2_workers", "gma2_workers");
    loads_as("anything", "anything");
}

#[test]
fn the_drop_in_folder_may_be_nested() {
    loads_as("plugins/anything", "plugins.anything");
}

#[test]
fn the_drop_in_folder_may_have_special_characters_in_its_name() {
    loads_as("my (new) workers", "my (new) workers");
    loads_as("50%-+[x]^$ 'é", "50%-+[x]^$ 'é");
    loads_as("%1 (a)/%a*/anything", "%1 (a).%a*.anything");
}

#[test]
fn the_drop_in_folder_may_lie_on_a_relative_path() {
    let plugins = empty_folder();
    drop_in(&plugins.path().join("anything"));
    for templates in ["./?/init.lua", "?/init.lua", "anything/../?/init.lua"] {
        Case::new("local gma2workers = require 'anything'")
            .then(A_SUM)
            .in_folder(plugins.path())
            .env("LUA_PATH", templates)
            .without_cpath()
            .run()
            .expect_clean();
    }
}

#[test]
fn the_drop_in_folder_can_be_loaded_with_dofile() {
    let plugins = empty_folder();
    drop_in(plugins.path());
    for script in ["dofile 'init.lua'", "dofile './init.lua'", "assert(loadfile 'init.lua')()"] {
        Case::new(&format!("local gma2workers = {script}"))
            .then(A_SUM)
            .in_folder(plugins.path())
            .without_cpath()
            .run()
            .expect_clean();
    }
}

#[test]
fn a_folder_without_its_binary_says_where_to_put_it() {
    let plugins = empty_folder();
    let folder = plugins.path().join("anything");
    drop_in_without_binary(&folder);
    let init = folder.join("init.lua");
    Case::new(REFUSED)
        .path(plugins.path())
        .without_cpath()
        .run()
        .expect_clean()
        .expect_stdout_with(&format!("which belongs beside {}", init.display()))
        .expect_stdout_with(&format!("there is no {} and no gma2workers.so", binary_name()));
}

/// The name of this system's binary in a folder that holds those of all systems and of each Lua.
fn binary_name() -> String {
    let suffix = if lua() == "lua5.3" { String::new() } else { format!("-{}", lua()) };
    format!("gma2workers-linux-{}{suffix}.so", processor())
}

/// One folder may hold the binaries of all systems; this system's is preferred to one left by a build.
#[test]
fn a_folder_with_many_binaries_takes_the_one_for_this_system() {
    let plugins = empty_folder();
    let folder = plugins.path().join("anything");
    drop_in_without_binary(&folder);
    let other = if processor() == "x86_64" { "linux-aarch64.so" } else { "linux-x86_64.so" };
    let others = ["windows-x86_64.dll", "windows-x86.dll", "linux-x86.so", other]
        .map(|name| format!("gma2workers-{name}"));
    for name in others.iter().map(String::as_str).chain(["gma2workers.so", "gma2workers.dll"]) {
        fs::write(folder.join(name), "none for this system").expect("a file can be written");
    }
    fs::copy(module(), folder.join(binary_name())).expect("the module can be copied");
    Case::new("local gma2workers = require 'anything'")
        .then(A_SUM)
        .then("assert(gma2workers.info.backend == 'native')")
        .path(plugins.path())
        .without_cpath()
        .run()
        .expect_clean();
}

#[test]
fn an_invalid_binary_is_refused() {
    for content in [&b""[..], b"no ELF file, but \x00 rubbish\xff", b"\x7fELF", &[0x7f; 70_000]] {
        let plugins = empty_folder();
        let folder = plugins.path().join("anything");
        drop_in_without_binary(&folder);
        fs::write(folder.join("gma2workers.so"), content).expect("a file can be written");
        Case::new(REFUSED)
            .path(plugins.path())
            .without_cpath()
            .run()
            .expect_clean()
            .expect_stdout_with("gma2workers: cannot load its binary")
            .expect_stdout_with(&folder.join("gma2workers.so").display().to_string());
    }
}

#[test]
fn another_lua_is_refused() {
    let plugins = empty_folder();
    drop_in(&plugins.path().join("anything"));
    let others = [
        ("lua5.1", "Lua 5.1"),
        ("lua5.2", "Lua 5.2"),
        ("lua5.3", "Lua 5.3"),
        ("lua5.4", "Lua 5.4"),
        ("luajit", "LuaJIT"),
    ];
    let needs = "gma2workers needs Lua 5.3, this is ".replace("5.3", version());
    for (lua, name) in others.into_iter().filter(|(other, _)| *other != lua()) {
        assert!(is_installed(lua), "{lua} is missing: scripts/test installs it");
        Case::in_lua(lua, REFUSED)
            .path(plugins.path())
            .without_cpath()
            .run()
            .expect_clean()
            .expect_stdout_with("gma2workers needs Lua 5.");
        // The bare binary needs functions that such a Lua lacks, which it notices before it calls any.
        Case::in_lua(lua, "print(pcall(require, 'gma2workers'))")
            .run()
            .expect_clean()
            .expect_stdout(&format!("false\t{needs}{name}\n"));
    }
}

/// The module's dynamic symbols, as `nm` lists them.
fn dynamic_symbols(which: &str) -> Vec<String> {
    let listing = Command::new("nm")
        .args(["-D", which, "--format=posix"])
        .arg(module())
        .output()
        .expect("nm comes with the linker that built this");
    assert!(listing.status.success(), "nm: {}", String::from_utf8_lossy(&listing.stderr));
    let listing = String::from_utf8(listing.stdout).expect("symbols are text");
    let name = |line: &str| line.split([' ', '@']).next().unwrap_or_default().to_owned();
    listing.lines().map(name).collect()
}

#[test]
fn there_is_no_second_lua_in_the_binary() {
    let wanted = dynamic_symbols("--undefined-only");
    for name in ["lua_newstate", "lua_close", "lua_next", "lua_settop"] {
        assert!(wanted.iter().any(|symbol| symbol == name), "{name} is not the host's");
    }
    let bytes = fs::read(module()).expect("the module can be read");
    let signature = b"$LuaVersion: Lua";
    assert!(!bytes.windows(signature.len()).any(|window| window == signature), "a Lua was linked in");
}

#[test]
fn only_the_entry_points_are_exported() {
    let mut exported = dynamic_symbols("--defined-only");
    exported.sort();
    assert_eq!(exported, ["luaopen_gma2_workers", "luaopen_gma2workers"]);
}

#[test]
fn the_quick_start_runs() {
    Case::command([OsStr::new(lua()), project().join("tests/examples/quick_start.lua").as_os_str()])
        .run()
        .expect_clean()
        .expect_stdout_with("4\ttrue\t");
}

#[test]
fn run_plugin_runs_a_plugin() {
    // The script builds first. Here the module under test is built already, and files that other tests have
    // mapped must not be overwritten. So the script runs in a tree with this profile's files and a build that
    // does nothing.
    let tree = empty_folder();
    let root = tree.path();
    // As scripts/lua names it.
    let target = if lua() == "lua5.3" { "target".into() } else { format!("target/{}", lua()) };
    for folder in ["scripts", &format!("{target}/release")] {
        fs::create_dir_all(root.join(folder)).expect("a folder can be made");
    }
    for folder in ["lua", "tests"] {
        symlink(project().join(folder), root.join(folder)).expect("a link can be made");
    }
    symlink(module_folder(), root.join(target).join("release/lua")).expect("a link can be made");
    for name in ["scripts/run-plugin", "scripts/lua"] {
        fs::copy(project().join(name), root.join(name)).expect("it can be copied");
    }
    symlink("/bin/true", root.join("scripts/build")).expect("a link can be made");

    let plugin = project().join("tests/examples/limited_workers.lua");
    for mode in ["timer", "cmd"] {
        let words = [root.join("scripts/run-plugin"), plugin.clone(), "--argument".into(), mode.into()];
        Case::command(words)
            .run()
            .expect_clean()
            .expect_stdout_with("Limited workers: 12 of 12 done")
            .expect_stdout_with("Limited workers: 12 rested, 3 at a time");
    }
}

#[test]
fn a_folder_and_a_binary_of_different_versions_are_refused() {
    let folder = empty_folder();
    let drop_in_folder = folder.path().join("workers");
    drop_in(&drop_in_folder);
    let init = drop_in_folder.join("init.lua");
    let text = fs::read_to_string(&init).expect("init.lua can be read");
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("\"{version}\"")), "init.lua is of version {version}, as Cargo.toml is");
    fs::write(&init, text.replace(version, "99.9.9")).expect("init.lua can be written");
    Case::new("print(select(2, pcall(require, 'workers')))")
        .without_cpath()
        .path(folder.path())
        .run()
        .expect_clean()
        .expect_stdout_with("version 99.9.9")
        .expect_stdout_with(&format!("version {version}"));
}

/// L14. A plugin is a coroutine: the one that loaded the library first may be gone when it is loaded again.
#[test]
fn the_library_can_be_loaded_again_after_the_loading_coroutine_is_gone() {
    for again in ["require 'gma2workers'", "package.loadlib(FILE, 'luaopen_gma2workers')()"] {
        Case::new(&format!("local FILE = {:?}", module()))
            .then(
                r#"
                coroutine.wrap(function() require "gma2workers" end)()
                collectgarbage() collectgarbage()
                local filler = {}
                for i = 1, 200 do filler[i] = ("x"):rep(190) .. i end
                package.loaded.gma2workers = nil
                "#,
            )
            .then(&format!("local gma2workers = {again}"))
            .then(
                r#"
                local function work() return 1 end
                assert(gma2workers.RunSync { tasks = { { func = work } } }.result[1].data == 1)
                assert(not pcall(gma2workers.RunSync, {}))
                assert(#gma2workers.Map(work, { 1, 2 }, { workers = 2 }) == 2)
                "#,
            )
            .run()
            .expect_clean();
    }
}

/// F11. Named values are recognized by address, so the library keeps them alive: no other value may get the
/// address.
#[test]
fn no_value_gets_the_address_of_a_dropped_standard_function() {
    Case::new(
        r#"
        local gma2workers = require "gma2workers"
        gma = { show = { getobj = {} } }
        local function address(value) return tostring(value):match("0x%x+") end
        local function capture(value) return function() return value end end
        local function is_data(entry) return type(entry.data) == "table" and entry.data.mine == true end
        local dropped = {}
        for _, value in ipairs { utf8, utf8.char, gma2workers.Map, gma.show, gma.show.getobj } do
          dropped[address(value)] = true
        end
        gma2workers.RunSync { tasks = { { func = capture(gma.show) } } }
        utf8, package.loaded.utf8, gma2workers.Map, gma.show = nil, nil, nil, nil
        collectgarbage() collectgarbage()
        local mine, met = {}, 0
        for i = 1, 20000 do
          local value = { mine = true }
          mine[i] = value
          if dropped[address(value)] then
            met = met + 1
            local entry = gma2workers.RunSync { upvalues = "copy", tasks = { { func = capture(value) } } }.result[1]
            assert(is_data(entry), entry.data)
          end
        end
        print(met)
        "#,
    )
    .run()
    .expect_clean();
}
