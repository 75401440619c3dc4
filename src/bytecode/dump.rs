//! Makes and reads dumped functions.
//!
//! Any bytes can be read. Those that stock Lua would not dump on this machine give none.

use super::instruction::Instruction;
use super::version::{self, read_count, read_text};
use crate::error::Result;
use crate::ffi::Stack;
use crate::reader::Reader;

/// Lua's own limit for functions inside of functions (`LUAI_MAXCCALLS`).
const MAX_DEPTH: usize = 200;

/// A function as dumped. A stripped one has no names and no lines.
#[derive(Debug)]
pub struct Function<'a> {
    /// How many of the first registers are parameters.
    pub parameters: u8,
    pub registers: u8,
    pub code: Vec<Instruction>,
    pub constants: Vec<Constant<'a>>,
    pub upvalues: Vec<Upvalue<'a>>,
    /// The functions inside of it, as the operand of `CLOSURE` numbers them.
    pub functions: Vec<Function<'a>>,
    /// The line of each instruction.
    pub lines: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Constant<'a> {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(&'a [u8]),
}

/// The place from which a new closure takes an upvalue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register of the function around it.
    Register(u8),
    /// An upvalue of the function around it, from 0.
    Upvalue(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Upvalue<'a> {
    pub source: Source,
    pub name: Option<&'a [u8]>,
}

impl Function<'_> {
    /// The text that is constant `index`.
    pub fn text(&self, index: usize) -> Option<&[u8]> {
        match self.constants.get(index) {
            Some(Constant::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Reads a dump.
pub fn read(dump: &[u8]) -> Option<Function<'_>> {
    let mut reader = Reader::new(dump);
    version::read_header(&mut reader)?;
    read_function(&mut reader, MAX_DEPTH)
}

/// The instructions of a dumped function, without those of the functions inside of it.
pub fn read_code(dump: &[u8]) -> Option<Vec<Instruction>> {
    let mut reader = Reader::new(dump);
    version::read_header(&mut reader)?;
    Some(read_start(&mut reader)?.code)
}

/// The part of a function up to its code.
struct Start {
    first_line: u32,
    parameters: u8,
    registers: u8,
    code: Vec<Instruction>,
}

fn read_start(reader: &mut Reader) -> Option<Start> {
    let _source = read_text(reader)?;
    let first_line = read_count(reader)?.try_into().ok()?;
    let _last_line = read_count(reader)?;
    let parameters = reader.byte()?;
    let _is_vararg = reader.byte()?;
    let registers = reader.byte()?;
    let code = read_code_of(reader)?;
    Some(Start { first_line, parameters, registers, code })
}

/// A function, in which others may be nested `depth` deep.
fn read_function<'a>(reader: &mut Reader<'a>, depth: usize) -> Option<Function<'a>> {
    let Start { first_line, parameters, registers, code } = read_start(reader)?;
    let constants = read_list(reader, version::read_constant)?;
    let mut upvalues = read_list(reader, read_upvalue)?;
    let depth = depth.checked_sub(1)?;
    let functions = read_list(reader, |reader| read_function(reader, depth))?;
    let lines = version::read_lines(reader, first_line)?;
    let _locals = read_list(reader, |reader| {
        read_text(reader)?;
        let _from = read_count(reader)?;
        read_count(reader)
    })?;
    let names = read_list(reader, read_text)?;
    for (upvalue, name) in upvalues.iter_mut().zip(names) {
        upvalue.name = name;
    }
    Some(Function { parameters, registers, code, constants, upvalues, functions, lines })
}

/// A count and that many items. Grows with the items that are there, since any count may be claimed.
fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = read_count(reader)?;
    (0..count).map(|_| read(reader)).collect()
}

fn read_code_of(reader: &mut Reader) -> Option<Vec<Instruction>> {
    let count = read_count(reader)?;
    let bytes = reader.slice(count.checked_mul(size_of::<u32>())?)?;
    let word = |word: &[u8]| Instruction(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    Some(bytes.chunks_exact(4).map(word).collect())
}

fn read_upvalue<'a>(reader: &mut Reader<'a>) -> Option<Upvalue<'a>> {
    let source = match (reader.byte()?, reader.byte()?) {
        (0, index) => Source::Upvalue(index),
        (_, register) => Source::Register(register),
    };
    reader.slice(version::UPVALUE_REST)?;
    Some(Upvalue { source, name: None })
}

/// The dump of the function that a chunk returns.
pub fn dump_of(stack: &Stack, code: &str) -> Result<Vec<u8>> {
    let mut dump = Vec::new();
    let out = &mut dump;
    stack.protected(0, |stack| {
        stack.load(code.as_bytes(), c"=code")?;
        stack.call(0, 1);
        stack.dump(out)?;
        stack.set_top(0);
        Ok(())
    })?;
    Ok(dump)
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::bytecode::instruction::Action;
    use crate::ffi::OwnState;

    const NESTED: &str = "local up, other = 1, 2\n\
        return function(a, ...)\n\
          local t = { 1.5, 'text', 7000000, true, nil }\n\
          return function() up = other + a return ('x'):rep(300), print end, function() return t end\n\
        end";

    fn dump(code: &str) -> Vec<u8> {
        let state = OwnState::new(usize::MAX).expect("a state");
        dump_of(&state.stack(), code).expect("code without a fault")
    }

    #[test]
    fn all_parts_of_a_function_are_read() {
        let dump = dump(NESTED);
        let function = read(&dump).expect("a dump");
        assert_eq!(function.parameters, 1);
        assert_eq!(function.code.len(), function.lines.len());
        assert_eq!((function.lines.get(1), function.lines.last()), (Some(&3), Some(&5)));
        assert_eq!(
            function.constants,
            [Constant::Float(1.5), Constant::Text(b"text"), Constant::Integer(7_000_000)]
        );
        assert_eq!(function.code.last().map(|last| last.action()), Some(Action::Return));
        assert_eq!(read_code(&dump).as_ref(), Some(&function.code));
        let names = |function: &Function| {
            let name =
                |upvalue: &Upvalue| String::from_utf8_lossy(upvalue.name.unwrap_or_default()).into_owned();
            function.upvalues.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&function), ["up", "other", "_ENV"]);
        let [inner, second] = &function.functions[..] else { panic!("two functions inside") };
        assert_eq!(names(inner), ["up", "other", "a", "_ENV"]);
        assert_eq!(inner.upvalues[2].source, Source::Register(0));
        assert_eq!(inner.upvalues[1].source, Source::Upvalue(1));
        assert_eq!(second.upvalues[0].source, Source::Register(1));
        assert_eq!(inner.text(3).or(inner.text(2)), Some(&b"print"[..]));
    }

    #[test]
    fn the_lines_of_a_long_function_are_read() {
        let code =
            format!("return function(a)\n{}a = 1\na = 2\n{}end", "\n".repeat(500), "a = 3\n".repeat(500));
        let lines = read(&dump(&code)).expect("a dump").lines;
        let expected: Vec<u32> = (502..1004).chain([1004]).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn functions_nested_as_deep_as_lua_allows_are_read() {
        let nested =
            |depth: usize| format!("return {} {}", "function() return ".repeat(depth), "end ".repeat(depth));
        let state = OwnState::new(usize::MAX).expect("a state");
        let deepest = (1..300).rev().find_map(|depth| dump_of(&state.stack(), &nested(depth)).ok());
        assert!(read(&deepest.expect("a depth that Lua accepts")).is_some());
    }

    #[test]
    fn bytes_that_are_not_a_dump_are_refused() {
        let dump = dump(NESTED);
        for length in 0..dump.len() {
            assert!(read(&dump[..length]).is_none(), "{length}");
        }
        assert!(read(b"\x1bLua\x51").is_none());
    }

    #[test]
    fn changed_bytes_are_read_or_refused_and_never_panic() {
        let whole = dump(NESTED);
        for at in 0..whole.len() {
            for value in [0, 1, 4, 0x7f, 0x80, 0xfe, 0xff, whole[at] ^ 1, whole[at] ^ 0x40] {
                let mut changed = whole.clone();
                changed[at] = value;
                drop(read(&changed));
            }
        }
    }
}
