//! The instructions of Lua 5.3 (`lopcodes.h`).

/// The opcodes that this crate distinguishes.
pub mod op {
    pub const MOVE: u32 = 0;
    pub const LOADK: u32 = 1;
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

/// An instruction, as it stands in a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(pub u32);

impl Instruction {
    pub fn op(self) -> u32 {
        self.0 & 0x3f
    }

    pub fn a(self) -> usize {
        (self.0 >> 6 & 0xff) as usize
    }

    pub fn b(self) -> usize {
        (self.0 >> 23) as usize
    }

    pub fn c(self) -> usize {
        (self.0 >> 14 & 0x1ff) as usize
    }

    /// The operand that takes the place of `b` and `c` in some instructions.
    pub fn bx(self) -> usize {
        (self.0 >> 14) as usize
    }

    /// The distance of a jump, counted from the next instruction.
    pub fn jump(self) -> isize {
        (self.0 >> 14) as isize - 0x1_ffff
    }

    /// The instruction other than the next one at which execution may continue after the one at `at`.
    pub fn target(self, at: usize) -> Option<usize> {
        match self.op() {
            op::JMP | op::FORLOOP | op::FORPREP | op::TFORLOOP => (at + 1).checked_add_signed(self.jump()),
            op::EQ..=op::TESTSET => Some(at + 2),
            op::LOADBOOL if self.c() != 0 => Some(at + 2),
            _ => None,
        }
    }
}

/// The constant that an operand `b` or `c` names; none if it names a register.
pub fn constant(operand: usize) -> Option<usize> {
    operand.checked_sub(0x100)
}
