//! Decodes the arguments of a task while the host still encodes the rest of them.
//!
//! Worker side. It happens in a new state, since the job's functions and globals, which every state is fitted with, are not known
//! before the end. The state is fitted after that, serves this one task, and is closed. If anything is in the way (arguments that
//! need modules or names, an `init`, any error), the worker drops it, and goes the way of every other task: it fits its usual
//! state, and decodes all blocks there. So only that way has errors to report.

use std::ffi::c_int;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::codec::{Begun, Pinned, Resolve, feed_arguments};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack};
use crate::job::{Job, Task};
use crate::state::State;
use crate::{current, fault};

/// The state of a task whose arguments are decoded early. It is closed when this is dropped.
pub struct EarlyState(State);

impl Deref for EarlyState {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Drop for EarlyState {
    fn drop(&mut self) {
        if !current::with_notes(|notes| notes.has_finalizers) {
            self.0.clear();
        }
    }
}

/// Arguments that are being decoded, on the coroutine of their state.
pub struct EarlyArguments {
    state: EarlyState,
    begun: Begun,
    /// How many blocks have been decoded.
    decoded: usize,
}

/// The names of a state that is not fitted: none.
struct NoNames;

impl Resolve for NoNames {
    fn push_named(&self, _: &Protected, name: &str) -> Result<()> {
        Err(Error::Absent { name: name.into() })
    }
}

impl EarlyArguments {
    /// A state for arguments; none if there can't be one.
    pub fn new(memory_limit: usize, sandbox: bool) -> Option<EarlyArguments> {
        unless_it_panics(|| {
            let state = EarlyState(State::for_arguments(memory_limit, sandbox)?);
            state.stack().run_collector(false);
            Ok(EarlyArguments { state, begun: Begun::default(), decoded: 0 })
        })
    }

    /// Decodes the next block. After an error, gives nothing: the state is closed.
    pub fn feed(mut self, block: &[u8]) -> Option<EarlyArguments> {
        unless_it_panics(|| {
            fault::point("early")?;
            self.feed_next(block).map(drop)?;
            Ok(self)
        })
    }

    fn feed_next(&mut self, block: &[u8]) -> Result<Option<c_int>> {
        let (coroutine, _) = self.state.coroutine()?;
        self.decoded += 1;
        feed_arguments(&coroutine, &mut self.begun, block, &NoNames, None)
    }

    /// Decodes the blocks that are left, and fits the state to the job. Returns the state, and the count of the arguments, which are
    /// on its coroutine.
    pub fn finish(mut self, job: &Job, task: &Task) -> Option<(EarlyState, c_int)> {
        if job.environment.has_code() {
            return None;
        }
        unless_it_panics(|| {
            self.state.0.fit(&job.environment)?;
            for block in &task.blocks[self.decoded..] {
                self.feed_next(block)?;
            }
            let count = self.feed_next(task.arguments)?.ok_or(Error::Corrupt("no last block"))?;
            self.state.stack().run_collector_late();
            Ok((self.state, count))
        })
    }
}

/// What `body` returns, if it ends well.
fn unless_it_panics<R>(body: impl FnOnce() -> Result<R>) -> Option<R> {
    catch_unwind(AssertUnwindSafe(body)).ok()?.ok()
}

/// Decodes all blocks of a task's arguments on the coroutine of a fitted state, and returns their count.
pub fn decode_all(
    state: &Stack,
    coroutine: &Stack,
    task: &Task,
    pinned: Option<&Pinned>,
    names: &dyn Resolve,
) -> Result<c_int> {
    let mut begun = Begun::default();
    state.run_collector(false);
    let mut blocks = task.blocks.iter().map(|block| &***block).chain([task.arguments]);
    let count = blocks.try_fold(None, |_, block| feed_arguments(coroutine, &mut begun, block, names, pinned));
    state.run_collector_late();
    count?.ok_or(Error::Corrupt("no last block"))
}
