//! The worker's side of host calls: with an answer, without one, and `gma.sleep`.
//!
//! The calls travel through the job's [`crate::mailbox`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::current::{self, Work};
use crate::mailbox::{Answer, Request};
use crate::names;
use crate::sync::usable_cores;

/// This thread's worker; none if no task runs, or if the task can no longer call the host.
fn caller() -> Option<Rc<Work>> {
    current::work().filter(|work| work.has_host())
}

/// Calls the host from a task, and waits for its answer.
pub fn call(name: &str, arguments: Vec<u8>) -> Answer {
    let Some(caller) = caller() else { return Answer::Gone };
    let request = Request { name: name.into(), arguments, reply: Some(Arc::clone(&caller.reply)) };
    // The wait begins before the host can see the request, so the host's time never counts as the task's.
    let wait = || match caller.job.mailbox.post(request) {
        // If many tasks wait, most of them wait long.
        Some(waiting) => caller.reply.wait(waiting < usable_cores()),
        None => Answer::Gone,
    };
    caller.worker.seat.waiting(|| caller.traced(|| names::display(name), wait))
}

/// Calls the host from a task without waiting for an answer. False if the job is closing.
pub fn tell(name: &str, arguments: Vec<u8>) -> bool {
    let Some(caller) = caller() else { return false };
    let request = Request { name: name.into(), arguments, reply: None };
    caller.worker.seat.waiting(|| caller.job.mailbox.post(request)).is_some()
}

/// Sleeps on the worker's thread. Ends early when the task has to stop, or is told to end by itself.
pub fn sleep(duration: Duration) {
    let Some(caller) = caller() else { return };
    let mailbox = &caller.job.mailbox;
    let was_told = caller.is_told();
    let ends = || caller.is_stopping() || !was_told && caller.is_told();
    caller.traced(|| "gma.sleep".into(), || mailbox.sleep(duration, ends));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job;
    use crate::mailbox::QUEUE_LIMIT;
    use std::thread;

    #[test]
    fn a_call_waits_for_its_own_answer() {
        let job = Arc::new(Job::without_tasks());
        let mailbox = &job.mailbox;
        let worker = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                let worker = job.add_worker();
                let _entered = current::enter(job, worker);
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
    fn closing_releases_waiting_calls_and_refuses_new_ones() {
        let job = Arc::new(Job::without_tasks());
        let mailbox = &job.mailbox;
        let worker = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                let worker = job.add_worker();
                let _entered = current::enter(job, worker);
                (call("gma\0cmd", vec![]), call("gma\0cmd", vec![]), tell("gma\0echo", vec![]))
            })
        };
        assert!(mailbox.wait(Duration::from_secs(20)));
        mailbox.close();
        assert!(matches!(worker.join(), Ok((Answer::Gone, Answer::Gone, false))));
    }

    #[test]
    fn a_call_without_a_job_has_no_answer() {
        assert!(matches!(call("gma\0cmd", vec![]), Answer::Gone));
    }

    #[test]
    fn a_full_queue_blocks_a_task_until_the_host_takes_a_request() {
        let job = Arc::new(Job::without_tasks());
        let mailbox = &job.mailbox;
        let worker = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                let worker = job.add_worker();
                let _entered = current::enter(job, worker);
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
