//! A worker that decodes the arguments of a task while the host still reads the list of tasks.

use std::cell::RefCell;
use std::sync::Arc;

use crate::argument_stream::Block;
use crate::error::Result;
use crate::executor::WorkStream;
use crate::job::{Job, Worker};
use crate::{executor, watchdog};

/// A worker that waits for its job. If this is dropped, it waits no longer.
pub struct EarlyWorker {
    stream: Arc<WorkStream>,
    has_begun: bool,
}

impl EarlyWorker {
    /// Starts the worker on a thread of the pool.
    fn start(memory_limit: usize, sandbox: bool) -> Result<EarlyWorker> {
        let watchdog = watchdog::start()?;
        let stream = Arc::<WorkStream>::default();
        let worker = EarlyWorker { stream, has_begun: false };
        executor::start_early(&worker.stream, memory_limit, sandbox, || watchdog.wait())?;
        Ok(worker)
    }

    /// Makes it a worker of the job.
    pub fn begin(mut self, job: &Arc<Job>, worker: Arc<Worker>) {
        self.has_begun = true;
        self.stream.begin((Arc::clone(job), worker));
    }
}

impl Drop for EarlyWorker {
    fn drop(&mut self) {
        if !self.has_begun {
            self.stream.close();
            watchdog::watch_threads();
        }
    }
}

/// Sends the first long arguments of a list of tasks in blocks to an [`EarlyWorker`].
pub struct Sender {
    memory_limit: usize,
    sandbox: bool,
    state: RefCell<State>,
}

enum State {
    NotBegun,
    Begun(EarlyWorker),
    /// The arguments are whole after all, or can't cross.
    Void,
}

impl Sender {
    pub fn new(memory_limit: usize, sandbox: bool) -> Sender {
        Sender { memory_limit, sandbox, state: RefCell::new(State::NotBegun) }
    }

    /// Whether no arguments were sent.
    pub fn is_free(&self) -> bool {
        matches!(*self.state.borrow(), State::NotBegun)
    }

    /// Starts the worker. False if there is none, as on one core, where it would only hold up the host.
    pub fn begin(&self) -> bool {
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::NotBegun) {
            *state = match EarlyWorker::start(self.memory_limit, self.sandbox) {
                Ok(worker) => State::Begun(worker),
                Err(_) => State::Void,
            };
            return matches!(*state, State::Begun(_));
        }
        *state = State::Void;
        false
    }

    pub fn send(&self, block: Vec<u8>) -> Result<()> {
        match &*self.state.borrow() {
            State::Begun(worker) => Ok(worker.stream.put(block)?),
            _ => Ok(()),
        }
    }

    /// The blocks so far, if any were sent.
    pub fn blocks(&self) -> Result<Option<Vec<Block>>> {
        match &*self.state.borrow() {
            State::Begun(worker) => Ok(Some(worker.stream.blocks()?)),
            _ => Ok(None),
        }
    }

    /// Drops what was sent.
    pub fn void(&self) {
        self.state.replace(State::Void);
    }

    /// The worker, if it has the arguments of a task.
    pub fn finish(self) -> Option<EarlyWorker> {
        match self.state.into_inner() {
            State::Begun(worker) => Some(worker),
            _ => None,
        }
    }
}
