//! The processor time of a thread, for other threads.

use std::time::Duration;

/// The clock of a thread, which counts only while that runs.
#[derive(Debug, Default)]
pub struct ThreadClock(platform::Clock);

impl ThreadClock {
    /// Makes this the clock of the calling thread.
    pub fn enter(&self) {
        self.0.enter();
    }

    /// How long the thread has run. None before it was entered, after its end, and on systems that don't tell.
    pub fn time(&self) -> Option<Duration> {
        self.0.time()
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::time::Duration;

    /// The system's number of the clock; 0, which is another clock's, before the thread was entered.
    #[derive(Debug, Default)]
    pub struct Clock(AtomicI32);

    impl Clock {
        pub fn enter(&self) {
            let mut clock = 0;
            // SAFETY: this only asks for the number of the calling thread's clock, and writes it to a local.
            if unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) } == 0 {
                self.0.store(clock, Ordering::Relaxed);
            }
        }

        pub fn time(&self) -> Option<Duration> {
            let clock = self.0.load(Ordering::Relaxed);
            let mut time = MaybeUninit::<libc::timespec>::uninit();
            // SAFETY: this writes the time to a local, or refuses the number, as it does once the thread has ended.
            if clock == 0 || unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
                return None;
            }
            // SAFETY: it was written.
            let time = unsafe { time.assume_init() };
            Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub struct Clock;

    impl Clock {
        pub fn enter(&self) {}

        pub fn time(&self) -> Option<Duration> {
            None
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_counts_the_time_of_its_own_thread() {
        let clock = ThreadClock::default();
        assert_eq!(clock.time(), None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                clock.enter();
                let began = Instant::now();
                while clock.time().expect("it runs") < Duration::from_millis(20) {}
                assert!(began.elapsed() >= Duration::from_millis(20));
            });
        });
        let ended = clock.time();
        std::thread::sleep(Duration::from_millis(5));
        assert!(ended.is_none() || ended == clock.time());
    }
}
