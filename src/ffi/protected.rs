//! A state where errors may be raised, and the calls that raise them.

use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr;

use mlua::ffi as lua;

use super::stack::Stack;
use super::types::{Key, NativeFunction, Type};

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

/// A table on the stack that was found to be one: for loops, which then need not look again each time. Its slot has to keep
/// it, which debug builds assert.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    stack: &'a Protected<'a>,
    index: c_int,
}

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

    // Values.

    pub fn push_bytes(&self, bytes: &[u8]) {
        // SAFETY: `l` is live; the caller has room for one more value. Lua copies the bytes.
        unsafe { lua::lua_pushlstring(self.l, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Pushes a native function that takes the top `upvalues` values as its own.
    pub fn push_closure(&self, function: NativeFunction, upvalues: c_int) {
        const MOST: c_int = 255;
        assert!((0..=self.top().min(MOST)).contains(&upvalues), "{upvalues} upvalues are not there");
        // SAFETY: `l` is live; so many values are there. The function is one that Lua may call.
        unsafe { lua::lua_pushcclosure(self.l, function.0, upvalues) }
    }

    /// Pushes the text that `tostring` gives, `__tostring` honoured.
    pub fn push_text_of(&self, index: c_int) {
        self.assert_valid(index);
        let mut length = 0;
        // SAFETY: `l` is live; the caller names a value, and has room for one more.
        unsafe { lua::luaL_tolstring(self.l, index, &mut length) };
    }

    /// Pushes where the Lua code at a level of the call stack stands: `plugin.lua:12: `.
    pub fn push_where(&self, level: c_int) {
        // SAFETY: `l` is live; a level that is not there gives an empty text. The caller has room for one more value.
        unsafe { lua::luaL_where(self.l, level) }
    }

    /// Joins the top `count` strings into one.
    pub fn concat(&self, count: c_int) {
        assert!((0..=self.top()).contains(&count), "there are {} values to join, not {count}", self.top());
        // SAFETY: `l` is live; so many values are there. What can't be joined is an error.
        unsafe { lua::lua_concat(self.l, count) }
    }

    // Tables.

    /// Pushes a new table with room for so many items and fields.
    pub fn create_table(&self, array: c_int, record: c_int) {
        // SAFETY: `l` is live; the caller has room for one more value.
        unsafe { lua::lua_createtable(self.l, array.max(0), record.max(0)) }
    }

    /// As [`Protected::create_table`], and gives the table.
    pub fn new_table(&self, array: c_int, record: c_int) -> Table<'_> {
        self.create_table(array, record);
        Table { stack: self, index: self.top() }
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

    /// The table at an index.
    pub fn table(&self, index: c_int) -> Table<'_> {
        self.assert_table(index);
        Table { stack: self, index }
    }

    /// Sets the key below the top to the value on top, and pops both.
    pub fn raw_set(&self, table: c_int) {
        self.table(table).raw_set();
    }

    /// Sets item `n` to the value on top, and pops it.
    pub fn raw_set_i(&self, table: c_int, n: i64) {
        self.table(table).raw_set_i(n);
    }

    /// Sets a text key to the value on top, and pops it.
    pub fn raw_set_text(&self, table: c_int, key: &str) {
        let table = self.absolute(table);
        self.push_bytes(key.as_bytes());
        self.insert(-2);
        self.raw_set(table);
    }

    /// As [`Stack::next`], and faster: a key that the table does not hold is a raised error.
    pub fn next(&self, table: c_int) -> bool {
        self.table(table).next()
    }

    pub fn registry_set(&self, key: &'static Key) {
        self.assert_valid(-1);
        // SAFETY: `l` is live; the registry is a table, and the caller pushed a value.
        unsafe { lua::lua_rawsetp(self.l, lua::LUA_REGISTRYINDEX, ptr::from_ref(key).cast()) }
    }

    // Functions and coroutines.

    /// Loads a file as text (bytecode is refused), by the name at an index. Pushes the chunk, or what is wrong and gives false.
    pub fn load_text_file(&self, name: c_int) -> bool {
        // SAFETY: `l` is live; the caller names a value. A number becomes its text in place.
        let name = unsafe { lua::lua_tolstring(self.l, name, ptr::null_mut()) };
        assert!(!name.is_null(), "the name of a file is a text");
        // SAFETY: `l` is live; the name stays on the stack. The caller has room for one more value.
        unsafe { lua::luaL_loadfilex(self.l, name, c"t".as_ptr()) == lua::LUA_OK }
    }

    /// Calls the function below the top `arguments` values. Raises what it raises.
    pub fn call(&self, arguments: c_int, results: c_int) {
        assert!((0..self.top()).contains(&arguments), "there is no function below {arguments} arguments");
        // SAFETY: `l` is live; there are so many arguments and something to call. Lua makes room for all results, and the
        // caller has it for a fixed number.
        unsafe { lua::lua_call(self.l, arguments, results) }
    }

    /// Pushes a new coroutine, which lives while Lua can reach it.
    pub fn new_thread(&self) -> Stack<'_> {
        // SAFETY: `l` is live; the caller has room for one more value.
        let l = unsafe { lua::lua_newthread(self.l) };
        // SAFETY: a live coroutine of this state; the caller keeps it on the stack, or somewhere else in the state.
        unsafe { Stack::new(l) }
    }

    /// Pushes the call stack of a coroutine of this state from that level on, as text.
    pub fn push_traceback(&self, of: &Stack, level: c_int) {
        self.assert_same_state(of);
        // SAFETY: both are live coroutines of one state; the caller has room for one more value.
        unsafe { lua::luaL_traceback(self.l, of.l, ptr::null(), level) }
    }

    // The state.

    /// Opens the standard library, as much of it as this Lua was built with.
    pub fn open_libraries(&self) {
        // SAFETY: `l` is live.
        unsafe { lua::luaL_openlibs(self.l) }
    }

    /// Makes the collector begin so many KiB later.
    pub fn postpone_collector(&self, kib: c_int) {
        // SAFETY: `l` is live. Where the collector is that late already, it works now.
        unsafe { lua::lua_gc(self.l, lua::LUA_GCSTEP, -kib) };
    }

    /// Collects everything that nothing refers to. Raises what a finalizer raises.
    pub fn collect(&self) {
        // SAFETY: `l` is live.
        unsafe { lua::lua_gc(self.l, lua::LUA_GCCOLLECT, 0) };
    }

    /// Whether the value at an index is a file handle.
    pub fn is_file(&self, index: c_int) -> bool {
        let handle = self.absolute(index);
        self.push_registry();
        self.raw_get_text(-1, FILE_HANDLE);
        let has_metatable = self.metatable(handle);
        let is_file = has_metatable && self.kind(handle) == Type::Userdata && self.raw_equal(-1, -2);
        self.pop(2 + c_int::from(has_metatable));
        is_file
    }

    /// Marks the file handle at an index as closed, if it is one. Its C stream stays open.
    pub fn close_handle(&self, index: c_int) {
        let handle = self.absolute(index);
        if self.is_file(handle) {
            // SAFETY: `l` is live; the index is that of a full userdata.
            let stream = unsafe { lua::lua_touserdata(self.l, handle) };
            // SAFETY: only the `io` library gives that metatable, and only to a `luaL_Stream`: by the manual, a C stream and
            // the function that closes it, which is null for a closed one.
            unsafe { (*stream.cast::<[*mut c_void; 2]>())[1] = ptr::null_mut() };
        }
    }
}

impl Table<'_> {
    /// Where it stands.
    pub fn index(self) -> c_int {
        self.index
    }

    /// As [`Protected::raw_set`].
    pub fn raw_set(self) {
        self.stack.assert_valid(-2);
        self.assert_kept();
        // SAFETY: `l` is live; the slot keeps the table, and the caller pushed a key and a value.
        unsafe { lua::lua_rawset(self.stack.l, self.index) }
    }

    /// As [`Protected::raw_set_i`].
    pub fn raw_set_i(self, n: i64) {
        self.stack.assert_valid(-1);
        self.assert_kept();
        // SAFETY: `l` is live; the slot keeps the table, and the caller pushed a value.
        unsafe { lua::lua_rawseti(self.stack.l, self.index, n) }
    }

    /// As [`Protected::next`].
    pub fn next(self) -> bool {
        self.stack.assert_valid(-1);
        self.assert_kept();
        // SAFETY: `l` is live; the slot keeps the table, and the caller pushed a key and has room for one more value.
        unsafe { lua::lua_next(self.stack.l, self.index) != 0 }
    }

    fn assert_kept(self) {
        debug_assert_eq!(self.stack.kind(self.index), Type::Table, "at stack index {}", self.index);
    }
}
