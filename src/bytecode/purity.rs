//! Finds functions without side effects.
//!
//! A task with such a function leaves its state unchanged, so the state needs no restoring. An instruction that this file does
//! not know counts as a side effect.

use super::dump;
use super::instruction::{Action, Instruction};

/// A longer function takes longer to run than its state takes to restore, so analysing it saves nothing.
const MAX_INSTRUCTIONS: usize = 256;

/// Whether a dumped function calls nothing and changes nothing that existed before it ran.
///
/// It may read, compute, branch, loop, and make and fill tables. This relies on only strings and files having metatables,
/// whose `__index` is a table: then no allowed instruction calls a metamethod in Lua. So no Lua code may have run in the state before
/// its snapshot was taken: a task can give metatables even to numbers and nil, but its state is restored before the next.
pub fn has_no_side_effects(dump: &[u8]) -> bool {
    dump::read_code(dump)
        .is_some_and(|code| (1..=MAX_INSTRUCTIONS).contains(&code.len()) && allows_all(&code))
}

/// Whether every instruction is free of side effects.
fn allows_all(code: &[Instruction]) -> bool {
    const REGISTERS: usize = 256;
    let targets: Vec<usize> =
        code.iter().enumerate().filter_map(|(at, instruction)| instruction.flow(at).target).collect();
    // The registers that certainly hold a table made by the function itself. Known only within straight-line code: nothing
    // is known at the target of a jump.
    let mut made = [false; REGISTERS];
    for (at, instruction) in code.iter().enumerate() {
        if targets.contains(&at) {
            made = [false; REGISTERS];
        }
        match instruction.action() {
            Action::NewTable { to } => made[to] = true,
            Action::Move { to, from } => made[to] = made.get(from).is_some_and(|made| *made),
            Action::Compute { to }
            | Action::GetUpvalue { to, .. }
            | Action::GetUpvalueField { to, .. }
            | Action::GetField { to, .. }
            | Action::TestSet { to, .. } => made[to] = false,
            Action::Clear { from, count } => {
                made[from..].iter_mut().take(count).for_each(|register| *register = false)
            }
            Action::SetField { table, .. } | Action::SetList { table } if made[table] => {}
            // These close no variable, since the function makes no closure; a loop's own registers hold numbers.
            Action::Jump | Action::Test | Action::Return | Action::Nothing => {}
            Action::Count { .. } => made = [false; REGISTERS],
            _ => return false,
        }
    }
    true
}

#[cfg(all(test, feature = "linked"))]
mod tests {
    use super::*;
    use crate::bytecode::dump::dump_of;
    use crate::ffi::{OwnState, VERSION};

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
    fn closing_a_variable_is_a_side_effect() {
        if VERSION < 504 {
            return;
        }
        for code in [
            "return function() local a <close> = nil end",
            "return function(a) local b <close> = a return 1 end",
            "return function(a) do local b <close> = a end return 1 end",
            "return function(a) for _ in nil, nil, nil, a do end end",
        ] {
            assert!(!judge(code), "{code}");
        }
        assert!(judge("return function(a) local b <const> = 3 return a + b end"));
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
