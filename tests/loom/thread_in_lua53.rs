//! The thread of a worker with Lua 5.3: any other thread may set the hook.

#[derive(Debug, Default)]
pub struct Thread;

impl Thread {
    pub unsafe fn enter(&self, _: *const ()) {}

    pub fn leave(&self) {}

    pub unsafe fn interrupt(&self, action: unsafe fn(*const ()), data: *const ()) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { action(data) };
        true
    }

    pub fn settle(&self) {}
}

pub fn receive_signal() {}

pub fn wait_for_signals() {}

pub fn is_signal_sent() -> bool {
    false
}
