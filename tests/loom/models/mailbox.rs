//! No wake-up of the mailbox is lost. Time never passes here, so a thread that nobody wakes is a deadlock, which loom reports.

use std::time::Duration;

use loom::thread;

use gma2workers::mailbox::{Answer, Mailbox, QUEUE_BYTES_LIMIT, Reply, Request};
use gma2workers::sync::Arc;
use gma2workers::sync::atomic::{AtomicBool, Ordering};

const FOREVER: Duration = Duration::MAX;

fn call(reply: &Arc<Reply>) -> Request {
    Request { name: "gma\0cmd".into(), arguments: vec![], reply: Some(Arc::clone(reply)) }
}

fn tell(bytes: usize) -> Request {
    Request { name: "gma\0echo".into(), arguments: vec![0; bytes], reply: None }
}

/// Runs `body` on a thread of the model.
fn spawn(mailbox: &Arc<Mailbox>, body: impl FnOnce(&Mailbox) + 'static) -> thread::JoinHandle<()> {
    let mailbox = Arc::clone(mailbox);
    thread::spawn(move || body(&mailbox))
}

#[test]
fn an_answer_is_not_lost_while_the_worker_goes_to_sleep() {
    for spins in [false, true] {
        loom::model(move || {
            let mailbox = Arc::new(Mailbox::default());
            let worker = spawn(&mailbox, move |mailbox| {
                let reply = Arc::default();
                for _ in 0..2 {
                    mailbox.post(call(&reply)).expect("the mailbox is open");
                    assert!(matches!(reply.wait(spins), Answer::Returned(_)));
                }
            });
            for answer in 0..2 {
                assert!(mailbox.wait(FOREVER));
                let (_, ticket) = mailbox.take().expect("the call that rang");
                mailbox.answer(ticket.expect("a call has a ticket"), Answer::Returned(vec![answer]));
            }
            worker.join().unwrap();
        });
    }
}

#[test]
fn whatever_comes_in_one_of_two_mailboxes_wakes_a_host_that_waits_for_both() {
    let events: [fn(&Mailbox); 3] =
        [|mailbox| assert!(mailbox.post(tell(0)).is_some()), Mailbox::offer_results, Mailbox::finish];
    for event in events {
        loom::model(move || {
            let mailboxes = [Arc::new(Mailbox::default()), Arc::new(Mailbox::default())];
            let worker = spawn(&mailboxes[1], event);
            Mailbox::wait_for_any(&[&mailboxes[0], &mailboxes[1]], FOREVER);
            assert!(mailboxes[1].wait(Duration::ZERO));
            worker.join().unwrap();
        });
    }
}

#[test]
fn whatever_comes_wakes_a_host_that_is_about_to_sleep() {
    let events: [fn(&Mailbox); 3] =
        [|mailbox| assert!(mailbox.post(tell(0)).is_some()), Mailbox::offer_results, Mailbox::finish];
    for event in events {
        loom::model(move || {
            let mailbox = Arc::new(Mailbox::default());
            let worker = spawn(&mailbox, event);
            assert!(mailbox.wait(FOREVER));
            worker.join().unwrap();
        });
    }
}

#[test]
fn results_that_come_while_others_are_taken_are_not_missed() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let results = Arc::new(AtomicBool::new(false));
        let worker = {
            let results = Arc::clone(&results);
            spawn(&mailbox, move |mailbox| {
                mailbox.offer_results();
                results.store(true, Ordering::Relaxed);
                mailbox.offer_results();
            })
        };
        // As the host does: it is told first, and looks then.
        while !results.load(Ordering::Relaxed) {
            assert!(mailbox.wait(FOREVER));
            mailbox.take_results();
        }
        worker.join().unwrap();
    });
}

#[test]
fn closing_releases_every_waiter() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let caller = spawn(&mailbox, |mailbox| {
            let reply = Arc::default();
            if mailbox.post(call(&reply)).is_some() {
                assert!(matches!(reply.wait(false), Answer::Gone));
            }
        });
        let sleeper = spawn(&mailbox, |mailbox| mailbox.sleep(FOREVER, || false));
        mailbox.take();
        mailbox.close();
        caller.join().unwrap();
        sleeper.join().unwrap();
    });
}

#[test]
fn closing_releases_a_worker_that_waits_for_room() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        assert!(mailbox.post(tell(QUEUE_BYTES_LIMIT)).is_some());
        let teller = spawn(&mailbox, |mailbox| assert!(mailbox.post(tell(0)).is_none()));
        mailbox.close();
        teller.join().unwrap();
    });
}

#[test]
fn room_in_a_full_queue_wakes_every_worker_that_waits_for_it() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        assert!(mailbox.post(tell(QUEUE_BYTES_LIMIT)).is_some());
        let tellers = [(); 2].map(|()| spawn(&mailbox, |mailbox| assert!(mailbox.post(tell(0)).is_some())));
        assert!(mailbox.take().is_some());
        tellers.into_iter().for_each(|teller| teller.join().unwrap());
    });
}

#[test]
fn a_task_that_has_to_stop_does_not_sleep_on() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let stop = Arc::new(AtomicBool::new(false));
        let sleeper = {
            let stop = Arc::clone(&stop);
            spawn(&mailbox, move |mailbox| mailbox.sleep(FOREVER, || stop.load(Ordering::Relaxed)))
        };
        stop.store(true, Ordering::Relaxed);
        mailbox.wake_sleepers();
        sleeper.join().unwrap();
    });
}
