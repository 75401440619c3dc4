//! Code with a known judgement. Where a judgement is wrong, this Lua is not stock Lua.

use std::sync::OnceLock;

use super::dump::{self, dump_of};
use super::purity;
use super::writes::{self, Carried, Held};
use crate::error::{Error, Result};
use crate::ffi::OwnState;

/// Chunks that return a function, and whether the function has no side effects. They cover every instruction with a side
/// effect, and every instruction that could make another table look like one that the function made.
const PURITY: [(&str, bool); 13] = [
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

/// Chunks that return a function, and the names of the captured variables that it writes to. They cover every instruction
/// that takes part in a judgement.
const WRITES: [(&str, &str); 32] = [
    ("local a return function() return a end", ""),
    ("local a return function() a = 1 end", "a"),
    ("local a, b return function() local t = a b = t end", "b"),
    ("local a return function() a.x = 1 end", "a"),
    ("local a, b return function() local t = a t.__index = b end", ""),
    ("local a, b return function(i) a[i] = b[i] end", "a"),
    ("local a, b return function(i) local t = b local u = t[i] u.x = a end", "b"),
    ("local a return function() local t = a local u = t u.x = 1 end", "a"),
    ("local a, b return function() local t, u = a, b u.x = t end", "b"),
    ("local a, b return function(i) local t = a.x[i] t.x = b end", "a"),
    ("local a, b return function(i) local t = {} t.x, t.y = a, { b, a } return t.x end", ""),
    ("local a, b return function() local t = a t = nil local u = b u.x = t end", "b"),
    ("local a, b return function() local t = a t = 'text' .. #b t.x = not b end", ""),
    ("local a, b return function(c) local t = c and a or b t.x = 1 end", "a b"),
    (
        "local a, b return function(c) local t = a if c == 1 then t = b goto done end t = {} ::done:: t.x = 1 end",
        "b",
    ),
    ("local a return function(c) local t = a local u = t or c u.x = 1 end", "a"),
    ("local a, b return function() local t = a local u = t and b u.x = 1 end", "a b"),
    ("local a return function() for i = 1, 2 do end a.x = 1 end", "a"),
    ("local a return function() local t for i = 1, 2 do if t then t.x = 1 end t = a end end", "a"),
    ("local a return function() local t = next(a) t.x = 1 end", "a"),
    ("local a, lib return function() local x, t = 'x', lib local sort = t.sort sort(a) end", "a"),
    ("local a, lib return function(c) local t = c and lib or a t:insert(1) end", "a"),
    ("local a, b return function(c) local t = a if c then t = b return end t.x = 1 end", "a"),
    ("local a, b return function(c) local t = a if c then t = b return c end t.x = 1 t.y = 1 end", "a"),
    ("local a, b return function(c) local t = a if c then t = b return c, c end t.x = 1 t.y = 1 end", "a"),
    ("local a, b return function() for i = 1, 2 do local t = i == 1 and a t.x = b end end", "a"),
    ("local a, b return function() for _, t in ipairs(a) do t.x = b end end", "a"),
    ("local a, insert return function(...) print(a, ...) return insert(a, a[1]) end", "a"),
    ("local a, b, lib return function() return lib.move(a, 1, 1, 1, b) end", "b"),
    ("local a, b, insert return function(...) insert(..., a) b:insert(a) end", ""),
    ("local a, b, lib return function() lib.sort(a, function(x) b.x = x end) end", "a b"),
    (
        "local a, b return function() local t = a return function() t.x = b end, function(x) x.y = 1 end end",
        "a",
    ),
];

/// Whether this Lua numbers its instructions as stock Lua does. A vendor may have changed that; then some sample is judged
/// wrong.
pub fn has_stock_opcodes() -> bool {
    static HAS_STOCK_OPCODES: OnceLock<bool> = OnceLock::new();
    has_stock_opcodes_for_purity()
        && *HAS_STOCK_OPCODES.get_or_init(|| check_writes(&mut |_| {}).unwrap_or(false))
}

/// Like [`has_stock_opcodes`], of the instructions that matter to `purity`. It takes less time, which each process's first job
/// spends.
pub fn has_stock_opcodes_for_purity() -> bool {
    static HAS_STOCK_OPCODES: OnceLock<bool> = OnceLock::new();
    *HAS_STOCK_OPCODES.get_or_init(|| check_purity(&mut |_| {}).unwrap_or(false))
}

/// Changes a dump before it is judged.
type Change<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Whether the samples of `purity` are judged right.
pub fn check_purity(change: Change) -> Result<bool> {
    check(&PURITY, change, |dump, expected| purity::has_no_side_effects(dump) == *expected)
}

/// Whether the samples of `writes` are judged right.
pub fn check_writes(change: Change) -> Result<bool> {
    check(&WRITES, change, |dump, expected| written_names(dump).as_deref() == Some(*expected))
}

fn check<T>(samples: &[(&str, T)], change: Change, is_right: impl Fn(&[u8], &T) -> bool) -> Result<bool> {
    const LIMIT: usize = 1 << 20;
    let state = OwnState::new(LIMIT).ok_or(Error::Memory)?;
    for (code, expected) in samples {
        let mut dump = dump_of(&state.stack(), code)?;
        change(&mut dump);
        if !is_right(&dump, expected) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names of the captured variables that a dumped function writes to. `insert` holds `table.insert`, and `lib` the library
/// `table`.
pub fn written_names(dump: &[u8]) -> Option<String> {
    let function = dump::read(dump)?;
    let names: Vec<_> = function.upvalues.iter().map(|upvalue| upvalue.name).collect::<Option<_>>()?;
    let held = |name: &&[u8]| match *name {
        b"_ENV" => Held::Globals,
        b"insert" => Held::Library("table.insert"),
        b"lib" => Held::Library("table"),
        _ => Held::Other(Vec::new()),
    };
    let held: Vec<_> = names.iter().map(held).collect();
    let variables = (0..names.len() as u32).collect();
    let written = writes::find(&[Carried { dump, variables }], &held)?;
    let written = names.iter().zip(written).filter(|(_, written)| written.variable || written.table);
    let mut written: Vec<_> = written.map(|(name, _)| String::from_utf8_lossy(name)).collect();
    written.sort_unstable();
    Some(written.join(" "))
}
