//! The host calls of the task that runs on this thread: calling, telling, and sleeping.
//!
//! Worker side. A thread that runs tasks is connected to its job's [`Mailbox`] by [`connect`].

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::mailbox::{Answer, Mailbox, Reply, Request};
use crate::{names, pool, seat, trace};

struct Line {
    mailbox: Arc<Mailbox>,
    reply: Arc<Reply>,
}

thread_local! {
    /// The mailbox of the job whose tasks run on this thread; none between jobs.
    static LINE: RefCell<Option<Line>> = const { RefCell::new(None) };
}

/// Connects this thread to a job's mailbox until the guard is dropped.
pub fn connect(mailbox: &Arc<Mailbox>) -> Connection {
    let line = Line { mailbox: Arc::clone(mailbox), reply: Arc::default() };
    LINE.with_borrow_mut(|current| *current = Some(line));
    Connection(())
}

/// While it lives, tasks on this thread can call the host.
pub struct Connection(());

impl Drop for Connection {
    fn drop(&mut self) {
        LINE.with_borrow_mut(|current| *current = None);
    }
}

/// Runs `body` without the thread's line: what it calls of the host is refused, and it sleeps for no time.
pub fn disconnected(body: impl FnOnce()) {
    let line = LINE.take();
    body();
    LINE.set(line);
}

/// Runs `body` with this thread's line; not where there is none, or where the task has to stop.
fn line<R>(body: impl FnOnce(&Arc<Mailbox>, &Arc<Reply>) -> R) -> Option<R> {
    if seat::is_stopping() {
        return None;
    }
    let line = LINE
        .with_borrow(|line| line.as_ref().map(|line| (Arc::clone(&line.mailbox), Arc::clone(&line.reply))))?;
    Some(body(&line.0, &line.1))
}

/// Calls the host from a task, and waits for its answer.
pub fn call(name: &str, arguments: Vec<u8>) -> Answer {
    line(|mailbox, reply| {
        let request = Request { name: name.into(), arguments, reply: Some(Arc::clone(reply)) };
        // From before the host can know of it: none of its time is the task's.
        let wait = || match mailbox.post(request) {
            // Of many that wait, most wait long.
            Some(waiting) => reply.wait(waiting < pool::usable_cores()),
            None => Answer::Gone,
        };
        seat::waiting(|| trace::waiting(|| names::display(name), wait))
    })
    .unwrap_or(Answer::Gone)
}

/// Tells the host something from a task, and doesn't wait. False when nobody listens any more.
pub fn tell(name: &str, arguments: Vec<u8>) -> bool {
    let request = Request { name: name.into(), arguments, reply: None };
    line(|mailbox, _| seat::waiting(|| mailbox.post(request))).flatten().is_some()
}

/// Sleeps in a task.
pub fn sleep(duration: Duration) {
    line(|mailbox, _| trace::waiting(|| "gma.sleep".into(), || mailbox.sleep(duration, seat::is_stopping)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::QUEUE_LIMIT;
    use std::thread;

    #[test]
    fn a_call_waits_for_its_own_answer() {
        let mailbox = Arc::new(Mailbox::default());
        let worker = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                let _line = connect(&mailbox);
                call("gma\0cmd", vec![1])
            })
        };
        assert!(mailbox.wait(Duration::from_secs(20)));
        let (request, ticket) = mailbox.take().expect("the request that rang");
        assert_eq!((&*request.name, request.arguments), ("gma\0cmd", vec![1]));
        mailbox.answer(ticket.expect("a call has a ticket"), Answer::Returned(vec![2]));
        assert!(matches!(worker.join(), Ok(Answer::Returned(bytes)) if bytes == [2]));
    }

    #[test]
    fn closing_releases_who_waits_and_refuses_who_comes() {
        let mailbox = Arc::new(Mailbox::default());
        let worker = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                let _line = connect(&mailbox);
                (call("gma\0cmd", vec![]), call("gma\0cmd", vec![]), tell("gma\0echo", vec![]))
            })
        };
        assert!(mailbox.wait(Duration::from_secs(20)));
        mailbox.close();
        assert!(matches!(worker.join(), Ok((Answer::Gone, Answer::Gone, false))));
    }

    #[test]
    fn without_a_job_nobody_listens() {
        assert!(matches!(call("gma\0cmd", vec![]), Answer::Gone));
    }

    #[test]
    fn a_full_queue_holds_the_teller_until_the_host_takes_one() {
        let mailbox = Arc::new(Mailbox::default());
        let worker = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                let _line = connect(&mailbox);
                (0..=QUEUE_LIMIT).all(|_| tell("gma\0echo", vec![]))
            })
        };
        let mut taken = 0;
        while taken <= QUEUE_LIMIT {
            assert!(mailbox.wait(Duration::from_secs(20)));
            while let Some((_, ticket)) = mailbox.take() {
                assert!(ticket.is_none());
                taken += 1;
            }
        }
        assert!(matches!(worker.join(), Ok(true)));
    }
}
