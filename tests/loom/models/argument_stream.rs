//! A worker gets its blocks in order, and then its work or the news that there is none.

use loom::thread;

use gma2workers::argument_stream::{ArgumentStream, Next};
use gma2workers::sync::Arc;

/// Runs a worker while the host puts two blocks and then ends the stream with `end`. Returns the work that the worker got.
fn read_while(end: fn(&ArgumentStream<u32>)) -> Option<u32> {
    let stream = Arc::new(ArgumentStream::<u32>::default());
    let worker = {
        let stream = Arc::clone(&stream);
        thread::spawn(move || {
            let mut number = 0;
            loop {
                match stream.next(number) {
                    Next::Block(block) => assert_eq!(block[0] as usize, number),
                    Next::Work(work) => return Some(work),
                    Next::Nothing => return None,
                }
                number += 1;
            }
        })
    };
    (0..2).for_each(|number| stream.put(vec![number]).unwrap());
    end(&stream);
    worker.join().unwrap()
}

#[test]
fn a_worker_that_decodes_arguments_gets_its_work_in_every_order() {
    loom::model(|| assert_eq!(read_while(|stream| stream.begin(7)), Some(7)));
}

#[test]
fn a_worker_that_decodes_arguments_ends_if_the_list_is_refused() {
    loom::model(|| assert_eq!(read_while(ArgumentStream::close), None));
}
