//! Whether a thread runs or waits, for other threads.

/// A thread, as other threads see it.
#[derive(Debug, Default)]
pub struct ThreadState(platform::Thread);

impl ThreadState {
    /// Makes this the calling thread.
    pub fn enter(&self) {
        self.0.enter();
    }

    /// The processor time of the thread, in the system's ticks, if it runs or waits for the processor. None if it waits for something
    /// else or has ended, and on systems that don't tell.
    pub fn runnable_time(&self) -> Option<u64> {
        self.0.runnable_time()
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::sync::atomic::{AtomicIsize, Ordering};

    /// The system's number of the thread; 0 before it was entered.
    #[derive(Debug, Default)]
    pub struct Thread(AtomicIsize);

    thread_local! {
        // SAFETY: this only asks for the number of the calling thread.
        static HERE: isize = unsafe { libc::syscall(libc::SYS_gettid) } as isize;
    }

    impl Thread {
        pub fn enter(&self) {
            self.0.store(HERE.with(|id| *id), Ordering::Relaxed);
        }

        pub fn runnable_time(&self) -> Option<u64> {
            let id = self.0.load(Ordering::Relaxed);
            let file = (id != 0).then(|| format!("/proc/self/task/{id}/stat"))?;
            super::runnable_time_in(&std::fs::read_to_string(file).ok()?)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    #[derive(Debug, Default)]
    pub struct Thread;

    impl Thread {
        pub fn enter(&self) {}

        pub fn runnable_time(&self) -> Option<u64> {
            None
        }
    }
}

/// The same from a line of Linux's `stat` of a thread.
#[cfg(target_os = "linux")]
fn runnable_time_in(line: &str) -> Option<u64> {
    const USER_AFTER_STATE: usize = 10;
    // The name may contain anything, and ends with the last parenthesis.
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    if fields.next()? != "R" {
        return None;
    }
    let user: u64 = fields.nth(USER_AFTER_STATE)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// How much a thread gets of a processor that it shares.
#[cfg(all(test, target_os = "linux"))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Share {
    All,
    /// What the others leave.
    Rest,
}

/// Lets the calling thread run only on one processor, the same one for all that call this.
#[cfg(all(test, target_os = "linux"))]
pub fn share_one_processor(share: Share) {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: zeroes are valid for both; each call reads or writes one of these locals, and changes only the calling thread.
    unsafe {
        let (mut allowed, mut one): (libc::cpu_set_t, libc::cpu_set_t) = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size, &mut allowed), 0);
        let count = usize::try_from(libc::CPU_SETSIZE).expect("a size");
        libc::CPU_SET((0..count).find(|cpu| libc::CPU_ISSET(*cpu, &allowed)).expect("one"), &mut one);
        assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
        let priority: libc::sched_param = std::mem::zeroed();
        if share == Share::Rest {
            assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &priority), 0);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_has_a_time_only_while_it_can_run() {
        let thread = ThreadState::default();
        assert_eq!(thread.runnable_time(), None);
        std::thread::scope(|scope| {
            let (entered, is_entered) = mpsc::channel();
            let (end, ends) = mpsc::channel::<()>();
            let thread = &thread;
            scope.spawn(move || {
                thread.enter();
                let before = thread.runnable_time().expect("it runs");
                while thread.runnable_time().expect("it runs") < before + 2 {}
                entered.send(()).expect("it is awaited");
                let _ = ends.recv();
            });
            is_entered.recv().expect("it has entered");
            while thread.runnable_time().is_some() {
                std::thread::yield_now();
            }
            drop(end);
        });
    }

    #[test]
    fn the_fields_behind_any_name_are_found() {
        let line = |state| format!("12 (a) R (b) {state} 1 2 3 4 5 6 7 8 9 10 300 40 0");
        assert_eq!(runnable_time_in(&line("R")), Some(340));
        assert_eq!(runnable_time_in(&line("S")), None);
        assert_eq!(runnable_time_in("12 (a) R 1 2"), None);
    }
}
