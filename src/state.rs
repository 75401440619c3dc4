//! A worker's Lua state: made, fitted to a job, made pristine again.
//!
//! A [`State`] lives on one thread. It has Lua's standard library, changed where [`crate::stdlib`] and
//! [`crate::coroutine`] say, an allocator with an account of its own, and `gma` in the host's shape.

use std::rc::Rc;
use std::sync::Arc;

use crate::decode::decode;
use crate::error::{Error, Result};
use crate::ffi::{Key, OwnState, Stack, Type, native};
use crate::names::{self, NameMap};
use crate::pristine::{self, Snapshot};
use crate::{coroutine, fault, gma, stdlib};

/// In the registry of every state of ours.
static WORKER: Key = Key::new();

/// Whether a state is a worker's.
pub fn is_worker(stack: &Stack) -> bool {
    let found = stack.registry_get(&WORKER) != Type::Nil;
    stack.pop(1);
    found
}

/// What a job asks of the states that run its tasks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The host's `package.path` and `package.cpath`.
    pub path: Vec<u8>,
    pub cpath: Vec<u8>,
    /// A message with the shape of the host's `gma`; none on a host without one.
    pub gma: Option<Vec<u8>>,
    /// A message with a table of the job's globals by name.
    pub globals: Option<Vec<u8>>,
    pub sandbox: bool,
    /// How many bytes a state may take.
    pub memory_limit: usize,
}

/// A state that tasks run in, one after another.
pub struct State {
    own: OwnState,
    names: Rc<NameMap>,
    snapshot: Snapshot,
    environment: Arc<Environment>,
    fresh: bool,
}

/// A state that holds more than this after a task is not kept for the next.
const KEEP_BELOW: usize = 32 << 20;

impl State {
    /// A new state, fitted to a job.
    pub fn new(environment: &Arc<Environment>) -> Result<State> {
        fault::point("state")?;
        let own = OwnState::new(environment.memory_limit).ok_or(Error::Memory)?;
        let mut names = NameMap::default();
        let stack = own.stack();
        stack.protected(0, |stack| {
            // Nothing here is worth a collection yet.
            stack.run_collector(false);
            stack.push_boolean(true);
            stack.registry_set(&WORKER);
            stack.open_libraries();
            stdlib::install(stack);
            coroutine::install(stack);
            if environment.sandbox {
                stdlib::restrict(stack);
            }
            names::read_standard(stack, native(stdlib::clock), &mut names);
            stack.run_collector(true);
            Ok(())
        })?;
        let mut state = State {
            own,
            names: Rc::new(names),
            snapshot: Snapshot::default(),
            environment: Arc::default(),
            fresh: true,
        };
        state.fit(environment)?;
        Ok(state)
    }

    /// Gives the state what a job's tasks expect, and notes it as pristine.
    fn fit(&mut self, environment: &Arc<Environment>) -> Result<()> {
        let stack = self.own.stack();
        let mut names = NameMap::clone(&self.names);
        gma::install(&stack, environment.gma.as_deref(), &mut names)?;
        let snapshot = &mut self.snapshot;
        stack.protected(0, |stack| {
            stack.push_globals();
            if stack.raw_get_text(1, "package") == Type::Table {
                stack.push_bytes(&environment.path);
                stack.raw_set_text(-2, "path");
                stack.push_bytes(&environment.cpath);
                stack.raw_set_text(-2, "cpath");
            }
            *snapshot = pristine::take(stack)?;
            stack.set_top(0);
            Ok(())
        })?;
        self.names = Rc::new(names);
        self.environment = Arc::clone(environment);
        Ok(())
    }

    /// Makes the state what a task of this job has to find. False where it can't be, and a new state is
    /// needed.
    pub fn prepare(&mut self, environment: &Arc<Environment>) -> Result<bool> {
        let stack = self.own.stack();
        if self.environment.sandbox != environment.sandbox {
            return Ok(false);
        }
        if !self.fresh {
            let snapshot = self.snapshot;
            stack.reset_collector();
            if !stack.protected(0, |stack| Ok(pristine::restore(stack, snapshot)))? {
                return Ok(false);
            }
        }
        let fits = Arc::ptr_eq(&self.environment, environment) || *self.environment == **environment;
        if !fits {
            self.own.set_limit(environment.memory_limit);
            self.fit(environment)?;
        }
        self.fresh = false;
        gma::set_names(&self.names);
        if let Some(globals) = &environment.globals {
            decode(&stack, globals, &gma::worker_names())?;
            stack.protected(1, |stack| {
                stack.push_globals();
                stack.push_nil();
                while stack.next(1) {
                    stack.push_value(-2);
                    stack.insert(-2);
                    stack.raw_set(2);
                }
                stack.set_top(0);
                Ok(())
            })?;
        }
        Ok(true)
    }

    /// Whether memory has run out in this state.
    pub fn has_run_out(&self) -> bool {
        self.own.is_exhausted()
    }

    /// Whether the state may be used again. It must not be where a task left finalizers
    /// ([`stdlib::is_spoiled`]), either.
    pub fn is_fit(&self) -> bool {
        !self.has_run_out() && self.own.memory() <= KEEP_BELOW
    }

    /// Frees what the last task left, so that an idle worker holds little.
    pub fn tidy(&mut self) -> bool {
        let stack = self.own.stack();
        let snapshot = self.snapshot;
        stack.reset_collector();
        stack
            .protected(0, |stack| {
                let restored = pristine::restore(stack, snapshot);
                stack.collect();
                Ok(restored)
            })
            .unwrap_or(false)
    }

    pub fn stack(&self) -> Stack {
        self.own.stack()
    }
}
