//! A table's plain fields as text, for an error value that is a table: `{ code = 42, message = "no such fixture" }`.
//!
//! The cooperative backend has the same in `lua/cooperative/fields.lua`. The items of the list come first, then the fields in
//! the order of their keys. `...` stands for what is left out: values that are not plain, and what is too much or too deep.

use std::cmp::Ordering;
use std::ffi::c_int;

use crate::error::Error;
use crate::ffi::{NativeResult, Protected, Stack, Type};

/// The most items, and the most other fields, that are shown of one table.
const FIELDS: c_int = 16;

/// The most tables inside each other that are shown.
const DEPTH: c_int = 3;

/// The most bytes that are shown of one string.
const LONGEST: usize = 100;

/// No field begins beyond this many bytes.
const TOTAL: usize = 500;

const CUT: &[u8] = b"...";

/// `fields(value)`: the text, if the value is a table without `__tostring`.
pub fn fields(stack: &Protected) -> NativeResult {
    stack.set_top(1);
    let mut text = Vec::new();
    let out = &mut text;
    stack.protected(1, |stack| {
        if stack.kind(1) == Type::Table && !speaks(stack, 1) {
            append(stack, 1, out);
            stack.push_bytes(out);
        } else {
            stack.push_nil();
        }
        stack.replace(1);
        stack.set_top(1);
        Ok(())
    })?;
    Ok(1)
}

/// Appends the text of an error value: of a table without `__tostring` its plain fields, else what `tostring` returns.
pub fn append_text_of(stack: &Protected, index: c_int, out: &mut Vec<u8>) {
    let index = stack.absolute(index);
    if stack.kind(index) == Type::Table && !speaks(stack, index) {
        append(stack, index, out);
    } else {
        stack.push_text_of(index);
        stack.with_bytes(-1, |text| out.extend_from_slice(text));
        stack.pop(1);
    }
}

/// The text of an error value whose `__tostring` failed.
pub fn text_of_failure(cause: &Error) -> Vec<u8> {
    let mut text = b"error in the __tostring of the error: ".to_vec();
    text.extend_from_slice(&cause.text());
    text
}

/// Whether `tostring` calls a function of the table's own.
fn speaks(stack: &Protected, table: c_int) -> bool {
    if !stack.metatable(table) {
        return false;
    }
    let kind = stack.raw_get_text(-1, "__tostring");
    stack.pop(2);
    kind != Type::Nil
}

/// Appends the fields of the table at an index.
fn append(stack: &Protected, table: c_int, out: &mut Vec<u8>) {
    if stack.metatable(table) {
        if stack.raw_get_text(-1, "__name") == Type::String {
            stack.with_bytes(-1, |name| out.extend_from_slice(name));
            out.extend_from_slice(b": ");
        }
        stack.pop(2);
    }
    append_table(stack, table, DEPTH, out);
}

/// Appends a table in which so many levels of tables are shown. Takes no memory of the state.
fn append_table(stack: &Stack, table: c_int, depth: c_int, out: &mut Vec<u8>) {
    const SLOTS: c_int = FIELDS + 8;
    if depth == 0 || !stack.check(SLOTS) {
        out.extend_from_slice(b"{ ... }");
        return;
    }
    let table = stack.absolute(table);
    let base = stack.top();
    let begin = out.len();
    let separator = |out: &mut Vec<u8>| {
        let text: &[u8] = if out.len() == begin { b"{ " } else { b", " };
        out.extend_from_slice(text);
    };
    let length = length(stack, table);
    let shown = length.min(FIELDS.into());
    let mut is_cut = length > shown;
    for n in 1..=shown {
        is_cut |= out.len() > TOTAL;
        if out.len() <= TOTAL {
            separator(out);
            stack.raw_get_i(table, n);
            append_value(stack, depth, out);
            stack.pop(1);
        }
    }
    let (count, is_complete) = push_first_keys(stack, table, length);
    is_cut |= !is_complete;
    for key in base + 1..=base + count {
        is_cut |= out.len() > TOTAL;
        if out.len() <= TOTAL {
            separator(out);
            append_key(stack, key, out);
            stack.push_value(key);
            stack.raw_get(table);
            append_value(stack, depth, out);
            stack.pop(1);
        }
    }
    stack.set_top(base);
    if is_cut {
        separator(out);
        out.extend_from_slice(CUT);
    }
    out.extend_from_slice(if out.len() == begin { b"{}" } else { b" }" });
}

/// How many items the table has from 1 up, without a gap.
fn length(stack: &Stack, table: c_int) -> i64 {
    let mut length = 0;
    loop {
        let kind = stack.raw_get_i(table, length + 1);
        stack.pop(1);
        if kind == Type::Nil {
            return length;
        }
        length += 1;
    }
}

/// Pushes the first keys in their order, which follow the list of that length, and as many nils as are missing. Returns how
/// many keys there are, and whether these are all fields.
fn push_first_keys(stack: &Stack, table: c_int, length: i64) -> (c_int, bool) {
    let first = stack.top() + 1;
    stack.set_top(first + FIELDS - 1);
    let (mut count, mut is_complete) = (0, true);
    stack.push_nil();
    while stack.next(table) {
        let is_shown = is_shown(stack.kind(-1));
        stack.pop(1);
        let key = stack.top();
        if stack.whole(key).is_some_and(|n| (1..=length).contains(&n)) {
            continue;
        }
        if !is_shown || !stack.kind(key).is_scalar() {
            is_complete = false;
            continue;
        }
        let end = first + count;
        let at = (first..end).rev().take_while(|slot| compare(stack, key, *slot) == Ordering::Less).last();
        let at = at.unwrap_or(end);
        if count < FIELDS {
            count += 1;
        } else {
            is_complete = false;
        }
        for slot in (at + 1..first + count).rev() {
            stack.push_value(slot - 1);
            stack.replace(slot);
        }
        if at < first + count {
            stack.push_value(key);
            stack.replace(at);
        }
    }
    (count, is_complete)
}

fn is_shown(kind: Type) -> bool {
    kind.is_scalar() || kind == Type::Table
}

/// The order of two keys: numbers, then strings, then booleans.
fn compare(stack: &Stack, a: c_int, b: c_int) -> Ordering {
    let rank = |key| match stack.kind(key) {
        Type::Number => 0,
        Type::String => 1,
        _ => 2,
    };
    rank(a).cmp(&rank(b)).then_with(|| match stack.kind(a) {
        Type::Number => match (stack.whole(a), stack.whole(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => stack.number(a).partial_cmp(&stack.number(b)).unwrap_or(Ordering::Equal),
        },
        Type::String => stack.bytes(a).cmp(&stack.bytes(b)),
        _ => stack.boolean(a).cmp(&stack.boolean(b)),
    })
}

/// Appends a key and its equals sign.
fn append_key(stack: &Stack, key: c_int, out: &mut Vec<u8>) {
    let is_name = |text: &[u8]| {
        text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            && text.first().is_some_and(|byte| !byte.is_ascii_digit())
            && text.len() <= LONGEST
    };
    if stack.with_bytes(key, is_name) {
        stack.with_bytes(key, |name| out.extend_from_slice(name));
    } else {
        out.push(b'[');
        append_scalar(stack, key, out);
        out.push(b']');
    }
    out.extend_from_slice(b" = ");
}

/// Appends the value on top, in a table at which so many levels are shown.
fn append_value(stack: &Stack, depth: c_int, out: &mut Vec<u8>) {
    match stack.kind(-1) {
        Type::Table => append_table(stack, -1, depth - 1, out),
        kind if kind.is_scalar() => append_scalar(stack, -1, out),
        _ => out.extend_from_slice(CUT),
    }
}

fn append_scalar(stack: &Stack, index: c_int, out: &mut Vec<u8>) {
    match stack.kind(index) {
        Type::String => stack.with_bytes(index, |text| append_quoted(text, out)),
        Type::Boolean => out.extend_from_slice(stack.boolean(index).to_string().as_bytes()),
        _ => match (stack.whole(index), stack.number(index)) {
            (Some(number), _) => out.extend_from_slice(number.to_string().as_bytes()),
            (None, number) => out.extend_from_slice(format_float(number.unwrap_or(f64::NAN)).as_bytes()),
        },
    }
}

fn append_quoted(text: &[u8], out: &mut Vec<u8>) {
    let is_cut = text.len() > LONGEST;
    let mut end = text.len().min(LONGEST);
    // A character of UTF-8 is not cut.
    while is_cut && end > LONGEST - 3 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    out.push(b'"');
    for byte in &text[..end] {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\{byte:03}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.extend_from_slice(if is_cut { b"...\"" } else { b"\"" });
}

/// A float as `tostring` shows it: with 14 digits, and with a decimal point.
fn format_float(number: f64) -> String {
    const DIGITS: i32 = 14;
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    } else if number.is_infinite() {
        return if number < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let rounded = format!("{:.*e}", DIGITS as usize - 1, number);
    let (digits, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let text = trim(&format!("{:.*}", (DIGITS - 1 - exponent) as usize, number));
        return if exponent >= 0 && !text.contains('.') { text + ".0" } else { text };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(digits), exponent.abs())
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::ffi::OwnState;

    #[test]
    fn a_float_looks_as_lua_shows_it() {
        let state = OwnState::new(usize::MAX).expect("a state");
        let stack = state.unprotected();
        for number in [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            1e13,
            1e14,
            123456789012345.0,
            1e15,
            1e100,
            -1e-4,
            1e-5,
            1.25e-7,
            5e-324,
            f64::MAX,
            f64::MIN_POSITIVE,
            1.0 / 3.0,
            99999999999999.96,
            0.000123456789012345,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            -f64::NAN,
            2.5e14,
        ] {
            stack.push_number(number);
            stack.push_text_of(-1);
            assert_eq!(format_float(number), stack.text(-1), "{number:e}");
            stack.set_top(0);
        }
    }
}
