//! One `lua_State` and what the C API does with it.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use mlua::ffi as lua;

use super::call::NativeFunction;
use crate::error::{Error, Result};

/// The eight kinds of value that Lua's `type` tells apart, light and full userdata told apart too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Type {
    /// Whether values of that kind hold no others and name nothing.
    pub fn is_plain(self) -> bool {
        use Type::{Boolean, LightUserdata, Nil, None, Number, String};
        matches!(self, None | Nil | Boolean | Number | LightUserdata | String)
    }

    pub fn is_scalar(self) -> bool {
        matches!(self, Type::Boolean | Type::Number | Type::String)
    }

    fn of(tag: c_int) -> Type {
        match tag {
            lua::LUA_TNIL => Type::Nil,
            lua::LUA_TBOOLEAN => Type::Boolean,
            lua::LUA_TLIGHTUSERDATA => Type::LightUserdata,
            lua::LUA_TNUMBER => Type::Number,
            lua::LUA_TSTRING => Type::String,
            lua::LUA_TTABLE => Type::Table,
            lua::LUA_TFUNCTION => Type::Function,
            lua::LUA_TUSERDATA => Type::Userdata,
            lua::LUA_TTHREAD => Type::Thread,
            _ => Type::None,
        }
    }

    /// The word for it in messages.
    pub fn name(self) -> &'static str {
        match self {
            Type::None | Type::Nil => "nil",
            Type::Boolean => "boolean",
            Type::LightUserdata => "light userdata",
            Type::Number => "number",
            Type::String => "string",
            Type::Table => "table",
            Type::Function => "function",
            Type::Userdata => "userdata",
            Type::Thread => "coroutine",
        }
    }
}

/// An address that names one entry of a state's registry.
pub struct Key(#[allow(dead_code, reason = "its address is its meaning")] u8);

impl Key {
    pub const fn new() -> Key {
        Key(0)
    }
}

/// One `lua_State`, on the thread that may use it now, and what never raises there. It can't outlive what it borrows its
/// state from. Neither `Send` nor `Sync`; a copy is the same state.
#[derive(Clone, Copy)]
pub struct Stack<'s> {
    pub(super) l: *mut lua::lua_State,
    _state: PhantomData<&'s ()>,
}

/// Calls the C API on the wrapped state.
macro_rules! api {
    ($stack:expr, $function:ident $(, $argument:expr)*) => {
        // SAFETY: `Stack::new`'s caller promised a live state used on this thread alone; the callers of
        // `Stack`'s methods keep to the two rules at the head of this file.
        unsafe { mlua::ffi::$function($stack.l $(, $argument)*) }
    };
}
pub(super) use api;

impl<'s> Stack<'s> {
    /// Wraps a state.
    ///
    /// # Safety
    /// `l` is a live state or coroutine of Lua 5.3, no other thread uses it while the `Stack` is in use,
    /// and it stays alive that long.
    pub(super) unsafe fn new(l: *mut lua::lua_State) -> Stack<'s> {
        Stack { l, _state: PhantomData }
    }

    pub(super) fn assert_valid(&self, index: c_int) {
        debug_assert!(
            index <= lua::LUA_REGISTRYINDEX || index.unsigned_abs() <= self.top() as u32,
            "no value at stack index {index}, top is {}",
            self.top()
        );
    }

    // Stack.

    pub fn top(&self) -> c_int {
        api!(self, lua_gettop)
    }

    pub fn set_top(&self, index: c_int) {
        api!(self, lua_settop, index)
    }

    pub fn pop(&self, count: c_int) {
        debug_assert!(count <= self.top());
        api!(self, lua_settop, -count - 1)
    }

    /// Makes room for `count` more values; false where Lua's stack limit or memory says no.
    #[must_use]
    pub fn check(&self, count: c_int) -> bool {
        api!(self, lua_checkstack, count) != 0
    }

    pub fn absolute(&self, index: c_int) -> c_int {
        api!(self, lua_absindex, index)
    }

    pub fn push_value(&self, index: c_int) {
        self.assert_valid(index);
        api!(self, lua_pushvalue, index)
    }

    pub fn insert(&self, index: c_int) {
        self.assert_valid(index);
        api!(self, lua_rotate, index, 1)
    }

    pub fn remove(&self, index: c_int) {
        self.assert_valid(index);
        api!(self, lua_rotate, index, -1);
        self.pop(1);
    }

    pub fn replace(&self, index: c_int) {
        self.assert_valid(index);
        api!(self, lua_copy, -1, index);
        self.pop(1);
    }

    /// Moves the top `count` values to another coroutine of the same state.
    pub fn move_to(&self, other: &Stack, count: c_int) {
        api!(self, lua_xmove, other.l, count)
    }

    // Values out of Lua.

    pub fn kind(&self, index: c_int) -> Type {
        Type::of(api!(self, lua_type, index))
    }

    pub fn is_integer(&self, index: c_int) -> bool {
        api!(self, lua_isinteger, index) != 0
    }

    pub fn is_native(&self, index: c_int) -> bool {
        api!(self, lua_iscfunction, index) != 0
    }

    /// The native function that the value is, if it has no values of its own: then it is the same in all states.
    pub fn plain_native(&self, index: c_int) -> Option<NativeFunction> {
        let function = api!(self, lua_tocfunction, index)?;
        if !api!(self, lua_getupvalue, index, 1).is_null() {
            self.pop(1);
            return None;
        }
        Some(NativeFunction(function))
    }

    /// The integer that the value is: no float, and no text.
    pub fn whole(&self, index: c_int) -> Option<i64> {
        // A whole float is converted below, too.
        self.is_integer(index).then(|| api!(self, lua_tointegerx, index, ptr::null_mut()))
    }

    /// The integer that the value is, or is convertible to.
    pub fn integer(&self, index: c_int) -> Option<i64> {
        let mut is_integer = 0;
        let value = api!(self, lua_tointegerx, index, &mut is_integer);
        (is_integer != 0).then_some(value)
    }

    pub fn number(&self, index: c_int) -> Option<f64> {
        let mut is_number = 0;
        let value = api!(self, lua_tonumberx, index, &mut is_number);
        (is_number != 0).then_some(value)
    }

    pub fn boolean(&self, index: c_int) -> bool {
        api!(self, lua_toboolean, index) != 0
    }

    /// The bytes of a string, for as long as it stays where Lua can reach it. Empty for anything else.
    pub fn bytes(&self, index: c_int) -> &[u8] {
        if self.kind(index) != Type::String {
            return &[];
        }
        let mut length = 0;
        let start = api!(self, lua_tolstring, index, &mut length);
        // SAFETY: the value is a string, so `start` points at `length` bytes that live as long as it does.
        unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }
    }

    /// The identity of a table, function, userdata or coroutine.
    pub fn pointer(&self, index: c_int) -> usize {
        api!(self, lua_topointer, index) as usize
    }

    pub fn light(&self, index: c_int) -> usize {
        api!(self, lua_touserdata, index) as usize
    }

    pub fn raw_len(&self, index: c_int) -> usize {
        api!(self, lua_rawlen, index)
    }

    pub fn raw_equal(&self, a: c_int, b: c_int) -> bool {
        api!(self, lua_rawequal, a, b) != 0
    }

    // Values into Lua.

    pub fn push_nil(&self) {
        api!(self, lua_pushnil)
    }

    pub fn push_boolean(&self, value: bool) {
        api!(self, lua_pushboolean, value.into())
    }

    pub fn push_integer(&self, value: i64) {
        api!(self, lua_pushinteger, value)
    }

    pub fn push_number(&self, value: f64) {
        api!(self, lua_pushnumber, value)
    }

    pub fn push_light(&self, value: usize) {
        api!(self, lua_pushlightuserdata, value as *mut c_void)
    }

    /// Pushes a native function without values of its own, which takes no memory.
    pub fn push_native(&self, function: NativeFunction) {
        api!(self, lua_pushcclosure, function.0, 0)
    }

    /// The running native function's own value number `n`, from 1.
    pub fn push_upvalue(&self, n: c_int) {
        api!(self, lua_pushvalue, lua::lua_upvalueindex(n))
    }

    pub fn push_globals(&self) {
        api!(self, lua_rawgeti, lua::LUA_REGISTRYINDEX, lua::LUA_RIDX_GLOBALS);
    }

    // Tables.

    /// Replaces the key on top by the table's value for it.
    pub fn raw_get(&self, table: c_int) -> Type {
        self.assert_valid(table);
        Type::of(api!(self, lua_rawget, table))
    }

    pub fn raw_get_i(&self, table: c_int, n: i64) -> Type {
        self.assert_valid(table);
        Type::of(api!(self, lua_rawgeti, table, n))
    }

    /// Sets the key below the top to the value on top where the table has that key already, which takes no memory and so
    /// raises nothing; false where it has not. Pops both.
    pub fn raw_set_again(&self, table: c_int) -> bool {
        let table = self.absolute(table);
        self.push_value(-2);
        let is_there = self.raw_get(table) != Type::Nil;
        self.pop(1);
        if is_there {
            api!(self, lua_rawset, table);
        } else {
            self.pop(2);
        }
        is_there
    }

    /// Replaces the key on top by the next key and its value; pops it and says false after the last.
    ///
    /// # Panics
    /// For a key that the table does not hold.
    pub fn next(&self, table: c_int) -> bool {
        self.assert_valid(table);
        if self.kind(-1) != Type::Nil {
            let table = self.absolute(table);
            self.push_value(-1);
            let is_there = self.raw_get(table) != Type::Nil;
            self.pop(1);
            // Lua would raise that.
            assert!(is_there, "a table changed while it was read");
        }
        api!(self, lua_next, table) != 0
    }

    /// Pushes the metatable, if there is one.
    pub fn metatable(&self, index: c_int) -> bool {
        api!(self, lua_getmetatable, index) != 0
    }

    /// Sets the table (or nil) on top as the metatable, and pops it.
    pub fn set_metatable(&self, index: c_int) {
        api!(self, lua_setmetatable, index);
    }

    pub fn registry_get(&self, key: &'static Key) -> Type {
        Type::of(api!(self, lua_rawgetp, lua::LUA_REGISTRYINDEX, ptr::from_ref(key).cast()))
    }

    pub fn push_registry(&self) {
        api!(self, lua_pushvalue, lua::LUA_REGISTRYINDEX)
    }

    // Functions.

    /// Appends the bytecode of the Lua function on top, debug information included.
    pub fn dump(&self, out: &mut Vec<u8>) -> Result<()> {
        unsafe extern "C-unwind" fn write(
            _: *mut lua::lua_State,
            piece: *const c_void,
            size: usize,
            out: *mut c_void,
        ) -> c_int {
            // SAFETY: `lua_dump` hands on the vector given below, and a piece of `size` readable bytes.
            let (out, piece) =
                unsafe { (&mut *out.cast::<Vec<u8>>(), std::slice::from_raw_parts(piece.cast(), size)) };
            let has_room = out.try_reserve(size).is_ok();
            if has_room {
                out.extend_from_slice(piece);
            }
            (!has_room).into()
        }
        match api!(self, lua_dump, write, ptr::from_mut(out).cast(), 0) {
            0 => Ok(()),
            _ => Err(Error::Memory),
        }
    }

    /// Loads a chunk of ours, as text or as bytecode, and pushes it.
    pub fn load(&self, chunk: &[u8], name: &CStr) -> Result<()> {
        let status =
            api!(self, luaL_loadbufferx, chunk.as_ptr().cast(), chunk.len(), name.as_ptr(), ptr::null());
        if status == lua::LUA_OK { Ok(()) } else { Err(self.pop_error(status)) }
    }

    /// Pushes upvalue `n`, which the function has.
    pub fn push_upvalue_of(&self, function: c_int, n: c_int) {
        api!(self, lua_getupvalue, function, n);
    }

    /// The name of upvalue `n`, or `#n` in a stripped function.
    pub fn upvalue_name(&self, function: c_int, n: c_int) -> String {
        let name = api!(self, lua_getupvalue, function, n);
        if name.is_null() {
            return format!("#{n}");
        }
        self.pop(1);
        // SAFETY: the name belongs to the function's prototype, which the function on the stack keeps.
        let name = unsafe { CStr::from_ptr(name) };
        if name == c"(*no name)" { format!("#{n}") } else { name.to_string_lossy().into_owned() }
    }

    /// Sets upvalue `n` of the function to the value on top, and pops it.
    pub fn set_upvalue(&self, function: c_int, n: c_int) {
        api!(self, lua_setupvalue, function, n);
    }

    /// The identity of the variable behind upvalue `n`, shared by all functions that captured it.
    pub fn upvalue_id(&self, function: c_int, n: c_int) -> usize {
        api!(self, lua_upvalueid, function, n) as usize
    }

    /// Makes upvalue `n` of one Lua function the same variable as upvalue `m` of another.
    pub fn upvalue_join(&self, function: c_int, n: c_int, other: c_int, m: c_int) {
        api!(self, lua_upvaluejoin, function, n, other, m)
    }

    /// Takes the error value of a failed call off the stack.
    pub(super) fn pop_error(&self, status: c_int) -> Error {
        let text = || match self.kind(-1) {
            Type::String => self.bytes(-1).to_vec(),
            kind => format!("(error object is a {} value)", kind.name()).into_bytes(),
        };
        let error = match status {
            lua::LUA_ERRMEM => Error::Memory,
            lua::LUA_ERRGCMM => Error::Finalizer(text()),
            _ => Error::Lua(text()),
        };
        self.pop(1);
        error
    }
}
