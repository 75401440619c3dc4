//! `require` in a task.
//!
//! Worker side, on the worker's thread and state. Lua's own searchers use the host's paths, with two differences:
//!
//! - A module in the host's `package.preload` is fetched when a task first requires it, once per job. So only modules that
//!   are used cost time, and one that can't cross fails only the tasks that require it.
//! - A module's file must be text, because Lua does not verify bytecode.
//!
//! In a task, gma2workers itself is a stand-in, for modules that require it when they are loaded.

use std::ffi::c_int;
use std::sync::Arc;

use crate::current;
use crate::error::{Error, Result};
use crate::ffi::{Exit, Key, NativeResult, Protected, Stack, Type, VERSION, native};
use crate::gma;
use crate::hostcall;
use crate::mailbox::{Answer, PRELOAD};
use crate::pool;
use crate::stdlib;

/// The names under which gma2workers is loaded.
pub const OWN_NAMES: [&str; 3] = ["gma2workers", "gma2-workers", "gma2_workers"];

/// The functions of gma2workers that a task can't call.
const FUNCTIONS: [&str; 8] =
    ["Dispatch", "Map", "Poll", "RunAsync", "RunSync", "cancelAll", "jobs", "setEngine"];

/// The other fields of gma2workers.
const OTHER_FIELDS: [&str; 3] = ["clock", "info", "isStopping"];

/// A shorter name is one letter away from too many other words.
const LONG_NAME: usize = 6;

/// The field of gma2workers that a name misspells: it differs in case or underscores or, if it is long, by one letter.
pub fn meant(name: &[u8]) -> Option<&'static str> {
    let name = std::str::from_utf8(name).ok().filter(|name| name.len() < 32)?;
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let written = plain(name);
    let fields = || FUNCTIONS.into_iter().chain(OTHER_FIELDS);
    let distance = |field: &str| strsim::damerau_levenshtein(&written, &plain(field));
    let (steps, nearest) = fields().map(|field| (distance(field), field)).min()?;
    let is_slip = steps == 0 || steps == 1 && nearest.len() >= LONG_NAME;
    (is_slip && fields().all(|field| field != name)).then_some(nearest)
}

/// `meant(name)`: returns the field of the module that the name misspells, or nil.
pub fn find_meant(stack: &Protected) -> NativeResult {
    let is_text = stack.kind(1) == Type::String;
    match is_text.then(|| meant(&stack.bytes(1))).flatten() {
        Some(name) => stack.push_bytes(name.as_bytes()),
        None => stack.push_nil(),
    }
    Ok(1)
}

/// Pushes the module if the host has loaded it without this binary: the cooperative backend. Returns whether it has.
pub fn push_loaded(stack: &Protected) -> bool {
    let top = stack.top();
    stack.push_registry();
    if stack.raw_get_text(top + 1, "_LOADED") == Type::Table {
        for name in OWN_NAMES {
            let is_ours = stack.raw_get_text(top + 2, name) == Type::Table
                && stack.raw_get_text(top + 3, "info") == Type::Table
                && stack.raw_get_text(top + 4, "name") == Type::String
                && stack.has_bytes(top + 5, OWN_NAMES[0].as_bytes());
            if is_ours {
                stack.set_top(top + 3);
                return true;
            }
            stack.set_top(top + 2);
        }
    }
    stack.set_top(top);
    false
}

/// Asks the host for a module's encoded loader.
fn ask_for_loader(name: &[u8]) -> Result<Arc<[u8]>> {
    match hostcall::call(PRELOAD, name.to_vec()) {
        Answer::Returned(message) => Ok(message.into()),
        Answer::Failed(error) => Err(error),
        Answer::Raised(_) | Answer::Gone => Err(Error::HostGone { name: "require".into() }),
    }
}

/// Installs the searchers and the stand-in in `package`.
pub fn install(stack: &Protected) {
    let top = stack.top();
    stack.push_globals();
    if stack.raw_get_text(-1, "package") == Type::Table {
        let package = stack.top();
        if stack.raw_get_text(package, "preload") == Type::Table {
            for name in OWN_NAMES {
                stack.push_native(native(load_stand_in));
                stack.raw_set_text(-2, name);
            }
        }
        stack.raw_get_text(package, "searchers");
        let searchers = stack.top();
        stack.raw_get_i(searchers, 1);
        stack.push_closure(native(search_preload), 1);
        stack.raw_set_i(searchers, 1);
        stack.raw_get_text(package, "searchpath");
        stack.push_value(package);
        stack.push_closure(native(search_files), 2);
        stack.raw_set_i(searchers, 2);
    }
    stack.set_top(top);
}

/// The searcher of `package.preload`: first the state's own, then the host's. Its upvalue is Lua's searcher.
fn search_preload(stack: &Protected) -> NativeResult {
    stack.set_top(1);
    stack.push_upvalue(1);
    stack.push_value(1);
    // Lua 5.4 adds where the loader was.
    stack.call(1, 2);
    if stack.kind(-2) != Type::String || stack.kind(1) != Type::String {
        return Ok(2);
    }
    stack.pop(1);
    let searches = current::work().map(|work| {
        let host = &work.job.environment.modules;
        let is_preloaded = host.preloaded.iter().any(|name| stack.has_bytes(1, name));
        (is_preloaded, host.has_other_searchers)
    });
    let Some((is_preloaded, has_other_searchers)) = searches else { return Ok(1) };
    current::with_notes(|notes| notes.has_required = true);
    if is_preloaded {
        push_host_loader(stack).map_err(Exit::RaiseBare)?;
        if stack.kind(-1) == Type::Function {
            if VERSION >= 504 {
                stack.push_bytes(b":preload:");
                return Ok(2);
            }
            return Ok(1);
        }
        stack.pop(1);
    }
    if has_other_searchers {
        stack.push_bytes(
            b"\n\tno searcher of the host's: a task has none that was added to package.searchers",
        );
        stack.concat(2);
    }
    Ok(1)
}

/// Pushes the host's loader for the module whose name is at index 1, or nil.
fn push_host_loader(stack: &Stack) -> Result<()> {
    let Some(work) = current::work() else {
        stack.push_nil();
        return Ok(());
    };
    let name = stack.bytes(1);
    let loader = work.job.environment.modules.loader(&name, || ask_for_loader(&name))?;
    gma::receive(stack, &loader)?;
    Ok(())
}

/// The searcher of Lua files. Its upvalues: `package.searchpath`, `package`.
fn search_files(stack: &Protected) -> NativeResult {
    stack.set_top(1);
    stack.push_upvalue(1);
    stack.push_value(1);
    stack.push_upvalue(2);
    stack.raw_get_text(-1, "path");
    stack.remove(-2);
    if stack.kind(-1) != Type::String {
        return Err(Exit::RaiseBare(Error::BadCall("'package.path' must be a string".into())));
    }
    stack.call(2, 2);
    if stack.kind(2) != Type::String {
        return Ok(1);
    }
    stack.set_top(2);
    if stack.load_text_file(2) {
        stack.insert(2);
        return Ok(2);
    }
    let [name, file, problem] = [1, 2, 3].map(|index| stack.bytes(index));
    let parts = [b"error loading module '".as_slice(), &name, b"' from file '", &file, b"':\n\t", &problem];
    Err(Exit::RaiseBare(Error::Lua(parts.concat())))
}

/// The registry key of the stand-in, in a state that has required gma2workers.
static STAND_IN: Key = Key::new();

/// The loader of gma2workers.
fn load_stand_in(stack: &Protected) -> NativeResult {
    push_stand_in(stack);
    Ok(1)
}

/// Pushes the stand-in for gma2workers.
pub fn push_stand_in(stack: &Protected) {
    if stack.registry_get(&STAND_IN) == Type::Table {
        return;
    }
    stack.pop(1);
    stack.create_table(0, FUNCTIONS.len() as c_int + 3);
    for name in FUNCTIONS {
        stack.push_native(native(refuse));
        stack.raw_set_text(-2, name);
    }
    stack.push_native(native(stdlib::clock));
    stack.raw_set_text(-2, "clock");
    stack.push_native(native(gma::is_stopping));
    stack.raw_set_text(-2, "isStopping");
    stack.create_table(0, 5);
    for (key, text) in
        [("name", "gma2workers"), ("version", env!("CARGO_PKG_VERSION")), ("backend", "native")]
    {
        stack.push_bytes(text.as_bytes());
        stack.raw_set_text(-2, key);
    }
    for (key, count) in [("threads", pool::threads()), ("lost", pool::lost())] {
        stack.push_integer(count as i64);
        stack.raw_set_text(-2, key);
    }
    stack.raw_set_text(-2, "info");
    stack.create_table(0, 1);
    stack.push_native(native(missing_field));
    stack.raw_set_text(-2, "__index");
    stack.set_metatable(-2);
    stack.push_value(-1);
    stack.registry_set(&STAND_IN);
}

/// The refusal of a misspelt name.
fn no_field(name: &str, meant: &str) -> String {
    format!("gma2workers has no '{name}': did you mean '{meant}'?")
}

/// `__index` of the stand-in: refuses a misspelt name. Others are nil.
fn missing_field(stack: &Protected) -> NativeResult {
    let meant = if stack.kind(2) == Type::String { meant(&stack.bytes(2)) } else { None };
    match meant {
        Some(meant) => Err(Error::BadCall(no_field(&stack.text(2), meant)).into()),
        None => Ok(0),
    }
}

fn refuse(_: &Protected) -> NativeResult {
    Err(Error::InWorker.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_misspelt_names_of_calls_are_refused() {
        for (name, field) in [
            ("runSync", "RunSync"),
            ("run_sync", "RunSync"),
            ("RunSynch", "RunSync"),
            ("RunAsyc", "RunAsync"),
            ("dispatch", "Dispatch"),
            ("map", "Map"),
            ("cancel_All", "cancelAll"),
        ] {
            assert_eq!(meant(name.as_bytes()), Some(field), "{name}");
        }
        let others: [&[u8]; 9] =
            [b"pool", b"job", b"maps", b"lock", b"Map", b"Run", b"", b"\xff", &[b'x'; 1000]];
        for name in others {
            assert_eq!(meant(name), None, "{name:?}");
        }
    }
}
