//! What a job asks of the states that run its tasks.
//!
//! Plain `Send` data: the host reads it from its own state, and workers fit their states to it.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::error::Result;

/// What the states of one job have in common.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The host's `package.path` and `package.cpath`.
    pub path: Vec<u8>,
    pub cpath: Vec<u8>,
    /// What else the host's `require` finds.
    pub modules: HostModules,
    /// A message with the shape of the host's `gma`; none on a host without one.
    pub gma: Option<Vec<u8>>,
    /// A message with a table of the job's globals by name.
    pub globals: Option<Vec<u8>>,
    /// A message for each of the job's functions.
    pub functions: Vec<Vec<u8>>,
    pub sandbox: bool,
    /// How many bytes a state may take.
    pub memory_limit: usize,
}

/// The messages of the loaders that tasks have asked for, by module name; a message with nil where the host has none.
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
    /// The message of a module's loader: the one that a worker of the job has asked for, or else what `ask` gives.
    pub fn loader(&self, name: &[u8], ask: impl FnOnce() -> Result<Arc<[u8]>>) -> Result<Arc<[u8]>> {
        let loaders = || self.loaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaders().get(name) {
            return Ok(Arc::clone(known));
        }
        // Without the lock: other workers need not wait for this answer.
        let message = ask()?;
        loaders().insert(name.into(), Arc::clone(&message));
        Ok(message)
    }
}
