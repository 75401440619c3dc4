//! Debug information about a function, or about a level of a call stack.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::mem::{MaybeUninit, offset_of};
use std::ptr;

use mlua::ffi as lua;

use super::stack::Stack;
use super::types::Type;
use super::version;

/// The most bytes that a vendor may have given the name of a chunk (`LUA_IDSIZE`). Lua itself has 60.
const LONGEST_NAME: usize = 8 << 10;

/// A `lua_Debug` of any build of this Lua. The fields before the chunk's name are the same in all; the length of the name is the
/// vendor's, and a field of Lua's own follows it.
#[repr(C)]
pub(super) struct Activation {
    record: lua::lua_Debug,
    rest: MaybeUninit<[u8; LONGEST_NAME]>,
}

impl Activation {
    pub fn new() -> Activation {
        // SAFETY: zeroed memory is a valid `lua_Debug`: numbers, and pointers that are null.
        Activation { record: unsafe { MaybeUninit::zeroed().assume_init() }, rest: MaybeUninit::uninit() }
    }

    /// Fills in the fields that `what` names for the function on top of the stack, and pops it.
    pub fn ask_function(&mut self, stack: &Stack, what: &'static CStr) {
        assert!(
            what.to_bytes().starts_with(b">") && stack.kind(-1) == Type::Function,
            "no function to ask about"
        );
        // SAFETY: `l` is live, a function is on top, and a `lua_Debug` of any Lua fits in here. Nothing is asked (`L`) that takes
        // memory.
        unsafe { lua::lua_getinfo(stack.l, what.as_ptr(), ptr::from_mut(self).cast()) };
    }

    /// Fills in the fields that `what` names for a level of the call stack; false if there is no such level.
    pub fn ask_level(&mut self, stack: &Stack, level: c_int, what: &'static CStr) -> bool {
        // SAFETY: `l` is live, and a `lua_Debug` of any Lua fits in here. The level is asked about at once, while it is there.
        // Nothing is asked (`L`, `f`) that takes memory or pushes.
        unsafe {
            lua::lua_getstack(stack.l, level, ptr::from_mut(self).cast()) != 0
                && lua::lua_getinfo(stack.l, what.as_ptr(), ptr::from_mut(self).cast()) != 0
        }
    }

    /// With `u`: how many upvalues the function has.
    pub fn upvalue_count(&self) -> c_int {
        self.record.nups.into()
    }

    /// With `S`: the line in which the function begins.
    pub fn first_line(&self) -> c_int {
        self.record.linedefined
    }

    /// With `l`: the line that runs; -1 if it is not known.
    pub fn line(&self) -> c_int {
        self.record.currentline
    }

    /// With `S`: the chunk's name, as messages have it.
    pub fn chunk(&self) -> Cow<'_, str> {
        let start = ptr::from_ref(self).cast::<c_char>();
        // SAFETY: Lua has written a text there that ends with a zero. Before that, the first byte is zero.
        unsafe { CStr::from_ptr(start.add(offset_of!(lua::lua_Debug, short_src))) }.to_string_lossy()
    }

    /// With `S`: "Lua", "C", "main".
    pub fn kind(&self) -> &[u8] {
        text(&self.record.what).map_or(&[], CStr::to_bytes)
    }

    /// With `n`: the function's name, if the calling code has one for it.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        text(&self.record.name).map(CStr::to_string_lossy)
    }
}

impl Stack<'_> {
    /// Where the function on the stack is defined: `plugin.lua:12`.
    pub fn place_of(&self, function: c_int) -> String {
        let mut activation = Activation::new();
        self.push_value(function);
        activation.ask_function(self, c">S");
        format!("{}:{}", activation.chunk(), activation.first_line())
    }

    /// Pushes the Lua function that runs at a level of the call stack, and gives the name of its chunk and the line that runs.
    /// None if no Lua function runs there, or if its lines are not known.
    pub fn push_function_at(&self, level: c_int) -> Option<(String, u32)> {
        let mut activation = Activation::new();
        if !activation.ask_level(self, level, c"Sl") || !self.check(1) {
            return None;
        }
        let line = u32::try_from(activation.line()).ok()?;
        let chunk = activation.chunk().into_owned();
        // SAFETY: `l` is live and has room for the function, and the level is there: nothing ran since it was asked about.
        unsafe { lua::lua_getinfo(self.l, c"f".as_ptr(), ptr::from_mut(&mut activation).cast()) };
        Some((chunk, line))
    }

    /// Whether the Lua function on top has a parameter of this name.
    pub fn has_parameter(&self, name: &str) -> bool {
        assert!(self.kind(-1) == Type::Function, "no function to ask about");
        for n in 1.. {
            // SAFETY: `l` is live, and a function is on top. The name belongs to the function, which stays there.
            let known = unsafe { lua::lua_getlocal(self.l, ptr::null(), n) };
            match text(&known) {
                None => return false,
                Some(known) if known.to_bytes() == name.as_bytes() => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// Whether the call stack has such a level.
    pub fn has_level(&self, level: c_int) -> bool {
        Activation::new().ask_level(self, level, c"")
    }

    /// Whether a native function runs at a level of the call stack; false if there is no such level.
    pub fn is_native_level(&self, level: c_int) -> bool {
        let mut activation = Activation::new();
        activation.ask_level(self, level, c"S") && activation.kind() == b"C"
    }

    /// Whether local variable `n` at a level of the call stack has a name in the source, or is one of `...`. The other slots
    /// belong to Lua: it takes a table that is being filled, for example, for a table without looking again.
    pub fn is_named_local(&self, level: c_int, n: c_int) -> bool {
        // Lua negates the number.
        if n == c_int::MIN || !self.check(1) || self.is_native_level(level) {
            return false;
        }
        let mut activation = Activation::new();
        // SAFETY: `l` is live and has room for the value, and a `lua_Debug` of any Lua fits in here. The level is asked about
        // at once, while it is there, and runs Lua code.
        let name = unsafe {
            let record = ptr::from_mut(&mut activation).cast();
            if lua::lua_getstack(self.l, level, record) == 0 {
                return false;
            }
            lua::lua_getlocal(self.l, record, n)
        };
        if name.is_null() {
            return false;
        }
        self.pop(1);
        // SAFETY: Lua returned a name, which belongs to the function that runs at that level.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        name.first() != Some(&b'(') || name == version::VARARG
    }

    /// How many upvalues the function on the stack has.
    pub fn upvalue_count(&self, function: c_int) -> c_int {
        let mut activation = Activation::new();
        self.push_value(function);
        activation.ask_function(self, c">u");
        activation.upvalue_count()
    }
}

fn text(field: &*const c_char) -> Option<&CStr> {
    // SAFETY: such fields are null, or texts of the function, which is live while it is asked about.
    (!field.is_null()).then(|| unsafe { CStr::from_ptr(*field) })
}
