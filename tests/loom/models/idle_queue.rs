//! Work that the idle queue takes in is done.

use std::time::Duration;

use loom::thread;

use gma2workers::idle_queue::IdleQueue;
use gma2workers::sync::Arc;

/// Gives what `threads` that look for work find, while as much is offered, and what of that was taken in.
fn offer(threads: u32) -> (Vec<u32>, Vec<u32>) {
    let queue = Arc::new(IdleQueue::default());
    let looking: Vec<_> = (0..threads)
        .map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.look_for_work(Duration::ZERO))
        })
        .collect();
    let offered = (0..2).filter(|work| queue.offer(*work).is_ok()).collect();
    let mut done: Vec<u32> = looking.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
    done.sort();
    (done, offered)
}

#[test]
fn work_that_is_taken_in_is_done_once() {
    loom::model(|| {
        let (done, offered) = offer(1);
        assert_eq!(done, offered);
    });
}

/// All orders with at most three preemptions: without a limit this takes minutes.
#[test]
fn two_threads_share_the_work() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (done, offered) = offer(2);
        assert_eq!(done, offered);
    });
}
