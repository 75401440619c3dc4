//! A state as it was when it was new.
//!
//! [`take`] notes every table that can be reached in a state without running anything: the globals, the
//! libraries, `package.loaded`, the metatables of strings and files, the registry. [`restore`] walks
//! them in the same order and compares; where a task changed one it is put back. What can't be put back
//! (a C library was loaded, the standard output was redirected) asks for a new state instead.
//!
//! Runs on the thread of the state, between tasks.

use std::ffi::c_int;

use crate::error::{Error, Result};
use crate::ffi::{Key, Stack, Type};

/// The registry's list of what was noted: a table, its metatable or false, and its keys and values,
/// three entries a table.
static NOTES: Key = Key::new();

/// How many tables were noted, and how many of the first can't be put back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    tables: i64,
    fixed: i64,
}

/// More new fields than this in one table, and a new state is the better start: a table never shrinks.
const WORTH_RESTORING: usize = 512;

/// Notes the state as it is. *Raises.*
pub fn take(stack: &Stack) -> Result<Snapshot> {
    let base = stack.top();
    // Empty while the registry itself is noted: the notes are not part of what they note.
    stack.create_table(128, 0);
    stack.registry_set(&NOTES);
    stack.create_table(128, 0);
    let notes = stack.top();
    stack.create_table(0, 64);
    let noted = stack.top();
    let mut tables = 0;

    stack.push_registry();
    note(stack, notes, noted, &mut tables);
    // Tables under addresses in the registry are the C libraries' own, the list of loaded ones among them.
    stack.push_registry();
    stack.push_nil();
    while stack.next(-2) {
        if stack.kind(-2) == Type::LightUserdata && stack.kind(-1) == Type::Table {
            note(stack, notes, noted, &mut tables);
        } else {
            stack.pop(1);
        }
    }
    stack.pop(1);
    let fixed = tables;

    stack.push_globals();
    note(stack, notes, noted, &mut tables);
    stack.push_bytes(b"");
    if stack.metatable(-1) {
        note(stack, notes, noted, &mut tables);
    }
    stack.pop(1);
    // What a noted table holds is noted in its turn.
    let mut next = 1;
    while next <= tables {
        if !stack.check(16) {
            return Err(Error::Memory);
        }
        stack.raw_get_i(notes, 3 * next);
        let fields = stack.top();
        for i in 1..=stack.raw_len(fields) as i64 {
            match stack.raw_get_i(fields, i) {
                Type::Table => note(stack, notes, noted, &mut tables),
                _ => {
                    if stack.metatable(-1) {
                        note(stack, notes, noted, &mut tables);
                    }
                    stack.pop(1);
                }
            }
        }
        if stack.raw_get_i(notes, 3 * next - 1) == Type::Table {
            note(stack, notes, noted, &mut tables);
        } else {
            stack.pop(1);
        }
        stack.pop(1);
        next += 1;
    }
    stack.set_top(notes);
    // The registry is noted with the placeholder under its key, whose value changes now: it is filled.
    stack.registry_get(&NOTES);
    for i in 1..=3 * tables {
        stack.raw_get_i(notes, i);
        stack.raw_set_i(-2, i);
    }
    stack.set_top(base);
    Ok(Snapshot { tables, fixed })
}

/// Notes the table on top, unless it is noted already or is the notes themselves, and pops it.
fn note(stack: &Stack, notes: c_int, noted: c_int, tables: &mut i64) {
    let table = stack.top();
    stack.push_value(table);
    let is_noted = stack.raw_get(noted) != Type::Nil;
    stack.registry_get(&NOTES);
    let is_ours = stack.raw_equal(-1, table);
    stack.pop(2);
    if is_noted || is_ours {
        stack.pop(1);
        return;
    }
    stack.push_value(table);
    stack.push_boolean(true);
    stack.raw_set(noted);

    *tables += 1;
    let first = 3 * (*tables - 1);
    stack.push_value(table);
    stack.raw_set_i(notes, first + 1);
    if !stack.metatable(table) {
        stack.push_boolean(false);
    }
    stack.raw_set_i(notes, first + 2);
    stack.create_table(0, 0);
    note_fields(stack, table, stack.top());
    stack.raw_set_i(notes, first + 3);
    stack.pop(1);
}

/// Lists a table's keys and values, in the order in which it gives them.
fn note_fields(stack: &Stack, table: c_int, fields: c_int) {
    let mut count = 0;
    stack.push_nil();
    while stack.next(table) {
        stack.push_value(-2);
        stack.raw_set_i(fields, count + 1);
        stack.raw_set_i(fields, count + 2);
        count += 2;
    }
}

/// Puts the state back to what was noted; false where that can't be done. *Raises.*
pub fn restore(stack: &Stack, snapshot: Snapshot) -> bool {
    let base = stack.top();
    stack.registry_get(&NOTES);
    let notes = stack.top();
    for n in 1..=snapshot.tables {
        stack.raw_get_i(notes, 3 * n - 2);
        let table = stack.top();
        stack.raw_get_i(notes, 3 * n);
        let fields = stack.top();
        let changes = compare(stack, table, fields);
        if changes != Changes::None && (n <= snapshot.fixed || changes == Changes::Many) {
            stack.set_top(base);
            return false;
        }
        if changes == Changes::Some {
            put_back(stack, table, fields);
        }
        stack.raw_get_i(notes, 3 * n - 1);
        let had = stack.kind(-1) == Type::Table;
        let has = stack.metatable(table);
        let is_same = if has { had && stack.raw_equal(-1, -2) } else { !had };
        if !is_same {
            stack.set_top(fields + 1);
            if !had {
                stack.pop(1);
                stack.push_nil();
            }
            stack.set_metatable(table);
        }
        stack.set_top(notes);
    }
    stack.set_top(base);
    true
}

#[derive(PartialEq, Eq)]
enum Changes {
    None,
    Some,
    Many,
}

/// Walks a table beside the list of what it held. An untouched table gives the same order again.
fn compare(stack: &Stack, table: c_int, fields: c_int) -> Changes {
    let noted = stack.raw_len(fields);
    let mut at = 0;
    let mut is_same = true;
    stack.push_nil();
    while stack.next(table) {
        if is_same {
            stack.raw_get_i(fields, at as i64 + 1);
            stack.raw_get_i(fields, at as i64 + 2);
            is_same = at < noted && stack.raw_equal(-2, -4) && stack.raw_equal(-1, -3);
            stack.pop(2);
        }
        at += 2;
        stack.pop(1);
        if at > noted + 2 * WORTH_RESTORING {
            stack.pop(1);
            return Changes::Many;
        }
    }
    if is_same && at == noted { Changes::None } else { Changes::Some }
}

/// Empties a table and fills it as it was.
fn put_back(stack: &Stack, table: c_int, fields: c_int) {
    stack.push_nil();
    while stack.next(table) {
        stack.pop(1);
        // Clearing a field is what `next` allows during a walk.
        stack.push_value(-1);
        stack.push_nil();
        stack.raw_set(table);
    }
    let count = stack.raw_len(fields) as i64;
    for i in (1..count).step_by(2) {
        stack.raw_get_i(fields, i);
        stack.raw_get_i(fields, i + 1);
        stack.raw_set(table);
    }
    // The order may be another one now.
    note_fields(stack, table, fields);
}
