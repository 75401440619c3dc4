//! Merges a job's outcomes into its response, in the order of the list of tasks. Host side.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::codec::{Decoder, decode_scalars, is_rest};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Protected, Stack, Type};
use crate::host::HostNames;
use crate::job::Job;
use crate::lane::{Failure, Lane};
use crate::missing;
use crate::stream::{Stream, Streams};

/// The slots of the two lists that [`merge`] fills, and of the names of two fields that every entry has.
const RESULT: c_int = 1;
const FAILED: c_int = 2;
const SUCCESS: c_int = 3;
const DATA: c_int = 4;

/// Adds the outcomes so far to the list of results and the list of the failed tasks' indices, which are the top two
/// values. After an error, both lists are unchanged, and the outcomes can be merged again.
///
/// Results that come in blocks are decoded while they come if the host may stay in here for `patience`, until the last block has
/// come. If not, they are decoded then. In between, the collector would walk them at almost every block.
pub fn merge(stack: &Stack, job: &Job, names: &HostNames, patience: Duration) -> Result<()> {
    fault::point("collect")?;
    let lanes = job.take_outcomes();
    if patience.is_zero() || lanes.iter().all(|lane| lane.streams.is_empty()) {
        return merge_taken(stack, job, lanes, names, false, false).map(drop);
    }
    let deadline = Instant::now() + patience;
    let is_paused = stack.pause_collector();
    let mut merged = merge_taken(stack, job, lanes, names, true, is_paused);
    while merged == Ok(true)
        && job.mailbox.wait(deadline.saturating_duration_since(Instant::now()))
        && job.mailbox.queued() == 0
        && job.mailbox.has_results()
    {
        merged = merge_taken(stack, job, job.take_outcomes(), names, true, is_paused);
    }
    if is_paused {
        stack.unpause_collector()?;
    }
    merged.map(drop)
}

/// Merges what was taken from the lanes. With `decodes_blocks`, decodes the results that come in blocks while they come.
/// `is_paused` tells that the collector is paused already. Returns whether there are such results whose last block has not come.
fn merge_taken(
    stack: &Stack,
    job: &Job,
    mut lanes: Vec<Lane>,
    names: &HostNames,
    decodes_blocks: bool,
    is_paused: bool,
) -> Result<bool> {
    let _span = job.trace.as_ref().map(|trace| trace.host("merge results"));
    let failed = stack.top();
    let failures = stack.raw_len(failed);
    if !stack.check(2) {
        job.give_back_outcomes(lanes);
        return Err(Error::Memory);
    }
    let mut streams = Vec::new();
    if lanes.iter().any(|lane| !lane.streams.is_empty()) {
        streams.extend(lanes.iter_mut().map(|lane| std::mem::take(&mut lane.streams)));
    }
    let size = lanes.iter().map(Lane::size).chain(streams.iter().map(Streams::size)).sum();
    let pauses = !is_paused && stack.pause_collector_for(size);
    stack.push_value(failed - 1);
    stack.push_value(failed);
    let merged = merge_lanes(stack, size, &lanes, &mut streams, names, decodes_blocks);
    stack.set_top(failed);
    if merged.is_ok() {
        streams.iter_mut().for_each(Streams::drop_ended);
    } else {
        for n in failures + 1..=stack.raw_len(failed) {
            stack.push_integer(n as i64);
            stack.push_nil();
            stack.raw_set_existing(failed);
        }
        streams.iter_mut().for_each(Streams::begin_again);
    }
    let goes_on = streams.iter().any(|streams| !streams.is_empty());
    job.give_back_streams(&mut streams);
    if merged.is_err() {
        job.give_back_outcomes(lanes);
    }
    // Now all is in its place: a finalizer may merge what has come meanwhile, and an error undoes nothing.
    if pauses {
        stack.unpause_collector()?;
    }
    merged.map(|()| goes_on)
}

/// Merges the lanes and their streams, of so many bytes, into the two lists on top.
fn merge_lanes(
    stack: &Stack,
    size: usize,
    lanes: &[Lane],
    streams: &mut [Streams],
    names: &HostNames,
    decodes_blocks: bool,
) -> Result<()> {
    let mut decoder = Decoder::new(names);
    let mut unsendable = Vec::new();
    let mut no_streams = Streams::default();
    stack.with_large_blocks(size, 2, |stack| {
        let (result, failed_tasks) = (stack.table(RESULT), stack.table(FAILED));
        stack.push_bytes(b"success");
        stack.push_bytes(b"data");
        let mut failures = stack.raw_len(FAILED) as i64;
        for (at, lane) in lanes.iter().enumerate() {
            let streams = streams.get_mut(at).unwrap_or(&mut no_streams);
            if decodes_blocks {
                decode_streams(stack, streams, names)?;
            }
            for (index, outcome) in lane.outcomes() {
                let failed = match outcome {
                    Ok(message) => match push_results(stack, &mut decoder, streams, index, message, names) {
                        Ok(()) => None,
                        Err(error) if is_rest(message) && error.is_of_state() => return Err(error),
                        Err(error) => {
                            stack.set_top(DATA);
                            unsendable.push(Failure::from(error));
                            unsendable.last()
                        }
                    },
                    Err(failure) => Some(failure),
                };
                if let Some(failure) = failed {
                    push_failure(stack, failure);
                }
                if let Err(Failure { value: Some(value), .. }) = outcome {
                    push_error_value(stack, &mut decoder, value);
                }
                let failed = failed.is_some();
                result.raw_set_i(index as i64 + 1);
                if let Some(stream) = streams.of(index) {
                    // Its first blocks may be void.
                    end_stream(stack, stream);
                }
                if failed {
                    failures += 1;
                    stack.push_integer(index as i64 + 1);
                    failed_tasks.raw_set_i(failures);
                }
            }
        }
        Ok(())
    })
}

/// From now on, notes the order in which the job's tasks end. Takes the same lists as [`merge`].
pub fn note_order(stack: &Stack, job: &Job, names: &HostNames) -> Result<()> {
    job.note_order()?;
    merge(stack, job, names, Duration::ZERO)?;
    // Each time, since an error may have come before this.
    let result = stack.top() - 1;
    job.note_earlier(|index| {
        let has_ended = stack.raw_get_i(result, index as i64 + 1) != Type::Nil;
        stack.pop(1);
        has_ended
    })
}

/// Adds to the list at index `order` the tasks that have ended since the last call, counted from 1. The outcomes of the last few
/// may not have been merged yet.
pub fn add_order(stack: &Stack, job: &Job, order: c_int) -> Result<()> {
    if !job.notes_order() {
        return Ok(());
    }
    stack.push_value(order);
    stack.protected(1, |stack| {
        let mut place = stack.raw_len(1);
        while let Some(index) = job.ended_at(place) {
            place += 1;
            stack.push_integer(index as i64 + 1);
            stack.raw_set_i(1, place as i64);
        }
        stack.set_top(0);
        Ok(())
    })
}

/// Merges the remaining outcomes of a finished job into the two lists on top, and replaces the list of results with the
/// response.
pub fn collect(stack: &Stack, job: &Job, names: &HostNames) -> Result<()> {
    merge(stack, job, names, Duration::ZERO)?;
    let id = format!("Job_{}", job.id);
    stack.protected(2, |stack| {
        stack.create_table(0, 5);
        let response = stack.top();
        stack.push_value(RESULT);
        stack.raw_set_text(response, "result");
        stack.push_integer(job.worker_count() as i64);
        stack.raw_set_text(response, "workerCount");
        stack.push_bytes(id.as_bytes());
        stack.raw_set_text(response, "jobId");
        stack.push_number(job.started.elapsed().as_secs_f64());
        stack.raw_set_text(response, "duration");
        stack.push_integer(stack.raw_len(FAILED) as i64);
        stack.raw_set_text(response, "failed");
        if job.is_cancelled_by_host() {
            stack.push_boolean(true);
            stack.raw_set_text(response, "cancelled");
        }
        stack.replace(RESULT);
        Ok(())
    })
}

/// Pushes the two lists that [`merge`] fills: results, with room for all tasks, and the failed tasks' indices.
pub fn push_lists(stack: &Stack, tasks: usize) -> Result<()> {
    stack.protected(0, |stack| {
        stack.create_table(tasks.try_into().unwrap_or(0), 0);
        stack.create_table(0, 0);
        Ok(())
    })
}

/// Decodes the blocks that have come of results whose last block has not. Each of these results has a coroutine, in the list of
/// failed tasks, under the negative number of its task.
fn decode_streams(stack: &Protected, streams: &mut Streams, names: &HostNames) -> Result<()> {
    for stream in streams.iter_mut().filter(|stream| stream.has_news()) {
        let has_outcome = stack.raw_get_i(RESULT, stream.task as i64 + 1) != Type::Nil;
        stack.pop(1);
        if has_outcome {
            // The task was given up, but encodes its results all the same.
            end_stream(stack, stream);
            continue;
        }
        push_coroutine(stack, stream);
        stream.decode(&coroutine(stack)?, names)?;
        stack.pop(1);
    }
    Ok(())
}

/// Pushes the coroutine of a task's results.
fn push_coroutine(stack: &Protected, stream: &Stream) {
    if stream.is_new() {
        stack.new_thread();
        stack.push_value(-1);
        stack.raw_set_i(FAILED, coroutine_number(stream));
    } else {
        stack.raw_get_i(FAILED, coroutine_number(stream));
    }
}

/// The coroutine on top.
fn coroutine<'s>(stack: &'s Protected) -> Result<Stack<'s>> {
    stack.thread(-1).ok_or_else(|| Error::Internal("the coroutine of a task's results is gone".into()))
}

/// The number of the coroutine of a task's results in the list of failed tasks.
fn coroutine_number(stream: &Stream) -> i64 {
    -1 - stream.task as i64
}

/// Drops the coroutine of a task's results.
fn end_stream(stack: &Protected, stream: &mut Stream) {
    stream.end();
    stack.push_nil();
    stack.raw_set_i(FAILED, coroutine_number(stream));
}

/// Pushes the entry of a task that succeeded: its message is whole, or the last block of one.
fn push_results<'a>(
    stack: &Protected,
    decoder: &mut Decoder<'a>,
    streams: &mut Streams,
    index: usize,
    message: &'a [u8],
    names: &HostNames,
) -> Result<()> {
    if is_rest(message) {
        let stream = streams.of(index).ok_or(Error::Corrupt("a last block alone"))?;
        return push_streamed(stack, stream, message, names);
    }
    catch_unwind(AssertUnwindSafe(|| push_success(stack, decoder, message)))
        .unwrap_or_else(|payload| Err(Error::panic(payload)))
}

/// Like [`push_success`], for results of which this is the last block.
#[cold]
fn push_streamed(stack: &Protected, stream: &mut Stream, block: &[u8], names: &HostNames) -> Result<()> {
    push_coroutine(stack, stream);
    let coroutine = coroutine(stack)?;
    stream.decode(&coroutine, names)?;
    let count = stream.last(&coroutine, block, names)?;
    stack.create_table(0, 2);
    stack.remove(-2);
    let entry = stack.top();
    stack.push_value(SUCCESS);
    stack.push_boolean(true);
    stack.raw_set(entry);
    if !stack.check(count + FEW) {
        return Err(Error::Memory);
    }
    coroutine.move_to(stack, count);
    set_results(stack, entry, count);
    Ok(())
}

/// As many slots as [`set_results`] needs.
const FEW: c_int = 4;

/// Pushes the entry of a task that succeeded.
fn push_success<'a>(stack: &Protected, decoder: &mut Decoder<'a>, message: &'a [u8]) -> Result<()> {
    let table = stack.new_table(0, 2);
    let entry = table.index();
    stack.push_value(SUCCESS);
    stack.push_boolean(true);
    table.raw_set();
    stack.push_value(DATA);
    if decode_scalars(stack, message)? == Some(1) {
        table.raw_set();
        return Ok(());
    }
    stack.set_top(entry);
    let count = decoder.message(stack, message)?;
    set_results(stack, entry, count);
    Ok(())
}

/// Moves the results on top, of this count, into their entry, above which they are.
fn set_results(stack: &Protected, entry: c_int, count: c_int) {
    if count > 0 {
        stack.push_value(DATA);
        stack.push_value(entry + 1);
        stack.raw_set(entry);
    }
    if count > 1 {
        stack.create_table(count, 1);
        for n in 1..=count {
            stack.push_value(entry + n);
            stack.raw_set_i(-2, n.into());
        }
        stack.push_integer(count.into());
        stack.raw_set_text(-2, "n");
        stack.raw_set_text(entry, "returns");
    }
    stack.set_top(entry);
}

/// Pushes the entry of a task that failed.
fn push_failure(stack: &Protected, failure: &Failure) {
    stack.create_table(0, 5);
    let entry = stack.top();
    stack.push_value(SUCCESS);
    stack.push_boolean(false);
    stack.raw_set(entry);
    stack.push_value(DATA);
    stack.push_bytes(b"Error: ");
    stack.push_bytes(&failure.message);
    stack.concat(2);
    stack.raw_set(entry);
    stack.push_bytes(failure.kind.name().as_bytes());
    stack.raw_set_text(entry, "kind");
    if !failure.traceback.is_empty() {
        stack.push_bytes(&failure.traceback);
        stack.raw_set_text(entry, "traceback");
    }
    if let Some(missing) = &failure.missing {
        // The hints take it out again.
        missing::set(stack, missing);
    }
}

/// Adds the error value of the task to the entry on top.
fn push_error_value<'a>(stack: &Protected, decoder: &mut Decoder<'a>, message: &'a [u8]) {
    let entry = stack.top();
    // A value that this state can't take is left out. Its text is in `data` anyway.
    let is_one = decoder.message(stack, message) == Ok(1);
    if is_one {
        stack.raw_set_text(entry, "error");
    }
    stack.set_top(entry);
}
