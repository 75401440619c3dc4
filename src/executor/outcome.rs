//! Encodes what a task leaves on its coroutine: its results, or its error.

use std::cell::Cell;

use crate::codec::{Blocks, Functions, Path, Policy, encode_counted, encode_in_blocks, encode_scalars};
use crate::error::{Error, Kind};
use crate::ffi::{Stack, Type};
use crate::job::{Job, Worker};
use crate::lane::Failure;
use crate::missing::{self, Missing};
use crate::{coroutine, fields, gma};

/// From this many bytes on, the host decodes the first results of a task while the worker encodes the rest.
const BLOCK: usize = 256 << 10;

pub fn encode_results(
    job: &Job,
    worker: &Worker,
    index: usize,
    coroutine: &Stack,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let count = coroutine.top();
    if encode_scalars(coroutine, count, out)? {
        return Ok(());
    }
    let first_item = job.tasks.first_item(index);
    let failed_item = Cell::new(None);
    let place = |n: usize, path: &Path| match (first_item, n, path.split_item()) {
        (Some(first), 1, Some((item, path))) => {
            failed_item.set(Some(first + item - 1));
            format!("result{path}")
        }
        _ if count == 1 => format!("result{path}"),
        _ => format!("returns[{n}]{path}"),
    };
    let policy =
        Policy { names: &gma::WorkerNames, functions: Functions::Return(job.upvalues), place: &place };
    let send = |block| {
        job.put_block(worker, index, block);
        Ok(())
    };
    let blocks = Blocks { size: BLOCK, begin: &|| true, send: &send };
    encode_in_blocks(coroutine, count, out, &policy, blocks).map_err(|cause| match failed_item.get() {
        Some(index) => Error::Item { index, cause: Box::new(cause) },
        None => cause,
    })
}

/// What is known of an error only until the variables of its coroutine are closed: its call stack is gone then.
#[derive(Default)]
pub struct Origin {
    traceback: Vec<u8>,
    missing: Option<Box<Missing>>,
}

/// The origin of the error on top of the state's stack, which a coroutine has raised.
pub fn origin(stack: &Stack, coroutine: &Stack) -> Origin {
    let mut traceback = Vec::new();
    let written = &mut traceback;
    // Without memory for it, there is none.
    let _: Result<(), Error> = stack.protected(0, |stack| {
        stack.push_traceback(coroutine, 0);
        stack.with_bytes(-1, |text| written.extend_from_slice(text));
        stack.set_top(0);
        Ok(())
    });
    let Some(mut inner) = coroutine::take_failure(stack, -1) else {
        let is_text = stack.kind(-1) == Type::String;
        let missing = is_text.then(|| missing::find(stack, coroutine, 0, &stack.bytes(-1))).flatten();
        return Origin { traceback, missing };
    };
    inner.traceback.push(b'\n');
    traceback.splice(0..0, inner.traceback);
    Origin { traceback, missing: inner.missing }
}

impl Origin {
    /// The origin of the error on top, which a variable raised when it was closed because of an error of this origin.
    pub fn of_closing(self, stack: &Stack) -> Origin {
        let missing = coroutine::take_failure(stack, -1).and_then(|inner| inner.missing);
        Origin { missing, ..self }
    }

    /// The failure of a task that ran out of memory.
    pub fn without_memory(self) -> Failure {
        Failure { traceback: self.traceback, ..Error::Memory.into() }
    }

    /// The failure of a task that was stopped after an error.
    pub fn stopped(self) -> Failure {
        Failure { traceback: self.traceback, ..Error::Cancelled.into() }
    }
}

/// The failure of a task that raised the error on top of the state's stack. Pops that.
pub fn failure(job: &Job, stack: &Stack, origin: Origin) -> Failure {
    let value = match stack.kind(-1) {
        Type::String | Type::Nil => None,
        _ => match encode_error(job, stack) {
            // As for a result that takes too much.
            Err(Error::Memory) => {
                stack.pop(1);
                return origin.without_memory();
            }
            encoded => encoded.ok(),
        },
    };
    let mut message = Vec::new();
    let described = stack.protected(1, |stack| {
        fields::append_text_of(stack, 1, &mut message);
        stack.set_top(0);
        Ok(())
    });
    if let Err(error) = described {
        message = fields::text_of_failure(&error);
    }
    Failure { kind: Kind::Runtime, message, traceback: origin.traceback, value, missing: origin.missing }
}

/// Encodes the error value on top. Not every value can cross.
fn encode_error(job: &Job, stack: &Stack) -> Result<Vec<u8>, Error> {
    let mut message = Vec::new();
    let place = |_, path: &Path| format!("error{path}");
    let policy =
        Policy { names: &gma::WorkerNames, functions: Functions::Return(job.upvalues), place: &place };
    stack.push_value(-1);
    encode_counted(stack, 1, &mut message, &policy).map(|()| message)
}
