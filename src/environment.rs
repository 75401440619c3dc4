//! The contents and limits that a job needs in the states that run its tasks.
//!
//! Plain `Send` data: the host reads it from its own state, and workers fit their states to it.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::error::Result;

/// The contents and limits of the states of one job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The host's `package.path` and `package.cpath`.
    pub path: Vec<u8>,
    pub cpath: Vec<u8>,
    /// The modules that the host's `require` finds beyond files.
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
    /// Whether code of the job runs in a state before its first task. Each job runs its own, even if it is the same code: its
    /// outcome may differ.
    pub fn has_code(&self) -> bool {
        self.init.is_some()
    }
}

/// The function of the option `init`, encoded as a task's is.
#[derive(Debug, PartialEq, Eq)]
pub struct Init {
    pub function: Vec<u8>,
    /// A message with its arguments.
    pub arguments: Vec<u8>,
}

/// The encoded loaders that tasks have asked for, by module name. A message holds nil if the host has no loader.
type Loaders = FxHashMap<Box<[u8]>, Arc<[u8]>>;

/// The modules that a host's `require` finds beyond files, as of the start of the job.
#[derive(Debug, Default)]
pub struct HostModules {
    /// Its `package.preload` has an entry other than ours.
    pub has_preloaded: bool,
    /// It has searchers other than Lua's own.
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
