//! Runs a function in the middle of another thread's work, while that thread can do nothing else.
//!
//! On Unix, the thread itself runs it, in the handler of a signal that is sent to it. The signal is SIGURG, which hardly any
//! program handles and which does nothing by default, so one that comes astray does no harm. If the host handles it, a
//! real-time signal is taken that it does not handle. Only the threads that are entered here take the signal. On Windows, the
//! thread is suspended meanwhile.
//!
//! The handler must not use thread-locals: the C library may have to allocate them, and the thread may be in the middle of an
//! allocation. So it finds its thread in a list, which only grows; the entries of threads that have ended are used again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// What is done in the middle of a thread's work. It may neither lock nor allocate anything.
pub type Action = unsafe fn(*const ());

/// The same one for all threads.
static ACTION: OnceLock<Action> = OnceLock::new();

/// The thread of a worker, as other threads know it.
#[derive(Debug, Default)]
pub struct Thread {
    /// Its identity for the system; 0 before it was entered.
    id: AtomicUsize,
}

impl Thread {
    /// Prepares the process. The library must stay loaded from then on.
    pub fn prepare(action: Action) -> Result<()> {
        ACTION.get_or_init(|| action);
        platform::prepare().ok_or_else(|| Error::NoWorkers("the host has a handler for every signal".into()))
    }

    /// Prepares the calling thread, so that [`Thread::enter`] needs no memory.
    pub fn prepare_here() {
        platform::here();
    }

    /// Lets the calling thread be interrupted, with this data for the action.
    ///
    /// # Safety
    /// The data is valid until the same thread calls [`Thread::leave`].
    pub unsafe fn enter(&self, data: *const ()) {
        self.id.store(platform::here(), Ordering::Relaxed);
        platform::set_data(data);
    }

    /// Ends that.
    pub fn leave(&self) {
        platform::set_data(std::ptr::null());
    }

    /// Calls the action with the data, in the middle of the thread's work: before this returns, or a little later, if the thread
    /// has not left by then. False if that can't be done.
    ///
    /// # Safety
    /// The thread was entered with this data, and has not left. It can't leave before this returns.
    pub unsafe fn interrupt(&self, _action: Action, data: *const ()) -> bool {
        let id = self.id.load(Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        id != 0 && unsafe { platform::interrupt(id, data) }
    }

    /// Returns when no interruption is on its way to the calling thread, if all others have been told to send none.
    pub fn settle(&self) {
        platform::settle();
    }
}

#[cfg(unix)]
mod platform {
    use std::ffi::c_int;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use super::ACTION;

    struct Entry {
        /// The thread, 0 if it has ended.
        id: AtomicUsize,
        /// Null while the thread can't be interrupted.
        data: AtomicPtr<()>,
        next: Option<&'static Entry>,
    }

    /// The newest entry.
    static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

    fn first() -> Option<&'static Entry> {
        // SAFETY: entries are valid when they are put into the list, and never freed.
        unsafe { ENTRIES.load(Ordering::Acquire).as_ref() }
    }

    fn entries() -> impl Iterator<Item = &'static Entry> {
        std::iter::successors(first(), |entry| entry.next)
    }

    fn own_id() -> usize {
        // SAFETY: this only reads a register, also in a signal handler.
        unsafe { libc::pthread_self() as usize }
    }

    impl Entry {
        /// An unused entry, now the calling thread's.
        fn take() -> &'static Entry {
            let id = own_id();
            let is_free = |entry: &&Entry| {
                entry.id.compare_exchange(0, id, Ordering::Acquire, Ordering::Relaxed).is_ok()
            };
            entries().find(is_free).unwrap_or_else(|| Entry::add(id))
        }

        fn add(id: usize) -> &'static Entry {
            let mut new =
                Box::new(Entry { id: AtomicUsize::new(id), data: AtomicPtr::default(), next: first() });
            loop {
                let before = new.next.map_or(ptr::null_mut(), |next| ptr::from_ref(next).cast_mut());
                let added = Box::into_raw(new);
                // Release: a thread that finds the entry sees its fields.
                match ENTRIES.compare_exchange(before, added, Ordering::Release, Ordering::Relaxed) {
                    // SAFETY: the entry was just made, and is never freed.
                    Ok(_) => return unsafe { &*added },
                    Err(_) => {
                        // SAFETY: no other thread knows it.
                        new = unsafe { Box::from_raw(added) };
                        new.next = first();
                    }
                }
            }
        }
    }

    /// The calling thread's entry.
    struct Here(&'static Entry);

    impl Drop for Here {
        fn drop(&mut self) {
            self.0.data.store(ptr::null_mut(), Ordering::Relaxed);
            self.0.id.store(0, Ordering::Release);
        }
    }

    thread_local! {
        static HERE: Here = {
            let here = Here(Entry::take());
            if let Some(signal) = *SIGNAL {
                change_mask(libc::SIG_UNBLOCK, Some(signal));
            }
            here
        };
    }

    fn change_mask(how: c_int, signal: Option<c_int>) {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the set is initialized before it is used, and the mask is this thread's.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            if let Some(signal) = signal {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut());
        }
    }

    /// The signal, with its handler set; none if the host handles all of them.
    static SIGNAL: LazyLock<Option<c_int>> =
        LazyLock::new(|| candidates().find(|signal| set_handler(*signal)));

    fn candidates() -> impl Iterator<Item = c_int> {
        #[cfg(target_os = "linux")]
        let more = libc::SIGRTMIN()..=libc::SIGRTMAX();
        #[cfg(not(target_os = "linux"))]
        let more = None;
        std::iter::once(libc::SIGURG).chain(more)
    }

    /// The address of a signal's handler, or the default's, or that which ignores it.
    fn handler_of(signal: c_int) -> Option<libc::sighandler_t> {
        let mut found = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: this only reads the setting, into memory for which zeroes are valid.
        unsafe {
            (libc::sigaction(signal, ptr::null(), found.as_mut_ptr()) == 0)
                .then(|| found.assume_init().sa_sigaction)
        }
    }

    fn own_handler() -> libc::sighandler_t {
        on_signal as extern "C" fn(c_int) as usize
    }

    fn set_handler(signal: c_int) -> bool {
        if !matches!(handler_of(signal), Some(libc::SIG_DFL | libc::SIG_IGN)) {
            return false;
        }
        let mut new = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zeroes are valid for the other fields: an empty mask. The handler stays loaded, as the caller of `prepare` has
        // promised, and does only what a handler may do.
        unsafe {
            (*new.as_mut_ptr()).sa_sigaction = own_handler();
            // Calls into the system that can go on do. Others (a sleep, a poll) end early, in code that has to stop anyway.
            (*new.as_mut_ptr()).sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, new.as_ptr(), ptr::null_mut()) == 0
                && handler_of(signal) == Some(own_handler())
        }
    }

    extern "C" fn on_signal(_: c_int) {
        let id = own_id();
        // Relaxed: the thread itself has written them.
        let here = entries().find(|entry| entry.id.load(Ordering::Relaxed) == id);
        let data = here.map_or(ptr::null_mut(), |here| here.data.load(Ordering::Relaxed));
        if let (false, Some(action)) = (data.is_null(), ACTION.get()) {
            // SAFETY: this thread has entered with the data, and has not left.
            unsafe { action(data) }
        }
    }

    pub fn prepare() -> Option<()> {
        SIGNAL.map(drop)
    }

    pub fn here() -> usize {
        HERE.with(|here| here.0.id.load(Ordering::Relaxed))
    }

    pub fn set_data(data: *const ()) {
        HERE.with(|here| here.0.data.store(data.cast_mut(), Ordering::Relaxed));
    }

    /// # Safety
    /// The thread lives.
    pub unsafe fn interrupt(id: usize, _: *const ()) -> bool {
        // A host may have set a handler of its own meanwhile, which must not run on a worker.
        let signal = SIGNAL.filter(|signal| handler_of(*signal) == Some(own_handler()));
        // SAFETY: as promised by the caller.
        signal.is_some_and(|signal| unsafe { libc::pthread_kill(id as libc::pthread_t, signal) } == 0)
    }

    pub fn settle() {
        // A signal that was sent to this thread is delivered before a call that changes the mask returns.
        change_mask(libc::SIG_BLOCK, None);
    }
}

#[cfg(windows)]
mod platform {
    use std::mem::MaybeUninit;
    use std::ptr;

    use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
    #[cfg(target_arch = "x86_64")]
    use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT_CONTROL_AMD64 as CONTEXT_CONTROL;
    #[cfg(target_arch = "x86")]
    use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT_CONTROL_X86 as CONTEXT_CONTROL;
    use windows_sys::Win32::System::Diagnostics::Debug::{CONTEXT, GetThreadContext};
    use windows_sys::Win32::System::Threading::{
        GetCurrentThreadId, GetThreadId, OpenThread, ResumeThread, SuspendThread, THREAD_GET_CONTEXT,
        THREAD_QUERY_INFORMATION, THREAD_SUSPEND_RESUME,
    };

    use super::ACTION;

    /// A handle of the calling thread, null if there is none.
    struct Here(HANDLE);

    impl Here {
        fn new() -> Here {
            const ACCESS: u32 = THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT | THREAD_QUERY_INFORMATION;
            // SAFETY: the thread is the calling one.
            Here(unsafe { OpenThread(ACCESS, 0, GetCurrentThreadId()) })
        }
    }

    impl Drop for Here {
        fn drop(&mut self) {
            if !self.0.is_null() {
                // SAFETY: the handle is open, and nobody interrupts a thread that ends.
                unsafe { CloseHandle(self.0) };
            }
        }
    }

    thread_local! {
        static HERE: Here = Here::new();
    }

    /// The registers of a thread, which the system wants aligned.
    #[repr(C, align(16))]
    struct Registers(CONTEXT);

    pub fn prepare() -> Option<()> {
        Some(())
    }

    pub fn here() -> usize {
        HERE.with(|here| here.0 as usize)
    }

    pub fn set_data(_: *const ()) {}

    /// # Safety
    /// The thread lives, and the data is that of its work.
    pub unsafe fn interrupt(id: usize, data: *const ()) -> bool {
        let (thread, Some(action)) = (id as HANDLE, ACTION.get()) else { return false };
        // SAFETY: as promised by the caller. The action locks nothing that the suspended thread may hold.
        unsafe {
            if GetThreadId(thread) == GetCurrentThreadId() {
                action(data);
                return true;
            }
            if SuspendThread(thread) == u32::MAX {
                return false;
            }
            // The thread may run on for a moment, but not until its registers can be read.
            let mut registers = MaybeUninit::<Registers>::zeroed();
            (*registers.as_mut_ptr()).0.ContextFlags = CONTEXT_CONTROL;
            let stands_still = GetThreadContext(thread, ptr::from_mut(&mut (*registers.as_mut_ptr()).0)) != 0;
            if stands_still {
                action(data);
            }
            ResumeThread(thread);
            stands_still
        }
    }

    pub fn settle() {}
}
