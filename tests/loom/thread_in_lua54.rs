//! The thread of a worker with Lua 5.4: only it may set the hook, in the handler of a signal.
//!
//! Loom knows no signals. Here the system is a thread of its own, which sets a flag at any time after the signal was sent, and the
//! worker's thread looks at the flag before each of its steps. So loom tries each moment at which a handler could run. It sees
//! what its own thread has done, and what the sender did before it sent the signal. The list in which a real handler
//! finds its thread is not in the model.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};

use super::running::set_hook;

#[derive(Debug, Default)]
pub struct Thread {
    has_signal: Arc<AtomicBool>,
    /// The system, for each signal that was sent.
    system: Mutex<Vec<JoinHandle<()>>>,
    /// A signal was sent and not handled. What the model itself knows, so no access of it is a step.
    is_on_its_way: Cell<bool>,
}

/// The thread that this is, and the data for its handler.
#[derive(Clone, Copy)]
struct Entered {
    thread: *const Thread,
    data: *const (),
}

loom::thread_local! {
    /// None also while the handler runs: its own signal does not interrupt it.
    static ENTERED: Cell<Option<Entered>> = Cell::new(None);
}

impl Thread {
    pub unsafe fn enter(&self, data: *const ()) {
        ENTERED.with(|entered| entered.set(Some(Entered { thread: self, data })));
    }

    pub fn leave(&self) {
        ENTERED.with(|entered| entered.set(None));
    }

    pub unsafe fn interrupt(&self, _: unsafe fn(*const ()), _: *const ()) -> bool {
        let has_signal = Arc::clone(&self.has_signal);
        let system = thread::spawn(move || has_signal.store(true, Ordering::Release));
        self.system.lock().unwrap().push(system);
        self.is_on_its_way.set(true);
        true
    }

    /// Returns when each signal that was sent has been handled.
    pub fn settle(&self) {
        let system = std::mem::take(&mut *self.system.lock().unwrap());
        system.into_iter().for_each(|system| system.join().unwrap());
        receive_signal();
    }
}

/// To be called before each step of a thread.
pub fn receive_signal() {
    handle_if(|thread| {
        let is_there =
            thread.has_signal.load(Ordering::Acquire) && thread.has_signal.swap(false, Ordering::AcqRel);
        if is_there {
            thread.is_on_its_way.set(false);
        }
        is_there
    });
}

/// As time does: handles each signal that was sent to this thread.
pub fn wait_for_signals() {
    if let Some(entered) = ENTERED.with(Cell::get) {
        // SAFETY: the thread has entered and not left, so it is valid.
        unsafe { &*entered.thread }.settle();
    }
}

/// Whether a signal is on its way to this thread.
pub fn is_signal_sent() -> bool {
    // SAFETY: as above.
    ENTERED.with(Cell::get).is_some_and(|entered| unsafe { &*entered.thread }.is_on_its_way.get())
}

/// Calls the handler of this thread if it has one and the signal is there.
fn handle_if(is_there: impl FnOnce(&Thread) -> bool) {
    let Some(entered) = ENTERED.with(Cell::take) else { return };
    // SAFETY: the thread has entered and not left, so both are valid.
    unsafe {
        if is_there(&*entered.thread) {
            set_hook(entered.data);
        }
    }
    ENTERED.with(|now| now.set(Some(entered)));
}
