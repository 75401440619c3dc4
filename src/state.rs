//! A worker's Lua state: created, fitted to a job, and restored between tasks.
//!
//! A [`State`] stays on one thread. It has Lua's standard library with the changes of [`crate::stdlib`],
//! [`crate::coroutine`] and [`crate::debug`], and its own allocator, which counts its memory. Up to three snapshots are taken.
//! The first is of the new state. The second is of the state fitted to a job, with a `gma` of the host's shape, the job's
//! globals and functions, what the job's own code has left there ([`Environment::has_code`]), and the coroutine for the tasks.
//! The third has the arguments that several of the job's tasks share; only that one is taken anew for a job that differs in
//! them alone. Restoring a snapshot undoes everything since then, to the last byte.

use std::ffi::c_int;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use crate::codec::{Common, decode_common, decode_initial};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::ffi::{Key, OwnState, Stack, Type};
use crate::module_names::ModuleNames;
use crate::{bytecode, codec, coroutine, debug, fault, gma, loading, modules, random, stdlib};

/// The key of a mark in the registry of every worker's state.
static WORKER: Key = Key::new();

/// Whether a state is a worker's.
pub fn is_worker(stack: &Stack) -> bool {
    let found = stack.registry_get(&WORKER) != Type::Nil;
    stack.pop(1);
    found
}

/// A state that tasks run in, one after another.
pub struct State {
    own: OwnState,
    environment: Arc<Environment>,
    /// It has the environment's contents, not just the standard library.
    is_fitted: bool,
    /// The job's code has run, and all is there for the first task.
    is_complete: bool,
    /// The job's code has left a finalizer or an open file. Restoring the state would bring back what a task has finalized or
    /// closed.
    has_finalizers: bool,
    module_names: Option<Rc<ModuleNames>>,
    /// The job's functions on the state's stack, or the reason why a function could not be loaded.
    functions: Vec<Result<Purity>>,
    /// The arguments that several tasks of the job share; the state has them.
    common: Arc<Common>,
    /// The common arguments that could not be decoded, each by the number of its first object, and the reason.
    refused: Vec<(u32, Error)>,
    reuse: Reuse,
    /// The number of C libraries that were loaded when the state was created.
    libraries: usize,
}

/// Whether a function of the job leaves the state unchanged. Judging it takes longer than restoring the state once, above all in
/// the process's first job. So it is judged when it has run for the second time.
#[derive(Clone, Copy, Debug)]
enum Purity {
    NotRun,
    RunOnce,
    Known(bool),
}

/// How often a state is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// One task.
    SingleUse,
    /// Many tasks: it can be restored.
    Pooled,
}

/// The levels of the snapshots, in the order in which they are taken.
const NEW: usize = 1;
const FITTED: usize = 2;
const SHARED: usize = 3;

/// The slots of the state's own stack: Lua's list of loaded C libraries, the coroutine for tasks, and above it the functions.
const LIBRARIES: c_int = 1;
const COROUTINE: c_int = 2;

/// The most functions, and bytes of functions, that are kept in the state: restoring it copies them for every task.
const FUNCTIONS_KEPT: usize = 16;
const BYTES_KEPT: usize = 64 << 10;

/// The state is restored once pure functions have left more bytes of garbage than this.
const RESTORE_ABOVE: usize = 64 << 10;

/// The most bytes that a state holds, besides its snapshots, once its thread sleeps. A thread that is idle for 0.1 s closes its
/// state.
const HELD_WHILE_AWAKE: usize = 4 << 20;

/// The KiB that a task may allocate before the collector starts. Most tasks end before that, and restoring the state then
/// removes their garbage. More than [`RESTORE_ABOVE`].
const UNCOLLECTED: c_int = 256;

impl State {
    /// A new state, fitted to a job.
    pub fn new(environment: &Arc<Environment>, reuse: Reuse) -> Result<State> {
        let mut state = State::unfitted(environment.memory_limit, environment.sandbox, reuse)?;
        state.fit(environment)?;
        Ok(state)
    }

    /// A new state for one task, which gets the task's arguments before it is fitted to the job. See [`State::clear`].
    pub fn for_arguments(memory_limit: usize, sandbox: bool) -> Result<State> {
        let mut state = State::unfitted(memory_limit, sandbox, Reuse::SingleUse)?;
        state.own.snapshot()?;
        Ok(state)
    }

    /// Empties a state made by [`State::for_arguments`], if it can be restored. Closing it then takes a fraction of the time.
    pub fn clear(&mut self) {
        if self.is_restorable() {
            self.own.restore(NEW);
        }
    }

    fn unfitted(memory_limit: usize, sandbox: bool, reuse: Reuse) -> Result<State> {
        fault::point("state")?;
        gma::forget_libraries();
        let own = OwnState::new(memory_limit).ok_or(Error::Memory)?;
        let mut libraries = 0;
        let count = &mut libraries;
        let stack = own.stack();
        stack.protected(0, |stack| {
            // There is no garbage yet, so collecting would only take time.
            stack.run_collector(false);
            stack.open_libraries();
            // The opener of a vendor's library may leave values on the stack.
            stack.set_top(0);
            push_libraries(stack);
            *count = stack.raw_len(-1);
            stack.push_boolean(true);
            stack.registry_set(&WORKER);
            stdlib::install(stack);
            random::install(stack);
            modules::install(stack);
            coroutine::install(stack);
            debug::install(stack);
            if sandbox {
                stdlib::apply_sandbox(stack);
            }
            stack.run_collector(true);
            stack.postpone_collector(UNCOLLECTED);
            stack.new_thread();
            Ok(())
        })?;
        Ok(State {
            own,
            environment: Arc::clone(empty_environment(sandbox)),
            is_fitted: false,
            is_complete: false,
            has_finalizers: false,
            module_names: None,
            functions: Vec::new(),
            common: Arc::default(),
            refused: Vec::new(),
            reuse,
            libraries,
        })
    }

    /// Fits a new state to a job. If the job has code, that has to run, and then [`State::complete`].
    pub fn fit(&mut self, environment: &Arc<Environment>) -> Result<()> {
        if self.reuse == Reuse::Pooled {
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
        if !environment.modules.are_needed {
            loading::add_to_libraries(&stack, &environment.modules)?;
            loading::set_globals(&stack, environment.globals.as_deref())?;
        }
        if let Some(functions) = &environment.host {
            gma::install_host(&stack, functions)?;
        }
        self.module_names = None;
        self.functions.clear();
        self.environment = Arc::clone(environment);
        self.is_fitted = true;
        self.is_complete = false;
        if environment.has_code() { Ok(()) } else { self.complete() }
    }

    #[cfg(all(test, feature = "linked"))]
    pub fn is_fitted(&self) -> bool {
        self.is_fitted
    }

    /// Whether the state is ready for a task.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Loads the job's functions, and takes the snapshot that every task starts from.
    pub fn complete(&mut self) -> Result<()> {
        let environment = &self.environment;
        if are_kept(&environment.functions) {
            let stack = self.own.stack();
            for message in &environment.functions {
                let loaded = decode_initial(&stack, message, &gma::WorkerNames);
                if loaded.is_err() {
                    stack.push_nil();
                }
                self.functions.push(loaded.map(|_| Purity::NotRun));
            }
        }
        self.is_complete = true;
        if self.reuse != Reuse::Pooled || !self.is_restorable() {
            return Ok(());
        }
        if environment.has_code() {
            // Restoring the state would copy the garbage for each task.
            self.own.stack().protected(0, |stack| {
                stack.collect();
                stack.postpone_collector(UNCOLLECTED);
                Ok(())
            })?;
        }
        self.own.snapshot()
    }

    /// The names of the modules that were loaded before the first task.
    pub fn module_names(&self) -> Option<Rc<ModuleNames>> {
        self.module_names.clone()
    }

    pub fn set_module_names(&mut self, names: Option<Rc<ModuleNames>>) {
        self.module_names = names;
    }

    /// Notes that the job's code has left a finalizer or an open file, so the state serves one task.
    pub fn keep_from_restoring(&mut self) {
        self.has_finalizers = true;
    }

    /// Fits the restored state to a job. False if that is impossible and a new state is needed.
    pub fn prepare(&mut self, environment: &Arc<Environment>) -> Result<bool> {
        if self.reuse == Reuse::SingleUse || self.environment.sandbox != environment.sandbox {
            return Ok(false);
        }
        if !self.is_fitted {
            self.fit(environment)?;
        } else if !Arc::ptr_eq(&self.environment, environment)
            // Each job runs its own code, even if it is the same: its outcome may differ, and modules may have changed.
            && (environment.has_code() || *self.environment != **environment)
        {
            self.reset();
            self.fit(environment)?;
        }
        Ok(true)
    }

    /// Gives the fitted state the arguments that several tasks of the job share. After an error, the state can't be used.
    pub fn share(&mut self, common: &Arc<Common>) -> Result<()> {
        if Arc::ptr_eq(&self.common, common) || *self.common == **common {
            return Ok(());
        }
        // A state that serves one task has no snapshots.
        let takes_snapshots = self.reuse == Reuse::Pooled && self.is_restorable();
        if takes_snapshots {
            self.own.restore(FITTED);
        }
        self.common = Arc::default();
        self.refused.clear();
        if common.is_empty() {
            return Ok(());
        }
        let refused = &mut self.refused;
        let stack = self.own.stack();
        decode_common(&stack, common, &gma::WorkerNames, &mut |first, error| refused.push((first, error)))?;
        stack.protected(0, |stack| {
            stack.postpone_collector(UNCOLLECTED);
            Ok(())
        })?;
        if takes_snapshots {
            self.own.snapshot()?;
        }
        self.common = Arc::clone(common);
        Ok(())
    }

    /// Replaces the error of an argument that is not in the state with the reason why it is not.
    pub fn explain(&self, error: Error) -> Error {
        let reason = |error: &Error| {
            let Error::NoCommon { number } = *error else { return None };
            let first = self.common.first_of(u32::try_from(number).ok()?)?;
            self.refused.iter().find(|refused| refused.0 == first).map(|(_, reason)| reason.clone())
        };
        // A common argument may have been refused because a part of it is another one, which comes before it.
        let mut error = error;
        while let Some(reason) = reason(&error) {
            error = reason;
        }
        error
    }

    /// Restores the state from before the last task.
    pub fn restore(&mut self) {
        if self.reuse == Reuse::Pooled {
            self.own.restore(if self.common.is_empty() { FITTED } else { SHARED });
        }
    }

    /// Restores the state from before the last task, which ended well and ran this function of the job. A pure function leaves
    /// only garbage, so restoring may then wait.
    pub fn restore_after(&mut self, function: usize) {
        if !self.is_pure(function) || self.own.growth() > RESTORE_ABOVE {
            self.restore();
        }
    }

    /// Whether a function of the job, which a task has just run, is known to be pure.
    fn is_pure(&mut self, function: usize) -> bool {
        let Some(Ok(purity)) = self.functions.get_mut(function) else { return false };
        *purity = match *purity {
            Purity::NotRun => Purity::RunOnce,
            Purity::RunOnce => {
                let environment = &self.environment;
                // The proof holds in a state with Lua's own metatables, and the job's code may have set others.
                let is_pure = !environment.has_code()
                    && codec::bytecode(&environment.functions[function])
                        .is_some_and(bytecode::has_no_side_effects);
                Purity::Known(is_pure)
            }
            known => known,
        };
        matches!(purity, Purity::Known(true))
    }

    /// Moves one of the job's functions to the coroutine that will run it.
    pub fn push_function(&self, index: usize, coroutine: &Stack) -> Result<()> {
        match self.functions.get(index) {
            Some(Ok(_)) => {
                let stack = self.own.stack();
                stack.push_value(COROUTINE + 1 + index as c_int);
                stack.move_to(coroutine, 1);
                Ok(())
            }
            Some(Err(error)) => Err(error.clone()),
            None => {
                decode_initial(coroutine, &self.environment.functions[index], &gma::WorkerNames).map(drop)
            }
        }
    }

    /// The coroutine that tasks run in, and its identity.
    pub fn coroutine(&self) -> Result<(Stack<'_>, usize)> {
        let coroutine =
            self.own.thread(COROUTINE).ok_or_else(|| Error::Internal("no coroutine was made".into()))?;
        Ok((coroutine, self.own.stack().pointer(COROUTINE)))
    }

    /// Whether this state has run out of memory.
    pub fn has_run_out(&self) -> bool {
        self.own.is_exhausted()
    }

    /// Whether the state can be restored: not if it has run out of memory, if a C library was loaded into it, or if the job's code
    /// has left finalizers. It must not be restored after a task with finalizers either ([`crate::current::Notes::has_finalizers`]).
    pub fn is_restorable(&self) -> bool {
        !self.has_run_out() && !self.has_finalizers && self.own.stack().raw_len(LIBRARIES) == self.libraries
    }

    /// Resets the state if it is large. A smaller one serves a job at once that is like the last one.
    pub fn reset_if_large(&mut self) {
        if self.own.held() > HELD_WHILE_AWAKE {
            self.reset();
        }
    }

    /// Restores the state to a new one, which keeps nothing of its job, and releases memory.
    pub fn reset(&mut self) {
        if self.is_fitted {
            self.own.restore(NEW);
            self.own.forget_snapshots();
            self.is_fitted = false;
            self.functions = Vec::new();
            (self.common, self.refused) = Default::default();
            self.module_names = None;
            // This also drops the job's globals and functions.
            self.environment = Arc::clone(empty_environment(self.environment.sandbox));
        }
    }

    pub fn stack(&self) -> Stack<'_> {
        self.own.stack()
    }
}

/// The environment of states between jobs. All states share it.
fn empty_environment(sandbox: bool) -> &'static Arc<Environment> {
    static EMPTY: LazyLock<[Arc<Environment>; 2]> = LazyLock::new(|| {
        [false, true].map(|sandbox| Arc::new(Environment { sandbox, ..Environment::default() }))
    });
    &EMPTY[usize::from(sandbox)]
}

/// Pushes the table in which Lua keeps the loaded C libraries, or the registry if there is none. In the registry of a new
/// state, it is the only table whose key is an address.
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

fn are_kept(functions: &[Vec<u8>]) -> bool {
    let bytes: usize = functions.iter().map(Vec::len).sum();
    functions.len() == 1 || functions.len() <= FUNCTIONS_KEPT && bytes <= BYTES_KEPT
}
