//! Finds functions without side effects by reading their bytecode.
//!
//! A task with such a function leaves its state unchanged, so the state needs no restoring. This file reads the format
//! of `lua_dump` and the instructions of Lua 5.3 (`ldump.c`, `lopcodes.h`). An instruction that it does not know counts
//! as a side effect.

use std::sync::OnceLock;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::ffi::{OwnState, Stack};

/// A longer function takes longer to run than its state takes to restore, so analysing it saves nothing.
const MAX_INSTRUCTIONS: usize = 256;

/// Whether a dumped function calls nothing and changes nothing that existed before it ran.
///
/// It may read, compute, branch, loop, and make and fill tables. This relies on only strings and files having metatables,
/// whose `__index` is a table: then no allowed instruction calls a metamethod.
pub fn has_no_side_effects(dump: &[u8]) -> bool {
    static HAS_STOCK_OPCODES: OnceLock<bool> = OnceLock::new();
    *HAS_STOCK_OPCODES.get_or_init(|| check_samples().unwrap_or(false)) && looks_side_effect_free(dump)
}

/// Chunks that return a function, and whether the function has no side effects. They cover every instruction with a side
/// effect, and every instruction that could make another table look like one that the function made.
const SAMPLES: [(&str, bool); 13] = [
    ("return function() end", true),
    ("return function(a) local t = { a } t.x = a + 1 return t end", true),
    ("return function() x = 1 end", false),
    ("local up return function() up = 1 end", false),
    ("return function(t) t.x = 1 end", false),
    ("return function(t) local u = t u.x = 1 end", false),
    ("return function(t) local u = t.x u.x = 1 end", false),
    ("return function() local u = x u.x = 1 end", false),
    ("local up return function() local u = up u.x = 1 end", false),
    ("return function(f) f() end", false),
    ("return function(f) return f() end", false),
    ("return function(f) for _ in f do end end", false),
    ("return function() return function() end end", false),
];

/// Whether this Lua numbers its instructions as stock Lua does. A vendor may have changed that; then some sample is judged
/// wrong.
fn check_samples() -> Result<bool> {
    const LIMIT: usize = 1 << 20;
    let state = OwnState::new(LIMIT).ok_or(Error::Memory)?;
    for (code, expected) in SAMPLES {
        if looks_side_effect_free(&dump_of(&state.stack(), code)?) != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The dump of the function that a chunk returns.
fn dump_of(stack: &Stack, code: &str) -> Result<Vec<u8>> {
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

fn looks_side_effect_free(dump: &[u8]) -> bool {
    read_code(dump).is_some_and(|code| (1..=MAX_INSTRUCTIONS).contains(&code.len()) && allows_all(&code))
}

/// The instructions of a dumped function, without those of nested functions; none if another Lua made the dump.
fn read_code(dump: &[u8]) -> Option<Vec<u32>> {
    const HEADER: &[u8] = b"\x1bLua\x53\x00\x19\x93\r\n\x1a\n";
    const SIZES: [u8; 5] = [
        size_of::<i32>() as u8,
        size_of::<usize>() as u8,
        size_of::<u32>() as u8,
        size_of::<i64>() as u8,
        size_of::<f64>() as u8,
    ];
    const SAMPLES: usize = size_of::<i64>() + size_of::<f64>();
    const LINES_AND_SIZES: usize = 2 * size_of::<i32>() + 3;

    let mut reader = Reader::new(dump);
    let is_known = reader.slice(HEADER.len())? == HEADER && reader.slice(SIZES.len())? == SIZES;
    if !is_known {
        return None;
    }
    reader.slice(SAMPLES)?;
    let _upvalues = reader.byte()?;
    // The length of the source's name plus one, in one byte if it fits.
    let length = match reader.byte()? {
        0xff => reader.word()?,
        length => length.into(),
    };
    reader.slice(length.saturating_sub(1))?;
    reader.slice(LINES_AND_SIZES)?;
    let count = reader.u32()? as usize;
    let code = reader.slice(count.saturating_mul(size_of::<u32>()))?;
    Some(
        code.chunks_exact(4)
            .map(|bytes| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect(),
    )
}

/// The opcodes of Lua 5.3 that this file distinguishes.
mod op {
    pub const MOVE: u32 = 0;
    pub const LOADK: u32 = 1;
    pub const LOADBOOL: u32 = 3;
    pub const LOADNIL: u32 = 4;
    pub const GETUPVAL: u32 = 5;
    pub const GETTABLE: u32 = 7;
    pub const SETTABLE: u32 = 10;
    pub const NEWTABLE: u32 = 11;
    pub const ADD: u32 = 13;
    pub const CONCAT: u32 = 29;
    pub const JMP: u32 = 30;
    pub const EQ: u32 = 31;
    pub const TEST: u32 = 34;
    pub const TESTSET: u32 = 35;
    pub const RETURN: u32 = 38;
    pub const FORLOOP: u32 = 39;
    pub const FORPREP: u32 = 40;
    pub const SETLIST: u32 = 43;
}

#[derive(Clone, Copy)]
struct Instruction(u32);

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

    /// The distance of a jump, counted from the next instruction.
    fn jump(self) -> isize {
        (self.0 >> 14) as isize - 0x1_ffff
    }

    /// The instruction other than the next one at which execution may continue after the one at `at`.
    fn target(self, at: usize) -> Option<usize> {
        match self.op() {
            op::JMP | op::FORLOOP | op::FORPREP => (at + 1).checked_add_signed(self.jump()),
            op::EQ..=op::TESTSET => Some(at + 2),
            op::LOADBOOL if self.c() != 0 => Some(at + 2),
            _ => None,
        }
    }
}

/// Whether every instruction is free of side effects.
fn allows_all(code: &[u32]) -> bool {
    const REGISTERS: usize = 256;
    let targets: Vec<usize> =
        code.iter().enumerate().filter_map(|(at, word)| Instruction(*word).target(at)).collect();
    // The registers that certainly hold a table made by the function itself. Known only within straight-line code: nothing
    // is known at the target of a jump.
    let mut made = [false; REGISTERS];
    for (at, word) in code.iter().enumerate() {
        let instruction = Instruction(*word);
        if targets.contains(&at) {
            made = [false; REGISTERS];
        }
        let a = instruction.a();
        match instruction.op() {
            op::NEWTABLE => made[a] = true,
            op::MOVE => made[a] = instruction.b() < REGISTERS && made[instruction.b()],
            op::LOADK | op::LOADBOOL | op::GETUPVAL..=op::GETTABLE | op::ADD..=op::CONCAT | op::TESTSET => {
                made[a] = false
            }
            op::LOADNIL => {
                made[a..].iter_mut().take(instruction.b() + 1).for_each(|register| *register = false)
            }
            op::SETTABLE | op::SETLIST if made[a] => {}
            // These close no variable, since the function makes no closure; a loop's own registers hold numbers.
            op::JMP | op::EQ..=op::TEST | op::RETURN => {}
            op::FORLOOP | op::FORPREP => made = [false; REGISTERS],
            _ => return false,
        }
    }
    true
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;

    /// Whether the function that a chunk returns has no side effects.
    fn judge(code: &str) -> bool {
        let state = OwnState::new(usize::MAX).expect("a state");
        has_no_side_effects(&dump_of(&state.stack(), code).expect("code without a fault"))
    }

    #[test]
    fn reading_computing_and_making_tables_are_not_side_effects() {
        for code in [
            "return function() end",
            "return function(a, b) return a + b end",
            "return function(a, ...) return a.x.y .. 'text', #a, -a, not a, a // 2 end",
            "return function() return math.pi * 2, string end",
            "local up = 3 return function(a) return a == up and a or nil end",
            "return function(n) local sum = 0 for i = 1, n do sum = sum + i end return sum end",
            "return function(n) while n > 0 do n = n - 1 end return n end",
            "return function(a) return { a, a + 1, x = a.x, inner = { y = a.y } } end",
            "return function(a) local t = {} t.x = a t[1] = a local u = t u.y = 1 return t end",
            "return function(a) if a then return { a = a } else return { b = a } end end",
        ] {
            assert!(judge(code), "{code}");
        }
    }

    #[test]
    fn calls_and_other_writes_are_side_effects() {
        for code in [
            "return function() x = 1 end",
            "return function() string.x = 1 end",
            "return function(t) t.x = 1 end",
            "return function(t) t[1], t[2] = 1, 2 end",
            "local up return function() up = 1 end",
            "local up = {} return function() up.x = 1 end",
            "return function() local t = {} t = math t.x = 1 end",
            "return function() local t, u = {}, {} t, u = nil, math u.x = 1 end",
            "return function(a) local t = {} if a then t = math end t.x = 1 end",
            "return function(a) local t = {} if not a then t = a and math or t end t.x = 1 end",
            "return function() local t = {} for i = 1, 2 do t.x = i t = math end end",
            "return function() local t = {} repeat t.x = 1 t = math until false end",
            "return function() local t = {} goto there ::here:: t.x = 1 do return end ::there:: t = math goto here end",
            "return function() print() end",
            "return function(a) return a() end",
            "return function(a) return a:b() end",
            "return function(a) for _ in a do end end",
            "return function() return function() end end",
            "return function(...) local t = {} t = ... t.x = 1 end",
        ] {
            assert!(!judge(code), "{code}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_dump_are_refused() {
        let dump: Vec<u8> = b"\x1bLua\x53\x00\x19\x93\r\n\x1a\n\x04\x08\x04\x08\x08".to_vec();
        for length in 0..dump.len() {
            assert!(!has_no_side_effects(&dump[..length]));
        }
        assert!(!has_no_side_effects(b"\x1bLua\x51"));
    }
}
