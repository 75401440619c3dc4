//! Calls in both directions: Rust that Lua may leave by `longjmp`, and Rust that Lua calls.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua::ffi as lua;

use super::engine::{self, Errors};
use super::interrupt::stop;
use super::protected::Protected;
use super::stack::Stack;
use super::types::{NativeFunction, Type};
use super::version;
use crate::error::{Error, Result};

/// How a native function leaves, other than by returning results.
pub enum Exit {
    /// Raises the value on top of the stack.
    RaiseTop,
    /// Raises the error's text behind the position of the Lua code that called.
    Raise(Error),
    /// Raises the error's text without a position.
    RaiseBare(Error),
    /// Raises `bad argument #n to '<the name it was called by>' (<text>)`.
    BadArgument(c_int, String),
    /// Yields so many values from the top of the stack.
    Yield(c_int),
    /// Stops the code that called, in a way that it can't catch.
    Stop,
    /// Calls the function below the top so many arguments, and returns its results. It may yield.
    TailCall(c_int),
    /// Calls it in a protected call, and then runs the continuation. It may yield.
    ProtectedCall(c_int, Continuation),
    /// Runs the C function that is the first upvalue in this very frame. Its checks, and the names and positions in its
    /// messages, are then as if it had been called itself.
    TailCallOriginal,
    /// As `TailCallOriginal`, with the C function in this upvalue. It finds the others as if they were its own.
    TailCallUpvalue(c_int),
}

impl From<Error> for Exit {
    fn from(error: Error) -> Exit {
        Exit::Raise(error)
    }
}

/// The count of results, which are on top of the stack.
pub type NativeResult = std::result::Result<c_int, Exit>;

impl Stack<'_> {
    /// Calls `body` so that an error that Lua raises in it, or a panic, comes back as an [`Error`]. `body` finds the top
    /// `arguments` values as its stack. They are popped; the values that `body` leaves take their place if it succeeds.
    ///
    /// A `longjmp` leaves `body` without running destructors, so it owns nothing and only borrows.
    pub fn protected<R, F>(&self, arguments: c_int, body: F) -> Result<R>
    where
        F: FnOnce(&Protected) -> Result<R>,
    {
        const { assert!(!needs_drop::<F>(), "what a protected body uses is borrowed from outside") };
        struct Call<F, R> {
            body: Option<F>,
            outcome: Option<std::thread::Result<Result<R>>>,
        }
        unsafe extern "C-unwind" fn run<F, R>(l: *mut lua::lua_State) -> c_int
        where
            F: FnOnce(&Protected) -> Result<R>,
        {
            // SAFETY: Lua calls with the live state of this thread, in the protected call below.
            let stack = unsafe { Protected::new(l) };
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

        assert!((0..=self.top()).contains(&arguments), "{arguments} arguments are not there");
        if !self.check(3) {
            return Err(Error::Memory);
        }
        let mut call = Call { body: Some(body), outcome: None };
        self.push_native(NativeFunction(run::<F, R>));
        self.insert(-arguments - 1);
        self.push_light(ptr::from_mut(&mut call) as usize);
        // SAFETY: `l` is live; `run` stands below its arguments, of which `call` is the last and outlives the call.
        let status = unsafe { lua::lua_pcall(self.l, arguments + 1, lua::LUA_MULTRET, 0) };
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
    pub(super) fn pop_error(&self, status: c_int) -> Error {
        let text = || match self.kind(-1) {
            Type::String => self.bytes(-1),
            kind => format!("(error object is a {} value)", kind.name()).into_bytes(),
        };
        let error = match status {
            lua::LUA_ERRMEM => Error::Memory,
            status if version::is_finalizers(status) => Error::Finalizer(text()),
            _ => Error::Lua(text()),
        };
        self.pop(1);
        error
    }
}

thread_local! {
    /// The text of an error on its way into Lua. A frame could not own it: Lua leaves that by `longjmp`.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static MESSAGE_PARTS: Cell<(*const u8, usize)> = const { Cell::new((ptr::dangling(), 0)) };
}

/// The C function that runs a Rust function. Only here does an [`Error`], a panic or a yield become Lua's, after
/// everything owned was dropped.
pub fn native<F>(_: F) -> NativeFunction
where
    F: Fn(&Protected) -> NativeResult + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a native function captures nothing") };
    NativeFunction(run_native::<F>)
}

unsafe extern "C-unwind" fn run_native<F>(l: *mut lua::lua_State) -> c_int
where
    F: Fn(&Protected) -> NativeResult + Copy + 'static,
{
    // SAFETY: `native` took a value of this type, so it exists; it has no bytes to point at.
    let function = unsafe { ptr::NonNull::<F>::dangling().as_ref() };
    // SAFETY: Lua calls with the live state of this thread. What is raised here passes only this frame and `function`'s.
    let stack = unsafe { Protected::new(l) };
    let outcome = catch_unwind(AssertUnwindSafe(|| checked(&stack, function(&stack))));
    finish(&stack, PlainResult::of(outcome))
}

/// Asserts that the values that an outcome counts are there. Lua would not check.
fn checked(stack: &Stack, outcome: NativeResult) -> NativeResult {
    let needed = match outcome {
        Ok(values) | Err(Exit::Yield(values)) => values,
        Err(Exit::TailCall(arguments) | Exit::ProtectedCall(arguments, _)) => arguments.saturating_add(1),
        Err(Exit::RaiseTop) => 1,
        _ => 0,
    };
    assert!((0..=stack.top()).contains(&needed), "a native function counts values that are not there");
    outcome
}

/// A [`NativeResult`] that owns nothing: its text is in [`MESSAGE`].
#[derive(Clone, Copy)]
enum PlainResult {
    Return(c_int),
    RaiseTop,
    RaiseMessage { with_position: bool },
    BadArgument(c_int),
    Yield(c_int),
    Stop,
    TailCall(c_int),
    ProtectedCall(c_int, Continuation),
    TailCallUpvalue(c_int),
}

impl PlainResult {
    fn of(outcome: std::thread::Result<NativeResult>) -> PlainResult {
        match outcome.unwrap_or_else(|payload| Err(Exit::Raise(Error::panic(payload)))) {
            Ok(results) => PlainResult::Return(results),
            Err(Exit::RaiseTop) => PlainResult::RaiseTop,
            Err(Exit::Raise(error)) => {
                store_message(error.text());
                PlainResult::RaiseMessage { with_position: true }
            }
            Err(Exit::RaiseBare(error)) => {
                store_message(error.text());
                PlainResult::RaiseMessage { with_position: false }
            }
            Err(Exit::BadArgument(n, text)) => {
                store_message(text.into_bytes());
                PlainResult::BadArgument(n)
            }
            Err(Exit::Yield(values)) => PlainResult::Yield(values),
            Err(Exit::Stop) => PlainResult::Stop,
            Err(Exit::TailCall(arguments)) => PlainResult::TailCall(arguments),
            Err(Exit::ProtectedCall(arguments, then)) => PlainResult::ProtectedCall(arguments, then),
            Err(Exit::TailCallOriginal) => PlainResult::TailCallUpvalue(1),
            Err(Exit::TailCallUpvalue(n)) => PlainResult::TailCallUpvalue(n),
        }
    }
}

/// Leaves a native function.
fn finish(stack: &Protected, result: PlainResult) -> c_int {
    match result {
        PlainResult::Return(results) => return results,
        // SAFETY: `l` is live, and so many values are there (`checked`).
        PlainResult::Yield(values) => return unsafe { lua::lua_yieldk(stack.l, values, 0, None) },
        PlainResult::Stop => return stop(stack),
        PlainResult::TailCall(arguments) => {
            let below = stack.top() - arguments - 1;
            let context = below as lua::lua_KContext;
            // SAFETY: `l` is live; a function and its arguments are there (`checked`).
            unsafe { lua::lua_callk(stack.l, arguments, lua::LUA_MULTRET, context, Some(returned)) };
            return stack.top() - below;
        }
        PlainResult::ProtectedCall(arguments, then) => {
            // SAFETY: as above.
            let status = unsafe { lua::lua_pcallk(stack.l, arguments, lua::LUA_MULTRET, 0, 0, Some(then.0)) };
            // SAFETY: as Lua would call it, had the function yielded.
            return unsafe { (then.0)(stack.l, status, 0) };
        }
        PlainResult::TailCallUpvalue(n) => {
            // SAFETY: `l` is live. Other values are no C function.
            let original = unsafe { lua::lua_tocfunction(stack.l, lua::lua_upvalueindex(n)) };
            return match original {
                // SAFETY: a C function of the Lua that runs us, called with its live state as Lua would.
                Some(original) => unsafe { original(stack.l) },
                None => 0,
            };
        }
        PlainResult::RaiseTop => {}
        PlainResult::RaiseMessage { with_position } => {
            push_message(stack);
            if with_position {
                stack.push_where(1);
                stack.insert(-2);
                stack.concat(2);
            }
        }
        PlainResult::BadArgument(n) => {
            push_message(stack);
            // SAFETY: `l` is live. The text stays on top while Lua reads it.
            return unsafe {
                lua::luaL_argerror(stack.l, n, lua::lua_tolstring(stack.l, -1, ptr::null_mut()))
            };
        }
    }
    // SAFETY: `l` is live, and a value is on top: pushed above, or by the function (`checked`).
    unsafe { lua::lua_error(stack.l) }
}

/// Runs after an [`Exit::ProtectedCall`]. It is told whether the function returned, and finds on the stack the values
/// that stood below that function, and above them the results or the error.
#[derive(Clone, Copy)]
pub struct Continuation(lua::lua_KFunction);

/// The continuation that runs a Rust function.
pub fn continuation<F>(_: F) -> Continuation
where
    F: Fn(&Protected, bool) -> NativeResult + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a continuation captures nothing") };
    Continuation(run_continuation::<F>)
}

unsafe extern "C-unwind" fn run_continuation<F>(
    l: *mut lua::lua_State,
    status: c_int,
    _: lua::lua_KContext,
) -> c_int
where
    F: Fn(&Protected, bool) -> NativeResult + Copy + 'static,
{
    // SAFETY: `continuation` took a value of this type, so it exists; it has no bytes to point at.
    let function = unsafe { ptr::NonNull::<F>::dangling().as_ref() };
    // SAFETY: Lua calls with the live state of this thread. What is raised here passes only this frame and `function`'s.
    let stack = unsafe { Protected::new(l) };
    let has_returned = matches!(status, lua::LUA_OK | lua::LUA_YIELD);
    let outcome = catch_unwind(AssertUnwindSafe(|| checked(&stack, function(&stack, has_returned))));
    finish(&stack, PlainResult::of(outcome))
}

/// The results of a called function that has yielded meanwhile.
unsafe extern "C-unwind" fn returned(l: *mut lua::lua_State, _: c_int, below: lua::lua_KContext) -> c_int {
    // SAFETY: Lua calls with its live state.
    unsafe { lua::lua_gettop(l) - below as c_int }
}

/// Stores a text, to be raised once nothing is owned.
fn store_message(text: Vec<u8>) {
    MESSAGE.with_borrow_mut(|message| {
        *message = text;
        MESSAGE_PARTS.set((message.as_ptr(), message.len()));
    });
}

/// Frees the text that was stored last on this thread.
pub fn clear_message() {
    store_message(Vec::new());
}

/// Pushes the stored text, before Lua runs anything else: a finalizer or a hook may store another.
fn push_message(stack: &Protected) {
    let (start, length) = MESSAGE_PARTS.get();
    // SAFETY: `store_message` noted where the bytes of `MESSAGE` are, which nothing has touched since. Lua copies them, and
    // runs nothing before.
    stack.push_bytes(unsafe { std::slice::from_raw_parts(start, length) });
}

/// The entry of the module: runs `open` in the host's state, or raises why this Lua can't be served.
///
/// # Safety
/// `l` is the live state that Lua calls `luaopen_gma2workers` with.
pub unsafe fn open<F>(l: *mut lua::lua_State, open: F) -> c_int
where
    F: Fn(&Protected) -> NativeResult + Copy + 'static,
{
    let function = native(open);
    // SAFETY: as promised by the caller; what the checks raise passes nothing that owns anything.
    unsafe {
        #[cfg(all(
            feature = "module",
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))]
        super::host_lua::find(l);
        if engine::check(l) == Errors::Unwind {
            engine::refuse(l, engine::EXCEPTIONS);
        }
        (function.0)(l)
    }
}

/// Runs `body` on a stack of mlua's that holds the given values, in a protected call.
#[cfg(fuzzing)]
pub fn with_stack<R, F>(lua: &mlua::Lua, values: impl mlua::IntoLuaMulti, body: F) -> Result<R>
where
    F: FnOnce(&Protected) -> Result<R>,
{
    let mut outcome = None;
    let slot = &mut outcome;
    // SAFETY: the state that mlua gives is live; what `body` raises passes no frame but its own, and it
    // keeps to the rule of owning nothing where Lua may raise.
    let ran = unsafe {
        lua.exec_raw::<()>(values, |l| {
            let stack = Protected::new(l);
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
