//! One `lua_State`: its stack, and the values on it.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use mlua::ffi as lua;

use super::types::{NativeFunction, Plain, Type};

/// One `lua_State`, on the thread that may use it now, with the calls that never raise. It can't outlive what it borrows
/// its state from. Neither `Send` nor `Sync`; a copy is the same state.
#[derive(Clone, Copy)]
pub struct Stack<'s> {
    pub(super) l: *mut lua::lua_State,
    _state: PhantomData<&'s ()>,
}

impl<'s> Stack<'s> {
    /// Wraps a state.
    ///
    /// # Safety
    /// For as long as `'s`, `l` is a live state or coroutine of this library's Lua, and no other thread uses it.
    pub(super) unsafe fn new(l: *mut lua::lua_State) -> Stack<'s> {
        Stack { l, _state: PhantomData }
    }

    /// Asserts, in debug builds, that an index names a value.
    pub(super) fn assert_valid(&self, index: c_int) {
        debug_assert!(
            index <= lua::LUA_REGISTRYINDEX || index.unsigned_abs() <= self.top() as u32,
            "no value at stack index {index}, top is {}",
            self.top()
        );
    }

    /// Asserts, in debug builds, that an index does not lie below the stack. One above it is without a value.
    fn assert_readable(&self, index: c_int) {
        debug_assert!(
            index <= lua::LUA_REGISTRYINDEX || index >= -self.top(),
            "stack index {index} lies below the stack, top is {}",
            self.top()
        );
    }

    // Stack.

    pub fn top(&self) -> c_int {
        // SAFETY: `l` is live, as `new` was promised.
        unsafe { lua::lua_gettop(self.l) }
    }

    /// Pops values, or pushes nils, until so many are left. Negative numbers count from the top.
    pub fn set_top(&self, index: c_int) {
        debug_assert!(index >= -self.top() - 1, "no stack index {index}, top is {}", self.top());
        // SAFETY: `l` is live; the index is on the stack or in room that the caller asked for.
        unsafe { lua::lua_settop(self.l, index) }
    }

    pub fn pop(&self, count: c_int) {
        debug_assert!(count <= self.top(), "there are {} values to pop, not {count}", self.top());
        // SAFETY: `l` is live; the caller pops what is there.
        unsafe { lua::lua_settop(self.l, -count - 1) }
    }

    /// Makes room for `count` more values; false where Lua's stack limit or memory says no.
    #[must_use]
    pub fn check(&self, count: c_int) -> bool {
        // SAFETY: `l` is live. Lua grows the stack in a protected call of its own.
        unsafe { lua::lua_checkstack(self.l, count) != 0 }
    }

    pub fn absolute(&self, index: c_int) -> c_int {
        // SAFETY: `l` is live; this is arithmetic.
        unsafe { lua::lua_absindex(self.l, index) }
    }

    pub fn push_value(&self, index: c_int) {
        self.assert_valid(index);
        // SAFETY: `l` is live; the caller names a value and has room for one more.
        unsafe { lua::lua_pushvalue(self.l, index) }
    }

    /// Moves the value on top to an index, below what stands there.
    pub fn insert(&self, index: c_int) {
        self.assert_valid(index);
        // SAFETY: `l` is live; the caller names a place on the stack.
        unsafe { lua::lua_rotate(self.l, index, 1) }
    }

    pub fn remove(&self, index: c_int) {
        self.assert_valid(index);
        // SAFETY: `l` is live; the caller names a place on the stack.
        unsafe { lua::lua_rotate(self.l, index, -1) };
        self.pop(1);
    }

    /// Removes `count` values from an index up.
    pub fn remove_range(&self, index: c_int, count: c_int) {
        let above = self.top() - index + 1;
        assert!(index > 0 && (0..=above).contains(&count), "there are {above} values, not {count}");
        // SAFETY: `l` is live; so many values are there.
        unsafe { lua::lua_rotate(self.l, index, -count) };
        self.pop(count);
    }

    /// Moves the value on top to an index, in place of what stands there.
    pub fn replace(&self, index: c_int) {
        self.assert_valid(index);
        // SAFETY: `l` is live; the caller names a place on the stack.
        unsafe { lua::lua_copy(self.l, -1, index) };
        self.pop(1);
    }

    /// Moves the top `count` values to another coroutine of the same state, which has room for them.
    pub fn move_to(&self, other: &Stack, count: c_int) {
        self.assert_same_state(other);
        assert!((0..=self.top()).contains(&count), "there are {} values to move, not {count}", self.top());
        // SAFETY: both are live coroutines of one state, and so many values are there; the caller asked for room.
        unsafe { lua::lua_xmove(self.l, other.l, count) }
    }

    /// Asserts that two coroutines are of one state: only they may share values.
    pub(super) fn assert_same_state(&self, other: &Stack) {
        assert!(
            self.pointer(lua::LUA_REGISTRYINDEX) == other.pointer(lua::LUA_REGISTRYINDEX),
            "values of one state can't be moved to another"
        );
    }

    // Values out of Lua.

    pub fn kind(&self, index: c_int) -> Type {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        Type::of(unsafe { lua::lua_type(self.l, index) })
    }

    pub fn is_integer(&self, index: c_int) -> bool {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        unsafe { lua::lua_isinteger(self.l, index) != 0 }
    }

    pub fn is_native(&self, index: c_int) -> bool {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        unsafe { lua::lua_iscfunction(self.l, index) != 0 }
    }

    /// The native function that the value is, if it has no upvalues: then it is the same in all states.
    pub fn plain_native(&self, index: c_int) -> Option<NativeFunction> {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack. Other values are no C function.
        let function = unsafe { lua::lua_tocfunction(self.l, index) }?;
        (!self.has_upvalue(index, 1)).then_some(NativeFunction(function))
    }

    /// The integer that the value is: no float, and no text.
    pub fn whole(&self, index: c_int) -> Option<i64> {
        // Without that, a whole float would be converted.
        self.is_integer(index).then(|| {
            // SAFETY: `l` is live; the index is that of an integer.
            unsafe { lua::lua_tointegerx(self.l, index, ptr::null_mut()) }
        })
    }

    /// The integer that the value is, or is convertible to.
    pub fn integer(&self, index: c_int) -> Option<i64> {
        self.assert_readable(index);
        let mut is_integer = 0;
        // SAFETY: `l` is live; the index is not below the stack. A text is read and stays a text.
        let value = unsafe { lua::lua_tointegerx(self.l, index, &mut is_integer) };
        (is_integer != 0).then_some(value)
    }

    /// The number that the value is, or is convertible to.
    pub fn number(&self, index: c_int) -> Option<f64> {
        self.assert_readable(index);
        let mut is_number = 0;
        // SAFETY: `l` is live; the index is not below the stack. A text is read and stays a text.
        let value = unsafe { lua::lua_tonumberx(self.l, index, &mut is_number) };
        (is_number != 0).then_some(value)
    }

    pub fn boolean(&self, index: c_int) -> bool {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        unsafe { lua::lua_toboolean(self.l, index) != 0 }
    }

    /// Calls `body` with the bytes of a string, or with none for any other value. No stack is [`Send`], so `body` has none
    /// with which it could pop the string.
    #[inline]
    pub fn with_bytes<R>(&self, index: c_int, body: impl FnOnce(&[u8]) -> R + Send) -> R {
        if self.kind(index) != Type::String {
            return body(&[]);
        }
        // SAFETY: the value is a string, and it stays on the stack until `body` returns.
        body(unsafe { self.string(index) })
    }

    /// The bytes of a string.
    ///
    /// # Safety
    /// The value is a string, and it stays on the stack for as long as the bytes are used.
    #[inline]
    unsafe fn string<'b>(&self, index: c_int) -> &'b [u8] {
        let mut length = 0;
        // SAFETY: `l` is live, and the value is a string: nothing is converted, so nothing raised.
        let start = unsafe { lua::lua_tolstring(self.l, index, &mut length) };
        // SAFETY: a string's bytes don't move, and it stays on the stack, as promised by the caller.
        unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }
    }

    /// Reads a value, which takes fewer calls than asking for its type first. Calls `body` with the bytes of a text, as
    /// [`Stack::with_bytes`] does.
    #[inline(always)] // It is called for each value of a table.
    pub fn plain<R>(&self, index: c_int, body: impl FnOnce(&[u8]) -> R + Send) -> Plain<R> {
        match self.kind(index) {
            Type::None | Type::Nil => Plain::Nil,
            Type::Boolean => Plain::Boolean(self.boolean(index)),
            Type::Number => match self.whole(index) {
                Some(value) => Plain::Integer(value),
                None => Plain::Float(self.number(index).unwrap_or(0.0)),
            },
            Type::LightUserdata => Plain::Light(self.light(index)),
            // SAFETY: the value is a string, and it stays on the stack until `body` returns.
            Type::String => Plain::Text(body(unsafe { self.string(index) })),
            kind => Plain::Other(kind),
        }
    }

    /// A copy of the bytes of a string; no bytes for any other value.
    pub fn bytes(&self, index: c_int) -> Vec<u8> {
        self.with_bytes(index, <[u8]>::to_vec)
    }

    /// A copy of a string as text, with a replacement for what is no UTF-8; an empty text for any other value.
    pub fn text(&self, index: c_int) -> String {
        self.with_bytes(index, |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Whether the value has these bytes; a value that is no string has none.
    pub fn has_bytes(&self, index: c_int, expected: &[u8]) -> bool {
        self.with_bytes(index, |bytes| bytes == expected)
    }

    /// The identity of a table, function, userdata or coroutine.
    pub fn pointer(&self, index: c_int) -> usize {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        unsafe { lua::lua_topointer(self.l, index) as usize }
    }

    /// The address that a light userdata is.
    pub fn light(&self, index: c_int) -> usize {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        unsafe { lua::lua_touserdata(self.l, index) as usize }
    }

    /// The length of a table or string, no metamethod asked; 0 for anything else.
    pub fn raw_len(&self, index: c_int) -> usize {
        self.assert_readable(index);
        // SAFETY: `l` is live; the index is not below the stack.
        unsafe { lua::lua_rawlen(self.l, index) }
    }

    pub fn raw_equal(&self, a: c_int, b: c_int) -> bool {
        self.assert_readable(a);
        self.assert_readable(b);
        // SAFETY: `l` is live; neither index is below the stack. An index without a value equals nothing.
        unsafe { lua::lua_rawequal(self.l, a, b) != 0 }
    }

    // Values into Lua, where they take no memory.

    pub fn push_nil(&self) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushnil(self.l) }
    }

    pub fn push_boolean(&self, value: bool) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushboolean(self.l, value.into()) }
    }

    pub fn push_integer(&self, value: i64) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushinteger(self.l, value) }
    }

    pub fn push_number(&self, value: f64) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushnumber(self.l, value) }
    }

    /// Pushes an address as a light userdata, which Lua never follows.
    pub fn push_light(&self, value: usize) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushlightuserdata(self.l, value as *mut c_void) }
    }

    /// Pushes a native function without upvalues.
    pub fn push_native(&self, function: NativeFunction) {
        // SAFETY: `l` is live; the caller has room for one more value. The function is one that Lua may call.
        unsafe { lua::lua_pushcclosure(self.l, function.0, 0) }
    }

    /// Pushes upvalue `n` of the native function that runs, from 1; nil where it has none.
    pub fn push_upvalue(&self, n: c_int) {
        // SAFETY: `l` is live; the caller has room for one more value. Lua knows how many upvalues there are.
        unsafe { lua::lua_pushvalue(self.l, lua::lua_upvalueindex(n)) }
    }

    pub fn push_globals(&self) {
        // SAFETY: `l` is live; the caller has room for one more value. The registry is a table.
        unsafe { lua::lua_rawgeti(self.l, lua::LUA_REGISTRYINDEX, lua::LUA_RIDX_GLOBALS) };
    }

    pub fn push_registry(&self) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_pushvalue(self.l, lua::LUA_REGISTRYINDEX) }
    }
}
