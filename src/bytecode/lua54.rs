//! Bytecode of Lua 5.4: its instructions (`lopcodes.h`) and how it dumps them (`ldump.c`).

use super::dump::Constant;
use super::instruction::{Action, Flow, Instruction};
use crate::reader::Reader;

/// The opcodes that this crate distinguishes.
pub mod op {
    pub const MOVE: u32 = 0;
    pub const LOADI: u32 = 1;
    pub const LFALSESKIP: u32 = 6;
    pub const LOADTRUE: u32 = 7;
    pub const LOADNIL: u32 = 8;
    pub const GETUPVAL: u32 = 9;
    pub const SETUPVAL: u32 = 10;
    pub const GETTABUP: u32 = 11;
    pub const GETTABLE: u32 = 12;
    pub const GETI: u32 = 13;
    pub const GETFIELD: u32 = 14;
    pub const SETTABUP: u32 = 15;
    pub const SETTABLE: u32 = 16;
    pub const SETI: u32 = 17;
    pub const SETFIELD: u32 = 18;
    pub const NEWTABLE: u32 = 19;
    pub const SELF: u32 = 20;
    pub const ADDI: u32 = 21;
    pub const SHR: u32 = 45;
    pub const MMBIN: u32 = 46;
    pub const MMBINK: u32 = 48;
    pub const UNM: u32 = 49;
    pub const CONCAT: u32 = 53;
    pub const JMP: u32 = 56;
    pub const EQ: u32 = 57;
    pub const TEST: u32 = 66;
    pub const TESTSET: u32 = 67;
    pub const CALL: u32 = 68;
    pub const TAILCALL: u32 = 69;
    pub const RETURN: u32 = 70;
    pub const RETURN1: u32 = 72;
    pub const FORLOOP: u32 = 73;
    pub const FORPREP: u32 = 74;
    pub const TFORPREP: u32 = 75;
    pub const TFORCALL: u32 = 76;
    pub const TFORLOOP: u32 = 77;
    pub const SETLIST: u32 = 78;
    pub const CLOSURE: u32 = 79;
    pub const VARARG: u32 = 80;
    pub const VARARGPREP: u32 = 81;
    pub const EXTRAARG: u32 = 82;
}

impl Instruction {
    fn op(self) -> u32 {
        self.0 & 0x7f
    }

    fn a(self) -> usize {
        (self.0 >> 7 & 0xff) as usize
    }

    /// Whether an operand is a constant, in some instructions.
    fn k(self) -> bool {
        self.0 >> 15 & 1 != 0
    }

    fn b(self) -> usize {
        (self.0 >> 16 & 0xff) as usize
    }

    fn c(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// The operand that takes the place of `k`, `b` and `c` in some instructions.
    fn bx(self) -> usize {
        (self.0 >> 15) as usize
    }

    /// The distance of a jump, counted from the next instruction.
    fn distance(self) -> isize {
        (self.0 >> 7) as isize - 0xff_ffff
    }

    pub fn action(self) -> Action {
        let (a, b, c) = (self.a(), self.b(), self.c());
        match self.op() {
            op::MOVE => Action::Move { to: a, from: b },
            op::LOADI..=op::LOADTRUE | op::ADDI..=op::SHR | op::UNM..=op::CONCAT => Action::Compute { to: a },
            op::LOADNIL => Action::Clear { from: a, count: b + 1 },
            op::GETUPVAL => Action::GetUpvalue { to: a, upvalue: b },
            op::SETUPVAL => Action::SetUpvalue { upvalue: b },
            op::GETTABUP => Action::GetUpvalueField { to: a, upvalue: b, key: Some(c) },
            op::GETTABLE | op::GETI => Action::GetField { to: a, table: b, key: None },
            op::GETFIELD => Action::GetField { to: a, table: b, key: Some(c) },
            op::SETTABUP => Action::SetUpvalueField { upvalue: a, key: Some(b) },
            op::SETTABLE | op::SETI => Action::SetField { table: a, key: None },
            op::SETFIELD => Action::SetField { table: a, key: Some(b) },
            op::NEWTABLE => Action::NewTable { to: a },
            op::SELF => Action::GetMethod { to: a, object: b, key: self.k().then_some(c) },
            op::JMP | op::TFORPREP => Action::Jump,
            op::EQ..=op::TEST => Action::Test,
            op::TESTSET => Action::TestSet { to: a, from: b },
            op::CALL => Action::Call { function: a, arguments: b.checked_sub(1), results: c.checked_sub(1) },
            op::TAILCALL => Action::Call { function: a, arguments: b.checked_sub(1), results: None },
            op::RETURN..=op::RETURN1 => Action::Return,
            op::FORLOOP | op::FORPREP => Action::Count { first: a, registers: 4 },
            op::TFORCALL => Action::Iterate { iterator: a, to: a + 4, results: c },
            op::TFORLOOP => Action::NextTurn { control: a + 2, from: a + 4 },
            op::SETLIST => Action::SetList { table: a },
            op::CLOSURE => Action::Closure { to: a, function: self.bx() },
            op::VARARG => Action::Varargs { from: a },
            // The operator before it has skipped it, or its operands have a metamethod: then this sets the register that the
            // operator has named. A state has no metamethods in code but those of texts, where the proofs need that.
            op::MMBIN..=op::MMBINK | op::VARARGPREP | op::EXTRAARG => Action::Nothing,
            // Among them: a variable is marked to be closed, or closed.
            _ => Action::Other { to: a },
        }
    }

    /// Where execution may continue after this instruction, which is at `at`.
    pub fn flow(self, at: usize) -> Flow {
        match self.op() {
            op::JMP => Flow::jump(at, self.distance()),
            op::TFORPREP => Flow::jump(at, self.bx() as isize),
            op::FORPREP => Flow::branch(at, self.bx() as isize + 1),
            op::FORLOOP | op::TFORLOOP => Flow::branch(at, -(self.bx() as isize)),
            op::EQ..=op::TESTSET => Flow::branch(at, 1),
            op::LFALSESKIP => Flow::jump(at, 1),
            op::RETURN..=op::RETURN1 => Flow::NONE,
            _ => Flow::NEXT,
        }
    }
}

/// Reads the header of a dump.
pub fn read_header(reader: &mut Reader) -> Option<()> {
    const HEADER: &[u8] = b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n";
    const SIZES: [u8; 3] = [size_of::<u32>() as u8, size_of::<i64>() as u8, size_of::<f64>() as u8];
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

/// A count of items, or the number of a line: seven bits in each byte, the highest first. The last byte is marked.
pub fn read_count(reader: &mut Reader) -> Option<usize> {
    let mut value = 0_usize;
    loop {
        let byte = reader.byte()?;
        value = value.checked_mul(0x80)? | usize::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            return Some(value);
        }
    }
}

/// A text; the inner none stands for a missing one.
pub fn read_text<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    // The length plus one.
    match read_count(reader)?.checked_sub(1) {
        Some(length) => reader.slice(length).map(Some),
        None => Some(None),
    }
}

pub fn read_constant<'a>(reader: &mut Reader<'a>) -> Option<Constant<'a>> {
    Some(match reader.byte()? {
        0 => Constant::Nil,
        1 => Constant::Boolean(false),
        0x11 => Constant::Boolean(true),
        3 => Constant::Integer(reader.u64()?.cast_signed()),
        0x13 => Constant::Float(f64::from_bits(reader.u64()?)),
        4 | 0x14 => Constant::Text(read_text(reader)??),
        _ => return None,
    })
}

/// How many bytes an upvalue has behind its source: its kind.
pub const UPVALUE_REST: usize = 1;

/// The lines of the instructions. `first` is the line in which the function begins.
pub fn read_lines(reader: &mut Reader, first: u32) -> Option<Vec<u32>> {
    /// The difference that stands for a line which is listed on its own.
    const LISTED: i8 = i8::MIN;

    let count = read_count(reader)?;
    let differences = reader.slice(count)?;
    let listed = read_count(reader)?;
    let listed = (0..listed).map(|_| {
        let _instruction = read_count(reader)?;
        read_count(reader)?.try_into().ok()
    });
    let mut listed = listed.collect::<Option<Vec<u32>>>()?.into_iter();
    let mut line = first;
    let lines = differences.iter().map(|difference| {
        line = match difference.cast_signed() {
            LISTED => listed.next()?,
            difference => line.checked_add_signed(difference.into())?,
        };
        Some(line)
    });
    lines.collect()
}

#[cfg(all(test, feature = "linked"))]
pub mod test {
    use super::op;

    /// The bits of an instruction that are its opcode.
    pub const OPCODE: u32 = 0x7f;

    pub const LAST: u32 = op::EXTRAARG;

    /// The opcodes that take part in a judgement.
    pub const TOLD_APART: &[u32] = &[
        op::MOVE,
        op::GETUPVAL,
        op::SETUPVAL,
        op::GETTABUP,
        op::GETTABLE,
        op::GETFIELD,
        op::SETTABUP,
        op::SETTABLE,
        op::SETFIELD,
        op::SELF,
        op::JMP,
        op::TEST,
        op::TESTSET,
        op::CALL,
        op::RETURN,
        op::RETURN1,
        op::FORLOOP,
        op::TFORCALL,
        op::TFORLOOP,
        op::CLOSURE,
    ];

    /// Whether it makes no difference to a judgement if two opcodes are swapped.
    pub fn are_alike(one: u32, other: u32) -> bool {
        one == other
            || (op::EQ..=op::TEST).contains(&one) && (op::EQ..=op::TEST).contains(&other)
            || (op::RETURN..=op::RETURN1).contains(&one) && (op::RETURN..=op::RETURN1).contains(&other)
            || [
                (op::CALL, op::TAILCALL),
                (op::GETTABLE, op::GETI),
                (op::SETTABLE, op::SETI),
                (op::SETTABLE, op::SETLIST),
                (op::FORLOOP, op::TFORLOOP),
                (op::TFORLOOP, op::FORLOOP),
            ]
            .contains(&(one, other))
    }
}
