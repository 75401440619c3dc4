//! The job and the task that this thread is working on.
//!
//! Worker side. A worker enters its job once, with [`enter`], and begins each task with [`begin_task`]. This context serves
//! host calls and the native functions of a worker's state. Nothing has to be reset by hand: each task gets new [`Notes`], and
//! leaving the job drops everything.
//!
//! Two things are kept in [`ffi`] instead: the place where a task was stopped, and the text of an error on its way into Lua.
//! The code that sets them is part of the fence, and a `longjmp` may leave it. [`begin_task`] and [`clear`] reset them too.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use crate::ffi::{self, Stack};
use crate::job::{Job, Worker};
use crate::mailbox::Reply;
use crate::missing::Missing;
use crate::module_names::ModuleNames;

/// A worker and its job.
pub struct Work {
    pub job: Arc<Job>,
    pub worker: Arc<Worker>,
    /// The slot for the answers to this worker's host calls.
    pub reply: Arc<Reply>,
    /// False while a state is being closed: its finalizers can't call the host.
    has_host: Cell<bool>,
}

/// Facts about the running task, noted by the native functions of its state.
pub struct Notes {
    /// The coroutine that the task runs in, by identity.
    pub coroutine: usize,
    pub wrap_failure: Option<WrapFailure>,
    pub wrap_failures: u64,
    /// The task made an object with a finalizer, or opened a file.
    pub has_finalizers: bool,
    /// None until the task asks for a random number.
    pub random: Option<fastrand::Rng>,
    /// The generator of the state itself was seeded for this task.
    pub has_seed: bool,
    /// The names of the state's modules, if they are known.
    pub modules: Option<Rc<ModuleNames>>,
    /// The task required a module, so the names may have changed.
    pub has_required: bool,
    /// Where the thread's stack ended as the task began.
    stack: usize,
}

/// The last error that a `coroutine.wrap` passed on, and the call stack inside it.
pub struct WrapFailure {
    pub raised: Raised,
    pub traceback: Vec<u8>,
    pub missing: Option<Box<Missing>>,
}

/// An error value: a text, or the identity of any other value.
#[derive(PartialEq)]
pub enum Raised {
    Text(Vec<u8>),
    Value(usize),
    /// The failure's number; its error is not known yet.
    Unfinished(u64),
}

impl Notes {
    const fn new(coroutine: usize) -> Notes {
        Notes {
            coroutine,
            wrap_failure: None,
            wrap_failures: 0,
            has_finalizers: false,
            random: None,
            has_seed: false,
            modules: None,
            has_required: false,
            stack: 0,
        }
    }
}

struct Current {
    /// None between jobs.
    work: Option<Rc<Work>>,
    notes: Notes,
}

impl Current {
    const fn new(work: Option<Rc<Work>>) -> Current {
        Current { work, notes: Notes::new(0) }
    }
}

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(Current::new(None)) };
}

/// Makes this the thread of a job's worker until the guard is dropped.
pub fn enter(job: Arc<Job>, worker: Arc<Worker>) -> Entered {
    worker.seat.enter();
    let work = Rc::new(Work { job, worker, reply: Arc::default(), has_host: Cell::new(true) });
    CURRENT.replace(Current::new(Some(work)));
    Entered(())
}

/// A guard: this thread works on a job while it exists.
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        with_work(|work| work.worker.seat.leave());
        clear();
    }
}

/// Forgets the job and its last task. Also called on a new thread, to create its thread-locals before tasks can use up all
/// memory.
pub fn clear() {
    CURRENT.replace(Current::new(None));
    ffi::prepare_to_be_interrupted();
    ffi::take_stopped_at();
    ffi::clear_message();
}

/// Notes that the worker begins a task, which runs in this coroutine.
pub fn begin_task(coroutine: usize) {
    CURRENT.with_borrow_mut(|current| {
        current.notes = Notes { stack: end_of_stack(), ..Notes::new(coroutine) };
    });
    ffi::take_stopped_at();
    ffi::reset_warnings();
}

/// About where the stack of this thread ends now.
#[inline(never)]
fn end_of_stack() -> usize {
    let here = 0_u8;
    ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// How many bytes of the thread's stack the running task uses.
pub fn stack_used() -> usize {
    with_notes(|notes| notes.stack.abs_diff(end_of_stack()))
}

/// Calls `body` with the notes of the running task.
pub fn with_notes<R>(body: impl FnOnce(&mut Notes) -> R) -> R {
    CURRENT.with_borrow_mut(|current| body(&mut current.notes))
}

/// The worker of this thread and its job; none between jobs.
pub fn work() -> Option<Rc<Work>> {
    CURRENT.with_borrow(|current| current.work.clone())
}

fn with_work<R>(body: impl FnOnce(&Work) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.work.as_deref().map(body))
}

/// Whether the running task has to stop.
pub fn is_stopping() -> bool {
    with_work(Work::is_stopping) == Some(true)
}

/// Whether the running task should end by itself, or has to stop.
pub fn is_told() -> bool {
    with_work(Work::is_told) == Some(true)
}

/// Runs `body` as the code of a coroutine that can be stopped while it runs.
pub fn stoppable<R>(coroutine: &Stack, body: impl FnOnce() -> R) -> R {
    match work() {
        Some(work) => work.worker.seat.stoppable(coroutine, body),
        None => body(),
    }
}

/// Runs `body` while host calls are refused and sleeps end at once.
pub fn without_host(body: impl FnOnce()) {
    with_work(|work| work.has_host.set(false));
    body();
    with_work(|work| work.has_host.set(true));
}

impl Work {
    pub fn is_stopping(&self) -> bool {
        self.worker.seat.is_stopping()
    }

    pub fn is_told(&self) -> bool {
        self.worker.seat.is_told()
    }

    /// Whether the task may call its host.
    pub fn has_host(&self) -> bool {
        self.has_host.get() && !self.is_stopping()
    }

    /// Runs `body`, in which the task waits. The trace shows the wait under that name.
    pub fn traced<R>(&self, name: impl FnOnce() -> String, body: impl FnOnce() -> R) -> R {
        let _span = self.job.trace.as_ref().map(|trace| trace.wait(self.worker.row, name()));
        body()
    }
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ffi::{NativeResult, OwnState, Protected, Resumed, native};
    use crate::seat::{End, Reason};

    thread_local! {
        static HOOKED: Cell<bool> = const { Cell::new(false) };
    }

    fn note_hook(stack: &Protected) -> NativeResult {
        HOOKED.set(stack.is_hooked());
        Ok(0)
    }

    /// Whether code that starts now on this thread runs with a hook.
    fn is_hooked(state: &OwnState) -> bool {
        let stack = state.unprotected();
        let coroutine = stack.new_thread();
        coroutine.push_native(native(note_hook));
        assert_eq!(stoppable(&coroutine, || coroutine.resume(&stack, 0)), Resumed::Returned(0));
        HOOKED.get()
    }

    #[test]
    fn a_task_runs_without_a_hook_until_it_has_to_stop() {
        let state = OwnState::new(usize::MAX).expect("a state");
        let job = Arc::new(Job::without_tasks());
        let worker = job.add_worker();
        let _entered = enter(Arc::clone(&job), Arc::clone(&worker));
        let seat = &worker.seat;
        seat.begin(0, Some(Duration::from_secs(60)));
        assert!(!is_hooked(&state));
        seat.stop(Reason::Cancelled);
        assert!(is_hooked(&state));
        assert_eq!(seat.end(), End::Stopped(Reason::Cancelled));
        seat.begin(1, None);
        assert!(!is_hooked(&state));
        assert_eq!(seat.end(), End::NotStopped);
    }

    #[test]
    fn a_task_starts_without_the_notes_of_earlier_tasks() {
        let job = Arc::new(Job::without_tasks());
        let worker = job.add_worker();
        let entered = enter(job, worker);
        begin_task(1);
        with_notes(|notes| {
            notes.has_finalizers = true;
            notes.random = Some(fastrand::Rng::with_seed(1));
            notes.wrap_failure =
                Some(WrapFailure { raised: Raised::Value(1), traceback: vec![1], missing: None });
        });
        let are_new = |coroutine| {
            with_notes(|notes| {
                notes.coroutine == coroutine
                    && !notes.has_finalizers
                    && notes.random.is_none()
                    && notes.wrap_failure.is_none()
            })
        };
        assert!(!are_new(1));
        begin_task(2);
        assert!(are_new(2));
        with_notes(|notes| notes.has_finalizers = true);
        drop(entered);
        assert!(are_new(0) && work().is_none());
    }
}
