//! Encodes what a task leaves on its coroutine: its results, or its error.

use std::cell::Cell;

use crate::codec::{Blocks, Functions, Path, Policy, encode_counted, encode_in_blocks, encode_scalars};
use crate::error::{Error, Kind};
use crate::ffi::{Stack, Type};
use crate::job::{Job, Worker};
use crate::lane::Failure;
use crate::{coroutine, fields, gma, missing};

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

/// The failure of a task that raised the error on top of the state's stack. Pops that.
pub fn failure(job: &Job, stack: &Stack, coroutine: &Stack) -> Failure {
    let value =
        (!matches!(stack.kind(-1), Type::String | Type::Nil)).then(|| encode_error(job, stack)).flatten();
    let mut message = Vec::new();
    let mut traceback = Vec::new();
    let inner = coroutine::take_failure(stack, -1);
    let described = stack.protected(1, |stack| {
        // The traceback is taken first, because `__tostring` may fail.
        stack.push_traceback(coroutine, 0);
        stack.with_bytes(-1, |text| traceback.extend_from_slice(text));
        fields::append_text_of(stack, 1, &mut message);
        stack.set_top(0);
        Ok(())
    });
    if let Err(error) = described {
        message = b"error in the __tostring of the error: ".to_vec();
        message.extend_from_slice(&error.text());
    }
    let missing = match inner {
        Some(mut inner) => {
            inner.traceback.push(b'\n');
            traceback.splice(0..0, inner.traceback);
            inner.missing
        }
        None if value.is_none() => missing::find(stack, coroutine, 0, &message),
        None => None,
    };
    Failure { kind: Kind::Runtime, message, traceback, value, missing }
}

/// The error value on top, if it can cross.
fn encode_error(job: &Job, stack: &Stack) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let place = |_, path: &Path| format!("error{path}");
    let policy =
        Policy { names: &gma::WorkerNames, functions: Functions::Return(job.upvalues), place: &place };
    stack.push_value(-1);
    encode_counted(stack, 1, &mut message, &policy).ok().map(|()| message)
}
