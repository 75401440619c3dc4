//! A worker's Lua state: made, fitted to a job, put back between tasks.
//!
//! A [`State`] lives on one thread. It has Lua's standard library, changed where [`crate::stdlib`] and
//! [`crate::coroutine`] say, and an allocator of its own with an account. Two images are taken of it: as it was when
//! it was made, and fitted to a job, with `gma` in the host's shape, the job's globals, its functions, and the
//! coroutine that its tasks run in. Putting it back to one undoes whatever ran since, down to the last byte.

use std::ffi::c_int;
use std::sync::Arc;

use crate::codec::furnish;
use crate::error::{Error, Result};
use crate::ffi::{Key, OwnState, Stack, Type};
use crate::modules::{self, HostModules};
use crate::{bytecode, codec, coroutine, fault, gma, stdlib};

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
    /// What else the host's `require` finds.
    pub modules: Arc<HostModules>,
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

/// A state that tasks run in, one after another.
pub struct State {
    own: OwnState,
    environment: Arc<Environment>,
    /// It has what the environment says, not only what it was made with.
    is_fitted: bool,
    /// The job's functions that stand on the state's stack; those that can't, with the reason.
    functions: Vec<Result<Function>>,
    life: Life,
    /// How many C libraries were loaded when it was made.
    libraries: usize,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    is_harmless: bool,
}

/// What a state is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// One task.
    Once,
    /// Task after task: it can be put back.
    Long,
}

/// The images, in the order in which they are taken.
const MADE: usize = 1;
const FITTED: usize = 2;

/// Where things stand on the state's own stack: Lua's list of loaded C libraries, the coroutine for tasks, and from
/// there up the functions.
const LIBRARIES: c_int = 1;
const COROUTINE: c_int = 2;

/// More functions than this, or more bytes of them, are not kept in the state: it is copied for every task.
const FUNCTIONS_KEPT: usize = 16;
const BYTES_KEPT: usize = 64 << 10;

/// What a task may leave for the collector, or for the next [`State::put_back`], if it did nothing else.
const WORTH_PUTTING_BACK: usize = 64 << 10;

/// How many KiB tasks may take before the collector begins: most are over before, and are put back. More than
/// [`WORTH_PUTTING_BACK`].
const UNCOLLECTED: c_int = 256;

impl State {
    /// A new state, fitted to a job.
    pub fn new(environment: &Arc<Environment>, life: Life) -> Result<State> {
        fault::point("state")?;
        let own = OwnState::new(environment.memory_limit).ok_or(Error::Memory)?;
        let mut libraries = 0;
        let count = &mut libraries;
        let stack = own.stack();
        stack.protected(0, |stack| {
            // Nothing here is worth a collection yet.
            stack.run_collector(false);
            stack.open_libraries();
            // A vendor's own may leave something there.
            stack.set_top(0);
            push_libraries(stack);
            *count = stack.raw_len(-1);
            stack.push_boolean(true);
            stack.registry_set(&WORKER);
            stdlib::install(stack);
            modules::install(stack);
            coroutine::install(stack);
            if environment.sandbox {
                stdlib::restrict(stack);
            }
            stack.run_collector(true);
            stack.postpone_collector(UNCOLLECTED);
            stack.new_thread();
            Ok(())
        })?;
        let mut state = State {
            own,
            environment: Arc::default(),
            is_fitted: false,
            functions: Vec::new(),
            life,
            libraries,
        };
        state.fit(environment)?;
        Ok(state)
    }

    /// Gives the state, as it was made, what a job's tasks expect.
    fn fit(&mut self, environment: &Arc<Environment>) -> Result<()> {
        if self.life == Life::Long {
            self.own.snapshot()?;
        }
        self.own.set_limit(environment.memory_limit);
        let stack = self.own.stack();
        gma::install(&stack, environment.gma.as_deref())?;
        stack.protected(0, |stack| {
            stack.push_globals();
            if stack.raw_get_text(1, "package") == Type::Table {
                stack.push_bytes(&environment.path);
                stack.raw_set_text(-2, "path");
                stack.push_bytes(&environment.cpath);
                stack.raw_set_text(-2, "cpath");
            }
            stack.set_top(0);
            Ok(())
        })?;
        modules::set_host(&environment.modules);
        if let Some(globals) = &environment.globals {
            set_globals(&stack, globals)?;
        }
        self.functions.clear();
        if are_kept(&environment.functions) {
            for message in &environment.functions {
                let loaded = furnish(&stack, message, &gma::WorkerNames);
                if loaded.is_err() {
                    stack.push_nil();
                }
                let is_harmless = codec::bytecode(message).is_some_and(bytecode::is_harmless);
                self.functions.push(loaded.map(|_| Function { is_harmless }));
            }
        }
        self.environment = Arc::clone(environment);
        self.is_fitted = true;
        if self.life == Life::Long { self.own.snapshot() } else { Ok(()) }
    }

    /// Makes the state, as [`State::put_back`] left it, what the tasks of a job have to find. False where it can't be, and
    /// a new state is needed.
    pub fn prepare(&mut self, environment: &Arc<Environment>) -> Result<bool> {
        if self.life == Life::Once || self.environment.sandbox != environment.sandbox {
            return Ok(false);
        }
        if !self.is_fitted {
            self.fit(environment)?;
        } else if Arc::ptr_eq(&self.environment, environment) || *self.environment == **environment {
            modules::set_host(&environment.modules);
        } else {
            self.rest();
            self.fit(environment)?;
        }
        Ok(true)
    }

    /// Makes the state what it was before the last task.
    pub fn put_back(&mut self) {
        if self.life == Life::Long {
            self.own.restore(FITTED);
        }
    }

    /// Makes the state what it was before the last task, which ended well and had this function of the job's. What a
    /// harmless one left for the collector may stay for a while.
    pub fn put_back_after(&mut self, function: usize) {
        let is_harmless = matches!(self.functions.get(function), Some(Ok(Function { is_harmless: true })));
        if !is_harmless || self.own.growth() > WORTH_PUTTING_BACK {
            self.put_back();
        }
    }

    /// Moves one of the job's functions to the coroutine that runs it.
    pub fn push_function(&self, index: usize, coroutine: &Stack) -> Result<()> {
        match self.functions.get(index) {
            Some(Ok(_)) => {
                let stack = self.own.stack();
                stack.push_value(COROUTINE + 1 + index as c_int);
                stack.move_to(coroutine, 1);
                Ok(())
            }
            Some(Err(error)) => Err(error.clone()),
            None => furnish(coroutine, &self.environment.functions[index], &gma::WorkerNames).map(drop),
        }
    }

    /// The coroutine that tasks run in, and its identity.
    pub fn coroutine(&self) -> Result<(Stack<'_>, usize)> {
        let coroutine =
            self.own.thread(COROUTINE).ok_or_else(|| Error::Internal("no coroutine was made".into()))?;
        Ok((coroutine, self.own.stack().pointer(COROUTINE)))
    }

    /// Whether memory has run out in this state.
    pub fn has_run_out(&self) -> bool {
        self.own.is_exhausted()
    }

    /// Whether the state can be put back: not where a C library was loaded into it. It must not be where a task left
    /// something to finalize ([`stdlib::is_spoiled`]), either.
    pub fn is_fit(&self) -> bool {
        !self.has_run_out() && self.own.stack().raw_len(LIBRARIES) == self.libraries
    }

    /// Makes the state what it was when it was made, and takes no more memory for it than it needs: nothing of its job is
    /// left.
    pub fn rest(&mut self) {
        if self.is_fitted {
            self.own.restore(MADE);
            self.own.forget_snapshots();
            self.is_fitted = false;
            self.functions = Vec::new();
            // With the job's globals, and all its functions.
            let sandbox = self.environment.sandbox;
            self.environment = Arc::new(Environment { sandbox, ..Environment::default() });
        }
    }

    pub fn stack(&self) -> Stack<'_> {
        self.own.stack()
    }
}

/// Pushes the table in which Lua keeps the C libraries that were loaded; some other value where it has none. It is the
/// one table under an address in the registry of a state in which nothing has run. *Raises.*
fn push_libraries(stack: &Stack) {
    let registry = stack.top() + 1;
    stack.push_registry();
    stack.push_nil();
    while stack.next(registry) {
        if stack.kind(-2) == Type::LightUserdata && stack.kind(-1) == Type::Table {
            stack.replace(registry);
            break;
        }
        stack.pop(1);
    }
    stack.set_top(registry);
}

/// Sets the globals that a message has as one table by name.
fn set_globals(stack: &Stack, globals: &[u8]) -> Result<()> {
    furnish(stack, globals, &gma::WorkerNames)?;
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
    })
}

fn are_kept(functions: &[Vec<u8>]) -> bool {
    let bytes: usize = functions.iter().map(Vec::len).sum();
    functions.len() == 1 || functions.len() <= FUNCTIONS_KEPT && bytes <= BYTES_KEPT
}
