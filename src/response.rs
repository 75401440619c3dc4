//! Merges a job's outcomes into its response, in the order of the list of tasks. Host side.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::codec::{Decoder, decode_scalars};
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Protected, Stack, Type};
use crate::host::HostNames;
use crate::job::Job;
use crate::lane::{Failure, Lane};
use crate::missing;

/// The slots of the two lists that [`merge`] fills, and of the names of two fields that every entry has.
const RESULT: c_int = 1;
const FAILED: c_int = 2;
const SUCCESS: c_int = 3;
const DATA: c_int = 4;

/// Adds the outcomes so far to the list of results and the list of the failed tasks' indices, which are the top two
/// values. After an error, both lists are unchanged, and the outcomes can be merged again.
pub fn merge(stack: &Stack, job: &Job, names: &HostNames) -> Result<()> {
    fault::point("collect")?;
    let lanes = job.take_outcomes();
    let _span = job.trace.as_ref().map(|trace| trace.host("merge results"));
    let failed = stack.top();
    let failures = stack.raw_len(failed);
    if !stack.check(2) {
        job.give_back_outcomes(lanes);
        return Err(Error::Memory);
    }
    stack.push_value(failed - 1);
    stack.push_value(failed);
    let merged = merge_lanes(stack, &lanes, names);
    stack.set_top(failed);
    if merged.is_err() {
        for n in failures + 1..=stack.raw_len(failed) {
            stack.push_integer(n as i64);
            stack.push_nil();
            stack.raw_set_existing(failed);
        }
        job.give_back_outcomes(lanes);
    }
    merged
}

/// Merges the lanes into the two lists on top.
fn merge_lanes(stack: &Stack, lanes: &[Lane], names: &HostNames) -> Result<()> {
    let mut decoder = Decoder::new(names);
    let mut unsendable = Vec::new();
    let size = lanes.iter().map(Lane::size).sum();
    stack.with_collector_paused_on_host(size, 2, |stack| {
        let (result, failed_tasks) = (stack.table(RESULT), stack.table(FAILED));
        stack.push_bytes(b"success");
        stack.push_bytes(b"data");
        let mut failures = stack.raw_len(FAILED) as i64;
        for lane in lanes {
            for (index, outcome) in lane.outcomes() {
                let failed = match outcome {
                    Ok(message) => match push_guarded(stack, &mut decoder, message) {
                        Ok(()) => None,
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
    let was_noted = job.note_order()?;
    merge(stack, job, names)?;
    if !was_noted {
        let result = stack.top() - 1;
        job.note_earlier(|index| {
            let has_ended = stack.raw_get_i(result, index as i64 + 1) != Type::Nil;
            stack.pop(1);
            has_ended
        })?;
    }
    Ok(())
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
    merge(stack, job, names)?;
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

/// Like [`push_success`], but a panic becomes an error, which fails only this entry.
fn push_guarded<'a>(stack: &Protected, decoder: &mut Decoder<'a>, message: &'a [u8]) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| push_success(stack, decoder, message)))
        .unwrap_or_else(|payload| Err(Error::panic(payload)))
}

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
    Ok(())
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
