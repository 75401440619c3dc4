//! The unsafe fence: the Lua C API as this crate uses it, and nothing else.
//!
//! [`Stack`] wraps one `lua_State`. Whoever makes one promises, once, what every method rests on; the
//! rest of the crate is then written in safe code with the manual's own words (`raw_get_i`, `next`,
//! `rotate`). Two rules are the caller's to keep:
//!
//! - **Indices** name values that are there, and room was asked for (`check`) beyond the twenty slots
//!   that Lua gives a C function. Debug builds assert the first.
//! - **Raising.** A method marked *raises* may leave by `longjmp` (memory ran out, or a Lua error). It
//!   is called only inside [`Stack::protected`] or a [`native`] function, and no Rust frame in between
//!   may own anything. So whatever is owned lives outside `protected`, and is borrowed inside.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, needs_drop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua::ffi as lua;

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

/// How a native function leaves other than by returning results.
pub enum Raise {
    /// The value on top of the stack is the error.
    Top,
    /// The error's text, with the position of the Lua code that called.
    Error(Error),
    /// Yield that many values from the top of the stack.
    Yield(c_int),
}

impl From<Error> for Raise {
    fn from(error: Error) -> Raise {
        Raise::Error(error)
    }
}

/// What a native function gives: the count of results on top of the stack.
pub type Returns = std::result::Result<c_int, Raise>;

/// How a resumed coroutine came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    Returned,
    Yielded,
    Raised,
    OutOfMemory,
}

/// An address that names one entry of a state's registry.
pub struct Key(#[allow(dead_code, reason = "its address is its meaning")] u8);

impl Key {
    pub const fn new() -> Key {
        Key(0)
    }
}

/// One `lua_State`, on the thread that may use it now. Neither `Send` nor `Sync`; a copy is the same state.
#[derive(Clone, Copy)]
pub struct Stack {
    l: *mut lua::lua_State,
}

/// Calls the C API on the wrapped state.
macro_rules! api {
    ($stack:expr, $function:ident $(, $argument:expr)*) => {
        // SAFETY: `Stack::new`'s caller promised a live state used on this thread alone; the callers of
        // `Stack`'s methods keep to the two rules at the head of this file.
        unsafe { lua::$function($stack.l $(, $argument)*) }
    };
}

impl Stack {
    /// Wraps a state.
    ///
    /// # Safety
    /// `l` is a live state or coroutine of Lua 5.3, no other thread uses it while the `Stack` is in use,
    /// and it stays alive that long.
    unsafe fn new(l: *mut lua::lua_State) -> Stack {
        Stack { l }
    }

    fn assert_valid(&self, index: c_int) {
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
        match api!(self, lua_type, index) {
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

    pub fn is_integer(&self, index: c_int) -> bool {
        api!(self, lua_isinteger, index) != 0
    }

    pub fn is_native(&self, index: c_int) -> bool {
        api!(self, lua_iscfunction, index) != 0
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

    /// *Raises.*
    pub fn push_bytes(&self, bytes: &[u8]) {
        api!(self, lua_pushlstring, bytes.as_ptr().cast(), bytes.len());
    }

    /// *Raises.* A native function, with the top `upvalues` values as its own.
    pub fn push_native(&self, function: lua::lua_CFunction, upvalues: c_int) {
        api!(self, lua_pushcclosure, function, upvalues)
    }

    /// The running native function's own value number `n`, from 1.
    pub fn push_upvalue(&self, n: c_int) {
        api!(self, lua_pushvalue, lua::lua_upvalueindex(n))
    }

    pub fn push_globals(&self) {
        api!(self, lua_rawgeti, lua::LUA_REGISTRYINDEX, lua::LUA_RIDX_GLOBALS);
    }

    /// *Raises.* The text that `tostring` gives, `__tostring` honoured.
    pub fn push_text_of(&self, index: c_int) {
        let mut length = 0;
        api!(self, luaL_tolstring, index, &mut length);
    }

    // Tables.

    /// *Raises.*
    pub fn create_table(&self, array: c_int, record: c_int) {
        api!(self, lua_createtable, array, record)
    }

    /// Replaces the key on top by the table's value for it.
    pub fn raw_get(&self, table: c_int) -> Type {
        self.assert_valid(table);
        api!(self, lua_rawget, table);
        self.kind(-1)
    }

    pub fn raw_get_i(&self, table: c_int, n: i64) -> Type {
        self.assert_valid(table);
        api!(self, lua_rawgeti, table, n);
        self.kind(-1)
    }

    /// *Raises.* Pushes the table's value under a text key.
    pub fn raw_get_text(&self, table: c_int, key: &str) -> Type {
        let table = self.absolute(table);
        self.push_bytes(key.as_bytes());
        self.raw_get(table)
    }

    /// *Raises.* Sets the key below the top to the value on top, and pops both.
    pub fn raw_set(&self, table: c_int) {
        self.assert_valid(table);
        api!(self, lua_rawset, table)
    }

    /// *Raises.*
    pub fn raw_set_i(&self, table: c_int, n: i64) {
        self.assert_valid(table);
        api!(self, lua_rawseti, table, n)
    }

    /// *Raises.* Sets a text key to the value on top, and pops it.
    pub fn raw_set_text(&self, table: c_int, key: &str) {
        let table = self.absolute(table);
        self.push_bytes(key.as_bytes());
        self.insert(-2);
        self.raw_set(table);
    }

    /// Replaces the key on top by the next key and its value; pops it and says false after the last.
    /// Raises only for a key that the table does not hold.
    pub fn next(&self, table: c_int) -> bool {
        self.assert_valid(table);
        api!(self, lua_next, table) != 0
    }

    /// Pushes the metatable, if there is one.
    pub fn metatable(&self, index: c_int) -> bool {
        api!(self, lua_getmetatable, index) != 0
    }

    /// *Raises.* Sets the table (or nil) on top as the metatable, and pops it.
    pub fn set_metatable(&self, index: c_int) {
        api!(self, lua_setmetatable, index);
    }

    pub fn registry_get(&self, key: &'static Key) -> Type {
        api!(self, lua_rawgetp, lua::LUA_REGISTRYINDEX, ptr::from_ref(key).cast());
        self.kind(-1)
    }

    /// *Raises.*
    pub fn registry_set(&self, key: &'static Key) {
        api!(self, lua_rawsetp, lua::LUA_REGISTRYINDEX, ptr::from_ref(key).cast())
    }

    pub fn push_registry(&self) {
        api!(self, lua_pushvalue, lua::LUA_REGISTRYINDEX)
    }

    // Functions.

    /// Appends the bytecode of the Lua function on top, debug information included.
    pub fn dump(&self, out: &mut Vec<u8>) {
        unsafe extern "C-unwind" fn write(
            _: *mut lua::lua_State,
            piece: *const c_void,
            size: usize,
            out: *mut c_void,
        ) -> c_int {
            // SAFETY: `lua_dump` hands on the vector given below, and a piece of `size` readable bytes.
            unsafe {
                (*out.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(piece.cast(), size))
            };
            0
        }
        api!(self, lua_dump, write, ptr::from_mut(out).cast(), 0);
    }

    /// *Raises* when memory runs out. Loads a chunk of ours, as text or as bytecode, and pushes it.
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

    /// Where the function on the stack is defined: `plugin.lua:12`.
    pub fn place_of(&self, function: c_int) -> String {
        let mut info = MaybeUninit::<lua::lua_Debug>::zeroed();
        self.push_value(function);
        api!(self, lua_getinfo, c">S".as_ptr(), info.as_mut_ptr());
        // SAFETY: zeroed memory is a valid `lua_Debug`, and `lua_getinfo` filled what 'S' asks for,
        // `short_src` among it, which it ends with a zero.
        let (source, line) = unsafe {
            let info = info.assume_init_ref();
            (CStr::from_ptr(info.short_src.as_ptr()), info.linedefined)
        };
        format!("{}:{line}", source.to_string_lossy())
    }

    /// How many upvalues the function on the stack has.
    pub fn upvalue_count(&self, function: c_int) -> c_int {
        let mut info = MaybeUninit::<lua::lua_Debug>::zeroed();
        self.push_value(function);
        api!(self, lua_getinfo, c">u".as_ptr(), info.as_mut_ptr());
        // SAFETY: zeroed memory is a valid `lua_Debug`, and 'u' filled `nups`.
        unsafe { info.assume_init_ref() }.nups.into()
    }

    /// *Raises* whatever the function raises.
    pub fn call(&self, arguments: c_int, results: c_int) {
        api!(self, lua_call, arguments, results)
    }

    /// Pushes where the Lua code at a level of the call stack stands: `plugin.lua:12: `. *Raises.*
    pub fn push_where(&self, level: c_int) {
        api!(self, luaL_where, level)
    }

    /// *Raises.* Joins the top `count` strings into one.
    pub fn concat(&self, count: c_int) {
        api!(self, lua_concat, count)
    }

    // Coroutines.

    /// *Raises.* Pushes a new coroutine.
    pub fn new_thread(&self) -> Stack {
        let l = api!(self, lua_newthread);
        // SAFETY: a coroutine just made in this state; it lives while it stands on this stack.
        unsafe { Stack::new(l) }
    }

    /// The coroutine at an index.
    pub fn thread(&self, index: c_int) -> Option<Stack> {
        let l = api!(self, lua_tothread, index);
        // SAFETY: a coroutine of this state, alive while it stands on this stack.
        (!l.is_null()).then(|| unsafe { Stack::new(l) })
    }

    /// Pushes the coroutine that this stack is; true for the state's main one.
    pub fn push_self(&self) -> bool {
        api!(self, lua_pushthread) != 0
    }

    /// Whether the coroutine is suspended in a yield, has never started, or is dead.
    pub fn is_suspended(&self) -> bool {
        api!(self, lua_status) == lua::LUA_YIELD
    }

    pub fn has_failed(&self) -> bool {
        api!(self, lua_status) > lua::LUA_YIELD
    }

    pub fn has_frames(&self) -> bool {
        let mut info = MaybeUninit::<lua::lua_Debug>::zeroed();
        api!(self, lua_getstack, 0, info.as_mut_ptr()) > 0
    }

    pub fn is_yieldable(&self) -> bool {
        api!(self, lua_isyieldable) != 0
    }

    /// Runs the coroutine on, with that many arguments from the top of its stack.
    pub fn resume(&self, from: &Stack, arguments: c_int) -> Resumed {
        match api!(self, lua_resume_, from.l, arguments) {
            lua::LUA_OK => Resumed::Returned,
            lua::LUA_YIELD => Resumed::Yielded,
            lua::LUA_ERRMEM => Resumed::OutOfMemory,
            _ => Resumed::Raised,
        }
    }

    /// *Raises.* Pushes the call stack of a coroutine of this state, as text.
    pub fn push_traceback(&self, of: &Stack) {
        api!(self, luaL_traceback, of.l, ptr::null(), 0)
    }

    // The collector.

    pub fn collector_runs(&self) -> bool {
        api!(self, lua_gc, lua::LUA_GCISRUNNING, 0) != 0
    }

    pub fn run_collector(&self, on: bool) {
        api!(self, lua_gc, if on { lua::LUA_GCRESTART } else { lua::LUA_GCSTOP }, 0);
    }

    /// *Raises* what a finalizer raises.
    pub fn collect(&self) {
        api!(self, lua_gc, lua::LUA_GCCOLLECT, 0);
    }

    /// The collector as a fresh state has it: running, with Lua's own pause and step multiplier.
    pub fn reset_collector(&self) {
        const PAUSE: c_int = 200;
        const STEP_MULTIPLIER: c_int = 200;
        api!(self, lua_gc, lua::LUA_GCSETPAUSE, PAUSE);
        api!(self, lua_gc, lua::LUA_GCSETSTEPMUL, STEP_MULTIPLIER);
        self.run_collector(true);
    }

    // Protected calls.

    /// Calls `body` so that what it raises, Lua error or panic, comes back as an [`Error`]. The top
    /// `arguments` values are its stack; what it leaves there takes their place when it ends well, and
    /// nothing does when it fails.
    ///
    /// A `longjmp` leaves `body` without running destructors: it must own nothing, only borrow.
    pub fn protected<R, F>(&self, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Stack) -> Result<R>,
    {
        const { assert!(!needs_drop::<F>(), "what a protected body uses is borrowed from outside") };
        struct Call<F, R> {
            body: Option<F>,
            outcome: Option<std::thread::Result<Result<R>>>,
        }
        unsafe extern "C-unwind" fn run<F, R>(l: *mut lua::lua_State) -> c_int
        where
            F: FnOnce(&Stack) -> Result<R>,
        {
            // SAFETY: Lua calls with the live state of this thread.
            let stack = unsafe { Stack::new(l) };
            let call = stack.light(-1) as *mut Call<F, R>;
            stack.pop(1);
            // SAFETY: the light userdata is the `Call` on the frame below `lua_pcall`, which outlives
            // this function and is not touched while it runs.
            let call = unsafe { &mut *call };
            if let Some(body) = call.body.take() {
                call.outcome = Some(catch_unwind(AssertUnwindSafe(|| body(&stack))));
            }
            if matches!(call.outcome, Some(Ok(Ok(_)))) { stack.top() } else { 0 }
        }

        if !self.check(3) {
            return Err(Error::Memory);
        }
        let mut call = Call { body: Some(body), outcome: None };
        self.push_native(run::<F, R>, 0);
        self.insert(-arguments - 1);
        self.push_light(ptr::from_mut(&mut call) as usize);
        let status = api!(self, lua_pcall, arguments + 1, lua::LUA_MULTRET, 0);
        if status != lua::LUA_OK {
            return Err(self.pop_error(status));
        }
        match call.outcome {
            Some(Ok(outcome)) => outcome,
            Some(Err(payload)) => Err(Error::panic(payload)),
            None => Err(Error::Internal("a protected call came back without an outcome".into())),
        }
    }

    /// Takes the error value of a failed call off the stack.
    fn pop_error(&self, status: c_int) -> Error {
        let error = if status == lua::LUA_ERRMEM {
            Error::Memory
        } else {
            match self.kind(-1) {
                Type::String => Error::Lua(self.bytes(-1).to_vec()),
                kind => Error::Lua(format!("(error object is a {} value)", kind.name()).into_bytes()),
            }
        };
        self.pop(1);
        error
    }

    /// The state as mlua sees it.
    pub fn mlua(&self) -> &mlua::Lua {
        // SAFETY: the state is live and outlives this `Stack`.
        unsafe { mlua::Lua::get_or_init_from_ptr(self.l) }
    }
}

thread_local! {
    /// Text on its way into a Lua error. It rests here, not on a frame, while Lua may `longjmp`.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static MESSAGE_PARTS: Cell<(*const u8, usize)> = const { Cell::new((ptr::null(), 0)) };
}

/// The C function that runs a Rust function. It is the one place where an [`Error`], a panic or a yield
/// of ours becomes Lua's, after everything owned is gone.
pub fn native<F>(_: F) -> lua::lua_CFunction
where
    F: Fn(&Stack) -> Returns + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a native function captures nothing") };
    run_native::<F>
}

unsafe extern "C-unwind" fn run_native<F>(l: *mut lua::lua_State) -> c_int
where
    F: Fn(&Stack) -> Returns + Copy + 'static,
{
    // SAFETY: `native` took a value of this type, so it exists; it has no bytes to point at.
    let function = unsafe { ptr::NonNull::<F>::dangling().as_ref() };
    // SAFETY: Lua calls with the live state of this thread.
    let stack = unsafe { Stack::new(l) };
    let outcome = match catch_unwind(AssertUnwindSafe(|| function(&stack))) {
        Ok(outcome) => outcome,
        Err(payload) => Err(Raise::Error(Error::panic(payload))),
    };
    match outcome {
        Ok(results) => return results,
        Err(Raise::Yield(values)) => return api!(stack, lua_yieldk, values, 0, None),
        Err(Raise::Top) => {}
        Err(Raise::Error(error)) => {
            MESSAGE.with_borrow_mut(|message| {
                *message = error.text();
                MESSAGE_PARTS.set((message.as_ptr(), message.len()));
            });
            drop(error);
            push_message(&stack);
        }
    }
    api!(stack, lua_error)
}

/// *Raises.* Pushes the text in `MESSAGE` behind the position of the Lua code that called.
fn push_message(stack: &Stack) {
    let (start, length) = MESSAGE_PARTS.get();
    stack.push_where(1);
    api!(stack, lua_pushlstring, start.cast(), length);
    stack.concat(2);
}

/// The entry of the module: wraps the host's state for `open`.
///
/// # Safety
/// `l` is the live state that Lua calls `luaopen_gma2workers` with.
pub unsafe fn open<F>(l: *mut lua::lua_State, open: F) -> c_int
where
    F: Fn(&Stack) -> Returns + Copy + 'static,
{
    let function = native(open);
    // SAFETY: as promised by the caller.
    unsafe { function(l) }
}

/// Runs `body` on a stack that holds the given values, in a protected call.
pub fn with_stack<R, F>(lua: &mlua::Lua, values: impl mlua::IntoLuaMulti, body: F) -> Result<R>
where
    F: FnOnce(&Stack) -> Result<R>,
{
    let mut outcome = None;
    let slot = &mut outcome;
    // SAFETY: the state that mlua gives is live; what `body` raises passes no frame but its own, and it
    // keeps to the rule of owning nothing where Lua may raise.
    let ran = unsafe {
        lua.exec_raw::<()>(values, |l| {
            let stack = Stack::new(l);
            *slot = Some(catch_unwind(AssertUnwindSafe(|| body(&stack))));
            stack.set_top(0);
        })
    };
    match (ran, outcome) {
        (_, Some(Ok(outcome))) => outcome,
        (_, Some(Err(payload))) => Err(Error::panic(payload)),
        (Err(mlua::Error::MemoryError(_)), None) => Err(Error::Memory),
        (Err(cause), None) => Err(Error::Lua(cause.to_string().into_bytes())),
        (Ok(()), None) => Err(Error::Internal("a protected call came back without an outcome".into())),
    }
}

/// A function of mlua's out of a native one.
pub fn function<F>(lua: &mlua::Lua, function: F) -> mlua::Result<mlua::Function>
where
    F: Fn(&Stack) -> Returns + Copy + 'static,
{
    // SAFETY: `native` gives a C function that keeps to Lua's protocol.
    unsafe { lua.create_c_function(native(function)) }
}

/// A library's `luaopen` function.
pub type Opener = lua::lua_CFunction;

/// The standard library, by the names that `require` knows, base first.
pub const LIBRARIES: [(&CStr, Opener); 10] = [
    (c"_G", lua::luaopen_base),
    (c"package", lua::luaopen_package),
    (c"coroutine", lua::luaopen_coroutine),
    (c"table", lua::luaopen_table),
    (c"io", lua::luaopen_io),
    (c"os", lua::luaopen_os),
    (c"string", lua::luaopen_string),
    (c"math", lua::luaopen_math),
    (c"utf8", lua::luaopen_utf8),
    (c"debug", lua::luaopen_debug),
];

impl Stack {
    /// *Raises.* Opens a library, as a global too, and leaves nothing on the stack.
    pub fn open_library(&self, (name, opener): (&CStr, Opener)) {
        api!(self, luaL_requiref, name.as_ptr(), opener, 1);
        self.pop(1);
    }
}

/// What a state of our own has taken from the allocator, in bytes.
pub struct Account {
    used: Cell<usize>,
}

/// A Lua state of our own, with an allocator that keeps its account. Closed when dropped.
///
/// `!Send`: made, used and closed on one thread.
pub struct OwnState {
    l: *mut lua::lua_State,
    /// Boxed: the allocator holds its address for as long as the state lives.
    account: Box<Account>,
    _not_send: PhantomData<*mut ()>,
}

impl OwnState {
    /// An empty state, or none where memory ran out.
    pub fn new() -> Option<OwnState> {
        let account = Box::new(Account { used: Cell::new(0) });
        // SAFETY: `allocate` keeps to `lua_Alloc`'s contract, and its account outlives the state.
        let l = unsafe { lua::lua_newstate(allocate, ptr::from_ref(&*account).cast_mut().cast()) };
        (!l.is_null()).then(|| OwnState { l, account, _not_send: PhantomData })
    }

    pub fn stack(&self) -> Stack {
        // SAFETY: the state lives until `self` is dropped, and `self` can't leave this thread.
        unsafe { Stack::new(self.l) }
    }

    /// Bytes in use, from the allocator's own account.
    pub fn memory(&self) -> usize {
        self.account.used.get()
    }
}

impl Drop for OwnState {
    fn drop(&mut self) {
        // SAFETY: the state is ours, live, and not running: this is the one place that closes it.
        unsafe { lua::lua_close(self.l) }
    }
}

/// What malloc promises on the platforms we serve, and enough for every object of Lua's.
const ALIGNMENT: usize = 16;

/// `lua_Alloc` over Rust's allocator: Lua passes the old size, so no block needs a header.
unsafe extern "C" fn allocate(
    account: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: `OwnState::new` gave the account's address, and the account outlives its state.
    let account = unsafe { &*account.cast::<Account>() };
    let old = if block.is_null() { 0 } else { old };
    let layout = |size| Layout::from_size_align(size, ALIGNMENT);
    let (Ok(old_layout), Ok(new_layout)) = (layout(old), layout(new)) else {
        return ptr::null_mut();
    };
    let result = if new == 0 {
        if old > 0 {
            // SAFETY: Lua gives back a block of ours with the size it asked for.
            unsafe { dealloc(block.cast(), old_layout) };
        }
        ptr::null_mut()
    } else if old == 0 {
        // SAFETY: the layout's size is not zero.
        unsafe { alloc(new_layout) }
    } else {
        // SAFETY: the block is ours, has this layout, and the new size is not zero.
        unsafe { realloc(block.cast(), old_layout, new) }
    };
    if new == 0 || !result.is_null() {
        account.used.set(account.used.get() + new - old);
    }
    result.cast()
}

/// Keeps this library mapped until the process ends, whatever the host unloads: threads run in it.
#[cfg(unix)]
pub fn pin() -> Result<()> {
    use libloading::os::unix::{Library, RTLD_LAZY};
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let here = pin as fn() -> Result<()> as *const c_void;
    // SAFETY: `dladdr` only reads the address and fills `info`, for which zeroes are valid.
    let name = unsafe {
        if libc::dladdr(here, info.as_mut_ptr()) == 0 {
            return Err(Error::NoWorkers("the library can't find its own file".into()));
        }
        CStr::from_ptr(info.assume_init_ref().dli_fname)
    };
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(name.to_bytes().to_vec()));
    // SAFETY: RTLD_NOLOAD runs no initializer; it finds the library that runs this very code.
    let library = unsafe { Library::open(Some(path), RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    match library {
        // RTLD_NODELETE stays after the handle is closed again.
        Ok(library) => {
            library.close().map_err(|cause| Error::NoWorkers(format!("cannot pin the library: {cause}")))
        }
        // In the unit tests this code is in the program itself, which nothing unmaps.
        Err(_) if cfg!(test) => Ok(()),
        Err(cause) => Err(Error::NoWorkers(format!("cannot pin the library: {cause}"))),
    }
}

#[cfg(unix)]
use std::os::unix::ffi::OsStringExt;

/// Keeps this library mapped until the process ends, whatever the host unloads: threads run in it.
#[cfg(windows)]
pub fn pin() -> Result<()> {
    use libloading::os::windows::Library;
    Library::open_already_loaded("gma2workers.dll")
        .and_then(Library::pin)
        .map_err(|cause| Error::NoWorkers(format!("cannot pin the library: {cause}")))
}
