//! No worker reads a text of the host after the host's call has ended, and each task gets its text.

use std::ops::Deref;

use loom::thread;

use gma2workers::pinned::{PinnedTexts, Taken, Uses};
use gma2workers::sync::Arc;
use gma2workers::sync::atomic::{AtomicBool, Ordering};

/// The bytes of a text in the host's state. Whether that has freed them is relaxed: only the modules under test order it.
struct Bytes {
    is_freed: Arc<AtomicBool>,
    uses: Arc<Uses>,
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        assert!(!self.is_freed.load(Ordering::Relaxed), "freed memory is read");
        b"text"
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.uses.remove();
    }
}

/// Runs workers that each read the text once, while the host's call ends. One more reads it after that.
fn read_while_the_call_ends(workers: usize) {
    let (is_freed, uses) = (Arc::<AtomicBool>::default(), Arc::<Uses>::default());
    let texts = Arc::<PinnedTexts<Bytes>>::default();
    uses.add();
    let number = texts.add(Bytes { is_freed: Arc::clone(&is_freed), uses: Arc::clone(&uses) }, false).unwrap();
    // One of them begins after the call.
    (0..workers).for_each(|_| texts.add_message(number, false));
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let texts = Arc::clone(&texts);
            thread::spawn(move || match texts.take(number) {
                Taken::Pinned(bytes) => assert_eq!(&bytes[..], b"text"),
                Taken::Kept(bytes) => assert_eq!(&bytes[..], b"text"),
                Taken::LackedMemory | Taken::Unknown => panic!("a task did not get its text"),
            })
        })
        .collect();
    // As the end of `with_pins`.
    texts.keep_all();
    uses.wait();
    is_freed.store(true, Ordering::Relaxed);
    assert!(matches!(texts.take(number), Taken::Kept(_)));
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_worker_reads_its_text_while_the_hosts_call_ends() {
    loom::model(|| read_while_the_call_ends(1));
}

/// All orders with at most three preemptions: without a limit this takes minutes.
#[test]
fn two_workers_read_one_text_while_the_hosts_call_ends() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| read_while_the_call_ends(2));
}
