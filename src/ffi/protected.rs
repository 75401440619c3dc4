//! A state where errors may be raised, and the calls that raise them.

use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr;

use mlua::ffi as lua;

use super::call::NativeFunction;
use super::stack::{Key, Stack, Type, api};

/// A [`Stack`] inside a protected call or a native function, where a call may leave by `longjmp`: because memory ran out,
/// because a finalizer failed, or because of an error in the Lua code that it runs.
///
/// Only the bodies of [`Stack::protected`], [`native`](super::native) functions and
/// [`continuation`](super::continuation)s get one. A function that takes `&Protected` may be left that way, and no
/// destructor of it or of its callers up to that body runs then. So they own nothing at a call that takes `&Protected`;
/// what has to be dropped is owned outside, and borrowed. Functions that take `&Stack` always return.
///
/// To be raised on the innermost protected call: not through the `Protected` of one coroutine inside the body of another's.
pub struct Protected<'s>(Stack<'s>);

impl<'s> Deref for Protected<'s> {
    type Target = Stack<'s>;

    fn deref(&self) -> &Stack<'s> {
        &self.0
    }
}

/// The name in the registry of the metatable that file handles have (`LUA_FILEHANDLE`).
const FILE_HANDLE: &str = "FILE*";

impl Protected<'_> {
    /// Wraps a state.
    ///
    /// # Safety
    /// As for [`Stack::new`]. An error raised in the state passes only frames that own nothing.
    pub(super) unsafe fn new<'s>(l: *mut lua::lua_State) -> Protected<'s> {
        // SAFETY: as promised by the caller.
        Protected(unsafe { Stack::new(l) })
    }

    // Values into Lua.

    pub fn push_bytes(&self, bytes: &[u8]) {
        api!(self, lua_pushlstring, bytes.as_ptr().cast(), bytes.len());
    }

    /// Pushes a native function that takes the top `upvalues` values as its own.
    pub fn push_closure(&self, function: NativeFunction, upvalues: c_int) {
        api!(self, lua_pushcclosure, function.0, upvalues)
    }

    /// Pushes the text that `tostring` gives, `__tostring` honoured.
    pub fn push_text_of(&self, index: c_int) {
        let mut length = 0;
        api!(self, luaL_tolstring, index, &mut length);
    }

    /// Pushes where the Lua code at a level of the call stack stands: `plugin.lua:12: `.
    pub fn push_where(&self, level: c_int) {
        api!(self, luaL_where, level)
    }

    /// Joins the top `count` strings into one.
    pub fn concat(&self, count: c_int) {
        api!(self, lua_concat, count)
    }

    // Tables.

    pub fn create_table(&self, array: c_int, record: c_int) {
        api!(self, lua_createtable, array, record)
    }

    /// Pushes the table's value under a text key; nil where there is no table, as for a library that is missing.
    pub fn raw_get_text(&self, table: c_int, key: &str) -> Type {
        let table = self.absolute(table);
        if self.kind(table) != Type::Table {
            self.push_nil();
            return Type::Nil;
        }
        self.push_bytes(key.as_bytes());
        self.raw_get(table)
    }

    /// Sets the key below the top to the value on top, and pops both.
    pub fn raw_set(&self, table: c_int) {
        self.assert_valid(table);
        api!(self, lua_rawset, table)
    }

    pub fn raw_set_i(&self, table: c_int, n: i64) {
        self.assert_valid(table);
        api!(self, lua_rawseti, table, n)
    }

    /// Sets a text key to the value on top, and pops it.
    pub fn raw_set_text(&self, table: c_int, key: &str) {
        let table = self.absolute(table);
        self.push_bytes(key.as_bytes());
        self.insert(-2);
        self.raw_set(table);
    }

    /// As [`Stack::next`], and faster. A key that the table does not hold is an error here, too, but a raised one.
    pub fn next(&self, table: c_int) -> bool {
        self.assert_valid(table);
        api!(self, lua_next, table) != 0
    }

    pub fn registry_set(&self, key: &'static Key) {
        api!(self, lua_rawsetp, lua::LUA_REGISTRYINDEX, ptr::from_ref(key).cast())
    }

    // Functions.

    /// Loads a file as text (bytecode is refused), by the name at an index. Pushes the chunk, or what is wrong and gives false.
    pub fn load_text_file(&self, name: c_int) -> bool {
        let name = api!(self, lua_tolstring, name, ptr::null_mut());
        api!(self, luaL_loadfilex, name, c"t".as_ptr()) == lua::LUA_OK
    }

    pub fn call(&self, arguments: c_int, results: c_int) {
        api!(self, lua_call, arguments, results)
    }

    /// Pushes a new coroutine.
    pub fn new_thread(&self) -> Stack<'_> {
        let l = api!(self, lua_newthread);
        // SAFETY: a coroutine just made in this state; it lives while it stands on this stack.
        unsafe { Stack::new(l) }
    }

    /// Pushes the call stack of a coroutine of this state from that level on, as text.
    pub fn push_traceback(&self, of: &Stack, level: c_int) {
        api!(self, luaL_traceback, of.l, ptr::null(), level)
    }

    // The state.

    /// Opens the standard library, as much of it as this Lua was built with.
    pub fn open_libraries(&self) {
        api!(self, luaL_openlibs)
    }

    /// Makes the collector begin so many KiB later.
    pub fn postpone_collector(&self, kib: c_int) {
        api!(self, lua_gc, lua::LUA_GCSTEP, -kib);
    }

    /// Collects all that nothing refers to. Raises what a finalizer raises.
    pub fn collect(&self) {
        api!(self, lua_gc, lua::LUA_GCCOLLECT, 0);
    }

    /// Makes the file handle at an index a closed one, if it is one. Its C stream stays open.
    pub fn close_handle(&self, index: c_int) {
        let handle = self.absolute(index);
        self.push_registry();
        self.raw_get_text(-1, FILE_HANDLE);
        let is_handle = self.kind(handle) == Type::Userdata && self.metatable(handle) && {
            let is_same = self.raw_equal(-1, -2);
            self.pop(1);
            is_same
        };
        self.pop(2);
        if is_handle {
            let stream = api!(self, lua_touserdata, handle);
            // SAFETY: a handle is a `luaL_Stream`, by the manual a C stream and the function that closes it,
            // which is null for a closed one.
            unsafe { (*stream.cast::<[*mut c_void; 2]>())[1] = ptr::null_mut() };
        }
    }
}
