//! Finds the globals that a line of a function reads.

use std::ops::Range;

use super::dump::{self, Function};
use super::instruction::{Action, Instruction};

/// A global that the code reads: its name, the line, and the number of the upvalue that holds the table of globals, from 1.
#[derive(Debug)]
pub struct Global {
    pub name: String,
    pub line: u32,
    pub upvalue: i32,
}

/// The globals that a dumped function reads, in the order of its code: all, or only those of a line, where the arguments of its
/// calls may be on other lines. None if the dump has no lines.
pub fn globals_of(dump: &[u8], only: Option<u32>) -> Vec<Global> {
    dump::read(dump).map(|function| read(&function, only)).unwrap_or_default()
}

fn read(function: &Function, only: Option<u32>) -> Vec<Global> {
    let arguments = only.map(|line| arguments_at(function, line)).unwrap_or_default();
    let mut found: Vec<Global> = Vec::new();
    for (at, (instruction, line)) in function.code.iter().zip(&function.lines).enumerate() {
        let is_wanted = only.is_none_or(|only| only == *line);
        if (is_wanted || arguments.iter().any(|range| range.contains(&at)))
            && let Some(global) = global(function, *instruction, *line)
            && !found.iter().any(|known| known.name == global.name)
        {
            found.push(global);
        }
    }
    found
}

/// For each call at the line, the instructions between the one that loads the function and the call.
fn arguments_at(function: &Function, line: u32) -> Vec<Range<usize>> {
    let code = &function.code;
    let calls = code.iter().enumerate().filter_map(|(at, instruction)| match instruction.action() {
        Action::Call { function: callee, .. } if function.lines.get(at) == Some(&line) => Some((at, callee)),
        _ => None,
    });
    let range = |(call, callee)| {
        let loads = |before: &Instruction| loaded_function(before.action()) == Some(callee);
        Some(code[..call].iter().rposition(loads)?..call)
    };
    calls.filter_map(range).collect()
}

/// The register that the instruction may load a function into.
fn loaded_function(action: Action) -> Option<usize> {
    match action {
        Action::Move { to, .. }
        | Action::GetUpvalue { to, .. }
        | Action::GetUpvalueField { to, .. }
        | Action::GetField { to, .. }
        | Action::GetMethod { to, .. }
        | Action::Closure { to, .. }
        | Action::Call { function: to, .. } => Some(to),
        _ => None,
    }
}

/// The global that the instruction reads.
fn global(function: &Function, instruction: Instruction, line: u32) -> Option<Global> {
    let Action::GetUpvalueField { upvalue, key: Some(key), .. } = instruction.action() else { return None };
    if function.upvalues.get(upvalue)?.name != Some(b"_ENV") {
        return None;
    }
    let name = String::from_utf8(function.text(key)?.to_vec()).ok()?;
    Some(Global { name, line, upvalue: upvalue as i32 + 1 })
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::bytecode::dump::dump_of;
    use crate::ffi::OwnState;

    fn names(code: &str, line: impl Into<Option<u32>>) -> String {
        let state = OwnState::new(usize::MAX).expect("a state");
        let dump = dump_of(&state.stack(), code).expect("code without a fault");
        let names: Vec<String> =
            globals_of(&dump, line.into()).into_iter().map(|global| global.name).collect();
        names.join(" ")
    }

    #[test]
    fn the_globals_of_a_line_are_found() {
        assert_eq!(names("return function()\nlocal a = A\nreturn B < a\nend", 2), "A");
        assert_eq!(names("return function()\nlocal a = A\nreturn B < a\nend", 3), "B");
        assert_eq!(names("return function()\nlocal a = A\nreturn B < a\nend", None), "A B");
        assert_eq!(names("return function() for _ in ipairs(LIST) do end end", 1), "ipairs LIST");
        assert_eq!(names("return function() return A, A.b, t[C], _ENV.D end", 1), "A t C D");
        assert_eq!(names("local up return function(a) A = 1 return up, a.b, up.c, 'text' end", 1), "");
        assert_eq!(names("return function() return function() return A end end", 1), "");
        assert_eq!(names("local _ENV = {} return function() return A end", 1), "A");
    }

    #[test]
    fn the_arguments_of_a_call_may_follow_on_other_lines() {
        let code = "return function()\nlocal x = OTHER\nfoo(\nA,\nbar(B))\nC()\nend";
        assert_eq!(names(code, 3), "foo A bar B");
        assert_eq!(names(code, 5), "bar B");
        assert_eq!(names(code, 6), "C");
    }
}
