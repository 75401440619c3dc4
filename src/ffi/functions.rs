//! Functions: their code, and what they have captured.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use mlua::ffi as lua;

use super::stack::Stack;
use super::types::Type;
use crate::error::{Error, Result};

impl Stack<'_> {
    /// Whether the value at an index is a function written in Lua.
    fn is_lua_function(&self, index: c_int) -> bool {
        self.kind(index) == Type::Function && !self.is_native(index)
    }

    /// Appends the bytecode of the Lua function on top, debug information included.
    pub fn dump(&self, out: &mut Vec<u8>) -> Result<()> {
        unsafe extern "C-unwind" fn write(
            _: *mut lua::lua_State,
            piece: *const c_void,
            size: usize,
            out: *mut c_void,
        ) -> c_int {
            // SAFETY: `lua_dump` passes on the vector given below, which nothing else uses meanwhile.
            let out = unsafe { &mut *out.cast::<Vec<u8>>() };
            let piece: &[u8] = match size {
                // It may be null.
                0 => &[],
                // SAFETY: `lua_dump` gives so many bytes.
                _ => unsafe { std::slice::from_raw_parts(piece.cast(), size) },
            };
            let has_room = out.try_reserve(size).is_ok();
            if has_room {
                out.extend_from_slice(piece);
            }
            (!has_room).into()
        }
        assert!(self.is_lua_function(-1), "only functions written in Lua have bytecode");
        // SAFETY: `l` is live, and a Lua function is on top. `write` allocates nothing in Lua and does not panic.
        match unsafe { lua::lua_dump(self.l, write, ptr::from_mut(out).cast(), 0) } {
            0 => Ok(()),
            _ => Err(Error::Memory),
        }
    }

    /// Loads a chunk, as text or as bytecode, and pushes it. Lua does not verify bytecode: the caller has it from
    /// [`Stack::dump`].
    pub fn load(&self, chunk: &[u8], name: &CStr) -> Result<()> {
        // SAFETY: `l` is live; the caller has room for one more value, and has bytecode from Lua itself. The parser runs in a
        // protected call of Lua's own.
        let status = unsafe {
            lua::luaL_loadbufferx(self.l, chunk.as_ptr().cast(), chunk.len(), name.as_ptr(), ptr::null())
        };
        if status == lua::LUA_OK { Ok(()) } else { Err(self.pop_error(status)) }
    }

    /// Whether the function at an index has upvalue `n`. Other values have none.
    pub(super) fn has_upvalue(&self, function: c_int, n: c_int) -> bool {
        // SAFETY: `l` is live; Lua knows how many upvalues a function has. The caller has room for one more value.
        let has_upvalue = unsafe { !lua::lua_getupvalue(self.l, function, n).is_null() };
        if has_upvalue {
            self.pop(1);
        }
        has_upvalue
    }

    /// Pushes upvalue `n` of a function; nil where it has none.
    pub fn push_upvalue_of(&self, function: c_int, n: c_int) {
        self.assert_valid(function);
        // SAFETY: `l` is live; Lua knows how many upvalues a function has. The caller has room for one more value.
        if unsafe { lua::lua_getupvalue(self.l, function, n).is_null() } {
            self.push_nil();
        }
    }

    /// The name of upvalue `n`, or `#n` in a stripped function.
    pub fn upvalue_name(&self, function: c_int, n: c_int) -> String {
        self.assert_valid(function);
        // SAFETY: `l` is live; Lua knows how many upvalues a function has. The caller has room for one more value.
        let name = unsafe { lua::lua_getupvalue(self.l, function, n) };
        if name.is_null() {
            return format!("#{n}");
        }
        self.pop(1);
        // SAFETY: the name belongs to the function's prototype, which the function on the stack keeps.
        let name = unsafe { CStr::from_ptr(name) };
        if name == c"(*no name)" { format!("#{n}") } else { name.to_string_lossy().into_owned() }
    }

    /// Sets upvalue `n` of a function, which has it, to the value on top, and pops that.
    pub fn set_upvalue(&self, function: c_int, n: c_int) {
        self.assert_valid(function);
        // SAFETY: `l` is live, and the caller pushed a value; Lua knows how many upvalues a function has.
        let is_set = unsafe { !lua::lua_setupvalue(self.l, function, n).is_null() };
        assert!(is_set, "the function has no upvalue {n}");
    }

    /// Whether two upvalues of Lua functions are the same variable. False if one is missing.
    pub fn is_same_upvalue(&self, function: c_int, n: c_int, other: c_int, m: c_int) -> bool {
        let exists = |function, n| self.is_lua_function(function) && self.has_upvalue(function, n);
        let both_exist = exists(function, n) && exists(other, m);
        both_exist && self.upvalue_id(function, n) == self.upvalue_id(other, m)
    }

    /// The identity of the variable behind upvalue `n` of a Lua function, shared by all functions that captured it.
    pub fn upvalue_id(&self, function: c_int, n: c_int) -> usize {
        assert!(self.is_lua_function(function) && self.has_upvalue(function, n), "there is no upvalue {n}");
        // SAFETY: `l` is live, and the Lua function has that upvalue.
        unsafe { lua::lua_upvalueid(self.l, function, n) as usize }
    }

    /// Makes upvalue `n` of one Lua function the same variable as upvalue `m` of another.
    pub fn upvalue_join(&self, function: c_int, n: c_int, other: c_int, m: c_int) {
        assert!(self.is_lua_function(function) && self.has_upvalue(function, n), "there is no upvalue {n}");
        assert!(self.is_lua_function(other) && self.has_upvalue(other, m), "there is no upvalue {m}");
        // SAFETY: `l` is live, and both Lua functions have their upvalue.
        unsafe { lua::lua_upvaluejoin(self.l, function, n, other, m) }
    }
}
