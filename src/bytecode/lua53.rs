//! Bytecode of Lua 5.3: its instructions (`lopcodes.h`) and how it dumps them (`ldump.c`).

use super::dump::Constant;
use super::instruction::{Action, Flow, Instruction};
use crate::reader::Reader;

/// The opcodes that this crate distinguishes.
pub mod op {
    pub const MOVE: u32 = 0;
    pub const LOADK: u32 = 1;
    pub const LOADKX: u32 = 2;
    pub const LOADBOOL: u32 = 3;
    pub const LOADNIL: u32 = 4;
    pub const GETUPVAL: u32 = 5;
    pub const GETTABUP: u32 = 6;
    pub const GETTABLE: u32 = 7;
    pub const SETTABUP: u32 = 8;
    pub const SETUPVAL: u32 = 9;
    pub const SETTABLE: u32 = 10;
    pub const NEWTABLE: u32 = 11;
    pub const SELF: u32 = 12;
    pub const ADD: u32 = 13;
    pub const CONCAT: u32 = 29;
    pub const JMP: u32 = 30;
    pub const EQ: u32 = 31;
    pub const TEST: u32 = 34;
    pub const TESTSET: u32 = 35;
    pub const CALL: u32 = 36;
    pub const TAILCALL: u32 = 37;
    pub const RETURN: u32 = 38;
    pub const FORLOOP: u32 = 39;
    pub const FORPREP: u32 = 40;
    pub const TFORCALL: u32 = 41;
    pub const TFORLOOP: u32 = 42;
    pub const SETLIST: u32 = 43;
    pub const CLOSURE: u32 = 44;
    pub const VARARG: u32 = 45;
    pub const EXTRAARG: u32 = 46;
}

impl Instruction {
    fn op(self) -> u32 {
        self.0 & 0x3f
    }

    fn a(self) -> usize {
        (self.0 >> 6 & 0xff) as usize
    }

    fn b(self) -> usize {
        (self.0 >> 23) as usize
    }

    fn c(self) -> usize {
        (self.0 >> 14 & 0x1ff) as usize
    }

    /// The operand that takes the place of `b` and `c` in some instructions.
    fn bx(self) -> usize {
        (self.0 >> 14) as usize
    }

    /// The distance of a jump, counted from the next instruction.
    fn distance(self) -> isize {
        (self.0 >> 14) as isize - 0x1_ffff
    }

    pub fn action(self) -> Action {
        // An operand is a register, or a constant.
        let constant = |operand: usize| operand.checked_sub(0x100);
        let (a, b, c) = (self.a(), self.b(), self.c());
        match self.op() {
            op::MOVE => Action::Move { to: a, from: b },
            op::LOADK | op::LOADKX | op::LOADBOOL | op::ADD..=op::CONCAT => Action::Compute { to: a },
            op::LOADNIL => Action::Clear { from: a, count: b + 1 },
            op::GETUPVAL => Action::GetUpvalue { to: a, upvalue: b },
            op::GETTABUP => Action::GetUpvalueField { to: a, upvalue: b, key: constant(c) },
            op::GETTABLE => Action::GetField { to: a, table: b, key: constant(c) },
            op::SETTABUP => Action::SetUpvalueField { upvalue: a, key: constant(b) },
            op::SETUPVAL => Action::SetUpvalue { upvalue: b },
            op::SETTABLE => Action::SetField { table: a, key: constant(b) },
            op::NEWTABLE => Action::NewTable { to: a },
            op::SELF => Action::GetMethod { to: a, object: b, key: constant(c) },
            op::JMP => Action::Jump,
            op::EQ..=op::TEST => Action::Test,
            op::TESTSET => Action::TestSet { to: a, from: b },
            op::CALL | op::TAILCALL => {
                Action::Call { function: a, arguments: b.checked_sub(1), results: c.checked_sub(1) }
            }
            op::RETURN => Action::Return,
            op::FORLOOP | op::FORPREP => Action::Count { first: a, registers: 4 },
            op::TFORCALL => Action::Iterate { iterator: a, to: a + 3, results: c },
            op::TFORLOOP => Action::NextTurn { control: a, from: a + 1 },
            op::SETLIST => Action::SetList { table: a },
            op::CLOSURE => Action::Closure { to: a, function: self.bx() },
            op::VARARG => Action::Varargs { from: a },
            op::EXTRAARG => Action::Nothing,
            _ => Action::Other { to: a },
        }
    }

    /// Where execution may continue after this instruction, which is at `at`.
    pub fn flow(self, at: usize) -> Flow {
        match self.op() {
            op::JMP | op::FORPREP => Flow::jump(at, self.distance()),
            op::FORLOOP | op::TFORLOOP => Flow::branch(at, self.distance()),
            op::EQ..=op::TESTSET => Flow::branch(at, 1),
            op::LOADBOOL if self.c() != 0 => Flow::jump(at, 1),
            op::RETURN => Flow::NONE,
            _ => Flow::NEXT,
        }
    }
}

/// Reads the header of a dump.
pub fn read_header(reader: &mut Reader) -> Option<()> {
    const HEADER: &[u8] = b"\x1bLua\x53\x00\x19\x93\r\n\x1a\n";
    const SIZES: [u8; 5] = [
        size_of::<i32>() as u8,
        size_of::<usize>() as u8,
        size_of::<u32>() as u8,
        size_of::<i64>() as u8,
        size_of::<f64>() as u8,
    ];
    // Lua writes these two numbers to tell how it writes numbers.
    const INTEGER: u64 = 0x5678;
    const FLOAT: f64 = 370.5;

    let is_known = reader.slice(HEADER.len())? == HEADER
        && reader.slice(SIZES.len())? == SIZES
        && reader.u64()? == INTEGER
        && reader.u64()? == FLOAT.to_bits();
    let _upvalues = reader.byte()?;
    is_known.then_some(())
}

/// A count of items, or the number of a line.
pub fn read_count(reader: &mut Reader) -> Option<usize> {
    reader.u32().map(|count| count as usize)
}

/// A text; the inner none stands for a missing one.
pub fn read_text<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    // The length plus one, in one byte if it fits.
    let length = match reader.byte()? {
        0xff => usize::from_ne_bytes(reader.array()?),
        length => length.into(),
    };
    match length.checked_sub(1) {
        Some(length) => reader.slice(length).map(Some),
        None => Some(None),
    }
}

pub fn read_constant<'a>(reader: &mut Reader<'a>) -> Option<Constant<'a>> {
    Some(match reader.byte()? {
        0 => Constant::Nil,
        1 => Constant::Boolean(reader.byte()? != 0),
        3 => Constant::Float(f64::from_bits(reader.u64()?)),
        0x13 => Constant::Integer(reader.u64()?.cast_signed()),
        4 | 0x14 => Constant::Text(read_text(reader)??),
        _ => return None,
    })
}

/// How many bytes an upvalue has behind its source.
pub const UPVALUE_REST: usize = 0;

/// The lines of the instructions. `_first` is the line in which the function begins.
pub fn read_lines(reader: &mut Reader, _first: u32) -> Option<Vec<u32>> {
    let count = read_count(reader)?;
    let bytes = reader.slice(count.checked_mul(size_of::<u32>())?)?;
    Some(bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

#[cfg(all(test, feature = "linked"))]
pub mod test {
    use super::op;

    /// The bits of an instruction that are its opcode.
    pub const OPCODE: u32 = 0x3f;

    pub const LAST: u32 = op::EXTRAARG;

    /// The opcodes that take part in a judgement.
    pub const TOLD_APART: &[u32] = &[
        op::MOVE,
        op::GETUPVAL,
        op::GETTABUP,
        op::GETTABLE,
        op::SETTABUP,
        op::SETUPVAL,
        op::SETTABLE,
        op::SELF,
        op::JMP,
        op::TEST,
        op::TESTSET,
        op::CALL,
        op::RETURN,
        op::FORLOOP,
        op::TFORCALL,
        op::TFORLOOP,
        op::CLOSURE,
    ];

    /// Whether it makes no difference to a judgement if two opcodes are swapped.
    pub fn are_alike(one: u32, other: u32) -> bool {
        one == other
            || (op::EQ..=op::TEST).contains(&one) && (op::EQ..=op::TEST).contains(&other)
            || (one, other) == (op::CALL, op::TAILCALL)
    }
}
