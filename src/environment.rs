//! The contents and limits that a job needs in the states that run its tasks.
//!
//! Plain `Send` data: the host reads it from its own state, and workers fit their states to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::error::Result;

/// The contents and limits of the states of one job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The host's `package.path` and `package.cpath`.
    pub path: Vec<u8>,
    pub cpath: Vec<u8>,
    /// The host's modules, and the functions that it has added to libraries.
    pub modules: HostModules,
    /// A message with the shape of the host's `gma`; none on a host without one.
    pub gma: Option<Vec<u8>>,
    /// The names of the functions in the option `host`, sorted; none without the option.
    pub host: Option<Vec<Box<str>>>,
    /// A message with two tables: the job's globals by name, and those that are fields of libraries, by library.
    pub globals: Option<Vec<u8>>,
    /// The code that runs in a state before its first task.
    pub init: Option<Init>,
    /// A message for each of the job's functions.
    pub functions: Vec<Vec<u8>>,
    pub sandbox: bool,
    /// The most bytes that a state may take.
    pub memory_limit: usize,
}

impl Environment {
    /// Whether code of the job runs in a state before its first task: `init`, or modules.
    pub fn has_code(&self) -> bool {
        self.init.is_some() || self.modules.are_needed
    }
}

/// The function of the option `init`, encoded as a task's is.
#[derive(Debug, PartialEq, Eq)]
pub struct Init {
    pub function: Vec<u8>,
    /// A message with its arguments.
    pub arguments: Vec<u8>,
    /// Its own time limit; the inner `None` is an endless one.
    pub timeout: Option<Option<Duration>>,
}

/// The encoded loaders that tasks have asked for, by module name. A message holds nil if the host has no loader.
type Loaders = FxHashMap<Box<[u8]>, Arc<[u8]>>;

/// A module that tasks need in their states.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Required {
    pub name: String,
    /// The address of the host's module. A module that was loaded again has another one.
    pub address: usize,
    /// Something in it has no name in another module.
    pub is_needed: bool,
    /// The names, in messages, of the things in it that have several. Other modules may be needed for them.
    pub named: Vec<String>,
}

/// A function that the host has added to a library.
#[derive(Debug, PartialEq, Eq)]
pub struct Addition {
    pub library: &'static str,
    pub name: String,
    /// A message with the function.
    pub function: Vec<u8>,
}

/// The host's modules, as of the start of the job.
#[derive(Debug, Default)]
pub struct HostModules {
    /// The names of the modules that the host has loaded, sorted.
    pub loaded: Vec<String>,
    /// The modules that the job's functions, arguments and globals need, in the order in which they were met.
    pub required: Vec<Required>,
    /// The job's functions, arguments, globals or additions need modules.
    pub are_needed: bool,
    /// The plain data of the host's modules: a message with a table, by the module's name.
    pub data: Vec<(String, Vec<u8>)>,
    /// The functions that the host has added to the standard libraries.
    pub additions: Vec<Addition>,
    /// The names in its `package.preload`, without ours, in any order. So a task asks for no other module, and the host may be
    /// busy meanwhile.
    pub preloaded: Vec<Vec<u8>>,
    /// It has searchers other than Lua's own.
    pub has_other_searchers: bool,
    loaders: Mutex<Loaders>,
}

impl PartialEq for HostModules {
    fn eq(&self, other: &HostModules) -> bool {
        self.has_other_searchers == other.has_other_searchers
            && self.preloaded == other.preloaded
            && self.loaded == other.loaded
            && self.required == other.required
            && self.additions == other.additions
            && self.data == other.data
    }
}

impl Eq for HostModules {}

impl HostModules {
    /// The encoded loader of a module. Calls `ask` unless a worker of the job has asked for it before.
    pub fn loader(&self, name: &[u8], ask: impl FnOnce() -> Result<Arc<[u8]>>) -> Result<Arc<[u8]>> {
        let loaders = || self.loaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaders().get(name) {
            return Ok(Arc::clone(known));
        }
        // The lock is not held here, so other workers don't wait for this answer.
        let message = ask()?;
        loaders().insert(name.into(), Arc::clone(&message));
        Ok(message)
    }
}
