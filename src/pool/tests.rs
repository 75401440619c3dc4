use super::*;
use std::sync::Barrier;

const NO_HOOKS: Hooks = Hooks { idle: || {}, rest: || {} };

#[test]
fn more_closures_than_cores_run_at_the_same_time() {
    let wanted = usable_cores() * 3 + 1;
    let barrier = Arc::new(Barrier::new(wanted));
    let (sender, receiver) = mpsc::channel();
    let started = get(NO_HOOKS)
        .and_then(|pool| {
            let make = || {
                let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
                move |_busy| {
                    barrier.wait();
                    let _ = sender.send(());
                }
            };
            pool.spawn(wanted, || {}, make)
        })
        .expect("threads can be made here");
    assert_eq!(started, wanted);
    assert_eq!(receiver.iter().take(wanted).count(), wanted);
}

#[test]
fn a_job_gets_only_the_threads_that_it_can_use() {
    let pool = Pool::new(NO_HOOKS);
    // Runs that many closures at once, and waits until their threads are idle again.
    let run = |wanted: usize| {
        let barrier = Arc::new(Barrier::new(wanted));
        let is_ready = Cell::new(false);
        let make = || {
            assert!(is_ready.get(), "work is given out before all threads have started");
            let barrier = Arc::clone(&barrier);
            move |busy| {
                barrier.wait();
                drop(busy);
            }
        };
        let ready = || {
            // What is called there takes a lock that the watchdog holds while it asks for this one.
            assert!(pool.segments.try_lock().is_ok(), "the pool is locked");
            is_ready.set(true);
        };
        assert_eq!(pool.spawn(wanted, ready, make).expect("threads can be made here"), wanted);
        while pool.lock().iter().any(|segment| !segment.is_idle()) {
            std::thread::yield_now();
        }
    };
    assert_eq!(pool.threads(), 0);
    run(1);
    run(1);
    assert_eq!(pool.threads(), 1);
    run(usable_cores() + 1);
    assert_eq!(pool.threads(), usable_cores() + 1);
    (1..ENDS_AT).for_each(|_| assert_ne!(pool.end_idle(1), Idle::Over));
    assert_eq!(pool.end_idle(1), Idle::Over);
    assert_eq!(pool.threads(), usable_cores(), "as many as there are cores stay");
}

#[test]
fn idle_threads_beyond_the_number_of_cores_end() {
    let pool = Pool::new(NO_HOOKS);
    let cores = usable_cores();
    // Each closure reports that it runs, and then runs until it is told to end.
    let begin = |wanted| {
        let (sender, receiver) = mpsc::channel();
        let held = Arc::new(Mutex::new(()));
        let guard = held.lock().expect("no thread has panicked");
        let make = || {
            let (held, sender) = (Arc::clone(&held), sender.clone());
            move |busy| {
                let name = std::thread::current().name().map(str::to_owned);
                let _ = sender.send(name.expect("it has a name"));
                drop(held.lock());
                drop(busy);
            }
        };
        assert_eq!(pool.spawn(wanted, || {}, make).expect("threads can be made here"), wanted);
        let mut names: Vec<String> = receiver.iter().take(wanted).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), wanted, "two threads share a name");
        drop(guard);
        while pool.lock().iter().any(|segment| !segment.is_idle()) {
            std::thread::yield_now();
        }
    };
    begin(cores + 20);
    assert_eq!(pool.threads(), cores + 20);
    (1..ENDS_AT).for_each(|_| assert_ne!(pool.end_idle(1), Idle::Over));
    assert_eq!(pool.threads(), cores + 20, "they were busy a moment ago");
    // Threads that were used meanwhile stay, and the missing ones are added.
    begin(cores + 5);
    assert_eq!(pool.end_idle(1), Idle::NotYet);
    assert_eq!(pool.threads(), cores + 5);
    begin(cores + 10);
    assert_eq!(pool.threads(), cores + 10);
    (1..RESTS_AT + 1).for_each(|_| assert_eq!(pool.end_idle(1), Idle::NotYet));
    assert_eq!(pool.end_idle(1), Idle::AllRest);
    assert_eq!(pool.end_idle(PERIODS_OF_REST), Idle::Over);
    assert_eq!(pool.threads(), cores);
    begin(cores + 1);
}

#[test]
fn threads_that_end_while_a_job_begins_are_replaced() {
    let pool = Pool::new(NO_HOOKS);
    let wanted = usable_cores() + 5;
    let barrier = Arc::new(Barrier::new(wanted));
    let spawn = |ready: &dyn Fn()| {
        let make = || {
            let barrier = Arc::clone(&barrier);
            move |busy| {
                barrier.wait();
                drop(busy);
            }
        };
        assert_eq!(pool.spawn(wanted, ready, make).expect("threads can be made here"), wanted);
        while pool.lock().iter().any(|segment| !segment.is_idle()) {
            std::thread::yield_now();
        }
    };
    spawn(&|| ());
    (1..ENDS_AT).for_each(|_| assert_ne!(pool.end_idle(1), Idle::Over));
    let ended = Cell::new(0);
    spawn(&|| {
        let before = pool.threads();
        pool.end_idle(1);
        ended.set(before - pool.threads());
    });
    assert_eq!(ended.get(), 5);
}

#[test]
fn an_idle_thread_rests_and_then_still_works() {
    static RESTED: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HAS_WORKED: Cell<bool> = const { Cell::new(false) };
    }
    let count = || {
        RESTED.fetch_add(usize::from(HAS_WORKED.replace(false)), Ordering::SeqCst);
    };
    let pool = Pool::new(Hooks { idle: || {}, rest: count });
    let wanted = usable_cores() + 3;
    for round in 1..=2 {
        let (sender, receiver) = mpsc::channel();
        let barrier = Arc::new(Barrier::new(wanted));
        let make = || {
            let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
            move |busy| {
                barrier.wait();
                HAS_WORKED.set(true);
                drop(busy);
                let _ = sender.send(());
            }
        };
        assert_eq!(pool.spawn(wanted, || {}, make).expect("threads can be made here"), wanted);
        receiver.iter().take(wanted).for_each(drop);
        // The threads of the cores rest at a check, the others by themselves.
        (0..RESTS_AT).for_each(|_| assert_eq!(pool.end_idle(1), Idle::NotYet));
        assert_eq!(pool.end_idle(1), Idle::AllRest);
        // A thread that never rests makes this hang.
        while RESTED.load(Ordering::SeqCst) < round * wanted {
            std::thread::yield_now();
        }
    }
}

#[cfg(unix)]
#[test]
fn workers_are_named_and_block_signals() {
    let (sender, receiver) = mpsc::channel();
    get(NO_HOOKS)
        .and_then(|pool| {
            let make = || {
                let sender = sender.clone();
                move |_busy| {
                    let name = std::thread::current().name().map(str::to_owned);
                    let mask = nix::sys::signal::SigSet::thread_get_mask();
                    let blocks = mask.is_ok_and(|mask| mask.contains(nix::sys::signal::SIGINT));
                    let _ = sender.send((name, blocks));
                }
            };
            pool.spawn(1, || {}, make)
        })
        .expect("threads can be made here");
    let (name, blocks) = receiver.recv().expect("the closure ran");
    assert!(name.is_some_and(|name| name.starts_with("gma2worker-")));
    assert!(blocks);
    assert!(
        !nix::sys::signal::SigSet::thread_get_mask()
            .is_ok_and(|mask| mask.contains(nix::sys::signal::SIGINT))
    );
}
