//! What `require` finds in a task.
//!
//! Worker side, on the worker's thread and state. Lua's own searchers look where the host's do, and differ in two ways:
//!
//! - What the host has in its `package.preload` is asked for when a task requires it, so a host with many such modules
//!   pays for those alone that are used, and one that can't cross fails nobody else. A job asks once for each name.
//! - A module's file is text: Lua does not verify bytecode.
//!
//! gma2workers itself is there as a stand-in, for modules that load it at their top.

use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::codec::decode;
use crate::error::{Error, Result};
use crate::ffi::{Exit, Key, NativeResult, Protected, Stack, Type, native};
use crate::gma;
use crate::hostcall::{self, Answer};
use crate::pool;
use crate::stdlib;

/// The names under which gma2workers is loaded.
pub const OWN_NAMES: [&str; 3] = ["gma2workers", "gma2-workers", "gma2_workers"];

/// The functions of gma2workers that a task can't call.
const FUNCTIONS: [&str; 5] = ["Dispatch", "Map", "Poll", "RunAsync", "RunSync"];

/// The messages of what was asked for, by name: loaders, or nil where there is none of that name.
type Loaders = FxHashMap<Box<[u8]>, Arc<[u8]>>;

/// What a host's `require` finds beyond files, at the time of a job's call.
#[derive(Debug, Default)]
pub struct HostModules {
    /// There is something in its `package.preload`.
    pub has_preloaded: bool,
    /// It has other searchers than Lua's.
    pub has_other_searchers: bool,
    loaders: Mutex<Loaders>,
}

impl PartialEq for HostModules {
    fn eq(&self, other: &HostModules) -> bool {
        (self.has_preloaded, self.has_other_searchers) == (other.has_preloaded, other.has_other_searchers)
    }
}

impl Eq for HostModules {}

impl HostModules {
    /// The message of a name's loader, asked for on the host where no worker of the job has it yet.
    fn loader(&self, name: &[u8]) -> Result<Arc<[u8]>> {
        let loaders = || self.loaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaders().get(name) {
            return Ok(Arc::clone(known));
        }
        let message: Arc<[u8]> = match hostcall::call(hostcall::PRELOAD, name.to_vec()) {
            Answer::Returned(message) => message.into(),
            Answer::Failed(error) => return Err(error),
            Answer::Raised(_) | Answer::Gone => return Err(Error::HostGone { name: "require".into() }),
        };
        loaders().insert(name.into(), Arc::clone(&message));
        Ok(message)
    }
}

thread_local! {
    /// What the host of this thread's job has.
    static HOST: RefCell<Arc<HostModules>> = RefCell::default();
}

/// Says what the host has whose tasks run on this thread from now on.
pub fn set_host(modules: &Arc<HostModules>) {
    HOST.set(Arc::clone(modules));
}

/// Puts the searchers and the stand-in into `package`. *Raises.*
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

/// The searcher of `package.preload`: the state's own, and then the host's. Its upvalue is Lua's.
fn search_preload(stack: &Protected) -> NativeResult {
    stack.set_top(1);
    stack.push_upvalue(1);
    stack.push_value(1);
    stack.call(1, 1);
    if stack.kind(-1) != Type::String || stack.kind(1) != Type::String {
        return Ok(1);
    }
    let (has_preloaded, has_other_searchers) =
        HOST.with_borrow(|host| (host.has_preloaded, host.has_other_searchers));
    if has_preloaded {
        push_host_loader(stack).map_err(Exit::RaiseBare)?;
        if stack.kind(-1) == Type::Function {
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

/// Pushes the loader that the host has for the module at index 1, or nil.
fn push_host_loader(stack: &Stack) -> Result<()> {
    let host = HOST.with_borrow(Arc::clone);
    let loader = host.loader(stack.bytes(1))?;
    decode(stack, &loader, &gma::WorkerNames)?;
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
    let parts = [b"error loading module '", name, b"' from file '", file, b"':\n\t", problem];
    Err(Exit::RaiseBare(Error::Lua(parts.concat())))
}

/// In the registry, where a task has required gma2workers.
static STAND_IN: Key = Key::new();

/// What `require` calls for gma2workers.
fn load_stand_in(stack: &Protected) -> NativeResult {
    push_stand_in(stack);
    Ok(1)
}

/// Pushes what a task gets for gma2workers. *Raises.*
pub fn push_stand_in(stack: &Protected) {
    if stack.registry_get(&STAND_IN) == Type::Table {
        return;
    }
    stack.pop(1);
    stack.create_table(0, FUNCTIONS.len() as c_int + 2);
    for name in FUNCTIONS {
        stack.push_native(native(refuse));
        stack.raw_set_text(-2, name);
    }
    stack.push_native(native(stdlib::clock));
    stack.raw_set_text(-2, "clock");
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
    stack.push_value(-1);
    stack.registry_set(&STAND_IN);
}

fn refuse(_: &Protected) -> NativeResult {
    Err(Error::InWorker.into())
}
