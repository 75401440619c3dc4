//! Finds the arguments that several tasks of a job have, so that each is encoded once.
//!
//! Host side. Access is raw, and malformed tasks are skipped: [`crate::tasks`] refuses them.

use std::ffi::c_int;

use rustc_hash::FxHashMap;

use crate::codec::{Encoder, identity};
use crate::config::{Mode, WorkerCount};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack, Type};
use crate::pinned::PINNED_TEXT;

/// A search for tables and long texts that are arguments of several tasks.
pub struct Recurring {
    workers: WorkerCount,
    mode: Mode,
    /// What was found, by its address.
    seen: FxHashMap<usize, Seen>,
    /// The number of tasks that have each argument of several tasks.
    uses: Vec<usize>,
}

struct Seen {
    /// The last task that has it.
    task: i64,
    /// Its position, from 1, among the arguments of several tasks.
    position: Option<usize>,
}

/// The slots of the list of tasks, and of the names of the fields to look into.
pub struct Slots {
    pub list: c_int,
    pub func: c_int,
    pub args: c_int,
}

/// The bytes of messages that must be saved for each worker. With less, taking a snapshot takes longer than decoding each task's
/// own copy.
const LEAST_SAVED: usize = 2048;

/// Enough stack slots for a task, its arguments and a copy of one.
const SLOTS: c_int = 12;

impl Recurring {
    pub fn new(workers: WorkerCount, mode: Mode) -> Recurring {
        Recurring { workers, mode, seen: FxHashMap::default(), uses: Vec::new() }
    }

    /// Encodes those arguments of the tasks from number `first` to `last` that several of them have.
    pub fn encode(
        &mut self,
        stack: &Protected,
        slots: &Slots,
        (first, last): (i64, i64),
        encoder: &mut Encoder,
    ) -> Result<()> {
        if first >= last {
            return Ok(());
        }
        if !stack.check(SLOTS) {
            return Err(Error::Memory);
        }
        // From here on, no other value gets the address of one of these.
        encoder.hold_collector(stack);
        stack.create_table(0, 0);
        let found = stack.top();
        for task in first..=last {
            self.look_into(stack, slots, task, found)?;
            stack.set_top(found);
        }
        let tasks = last as usize;
        let mut saved = 0;
        for position in 1..=self.uses.len() {
            let uses = self.uses[position - 1];
            if self.pays(uses, tasks) {
                stack.raw_get_i(found, position as i64);
                if self.workers.of(tasks) == tasks && is_pinned_text(stack) {
                    // Each task can begin at once, and copies it from the host's state.
                    stack.pop(1);
                    continue;
                }
                saved += encoder.common_value(stack)? * (uses - 1);
            }
        }
        if saved < LEAST_SAVED * self.workers.of(tasks) {
            encoder.take_common();
        }
        stack.set_top(found - 1);
        Ok(())
    }

    fn look_into(&mut self, stack: &Protected, slots: &Slots, task: i64, found: c_int) -> Result<()> {
        if stack.raw_get_i(slots.list, task) != Type::Table {
            return Ok(());
        }
        stack.push_value(slots.func);
        // A callable table is an argument, too.
        if stack.raw_get(found + 1) == Type::Table {
            self.note(stack, task, found)?;
        }
        stack.push_value(slots.args);
        if stack.raw_get(found + 1) == Type::Table {
            let arguments = stack.table(stack.top());
            stack.push_nil();
            while arguments.next() {
                self.note(stack, task, found)?;
                stack.pop(1);
            }
        }
        Ok(())
    }

    /// Notes that a task has the value on top.
    fn note(&mut self, stack: &Protected, task: i64, found: c_int) -> Result<()> {
        let Some(identity) = identity(stack, -1) else { return Ok(()) };
        self.seen.try_reserve(1)?;
        let seen = self.seen.entry(identity).or_insert(Seen { task, position: None });
        if seen.task == task {
            return Ok(());
        }
        seen.task = task;
        if let Some(position) = seen.position {
            self.uses[position - 1] += 1;
            return Ok(());
        }
        self.uses.try_reserve(1)?;
        self.uses.push(2);
        seen.position = Some(self.uses.len());
        stack.push_value(-1);
        stack.raw_set_i(found, self.uses.len() as i64);
        Ok(())
    }

    /// Whether encoding an argument of `uses` of the `tasks` once takes less time than encoding it for each of them.
    ///
    /// Otherwise each of these tasks encodes and decodes it. Encoded once, each worker decodes it, and restores it after every
    /// task, which takes about a tenth of the time.
    fn pays(&self, uses: usize, tasks: usize) -> bool {
        const RESTORES: usize = 10;
        let workers = self.workers.of(tasks);
        match self.mode {
            // Each task has its own state, which gets all common arguments.
            Mode::Cmd => uses == tasks,
            Mode::Timer => RESTORES * (2 * uses - 1) > RESTORES * workers + tasks + workers,
        }
    }
}

/// Whether the value on top is a text that is pinned among arguments.
fn is_pinned_text(stack: &Stack) -> bool {
    stack.kind(-1) == Type::String && stack.raw_len(-1) >= PINNED_TEXT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_of_few_of_many_tasks_is_not_common() {
        let pays =
            |workers, uses, tasks| Recurring::new(WorkerCount(Some(workers)), Mode::Timer).pays(uses, tasks);
        for workers in [1, 2, 19, 256] {
            for tasks in [2, 3, 100, 20_000] {
                assert!(pays(workers, tasks, tasks), "{tasks} tasks, {workers} workers");
            }
        }
        assert!(pays(2, 10, 100));
        assert!(!pays(2, 2, 100));
        assert!(!pays(19, 5, 100));
        assert!(Recurring::new(WorkerCount(Some(2)), Mode::Cmd).pays(3, 3));
        assert!(!Recurring::new(WorkerCount(Some(2)), Mode::Cmd).pays(2, 3));
    }
}
