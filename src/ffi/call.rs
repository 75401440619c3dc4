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
use super::types::Type;
use crate::error::{Error, Result};

/// How a native function leaves other than by returning results.
pub enum Leave {
    /// The value on top of the stack is raised.
    Top,
    /// The error's text is raised, with the position of the Lua code that called.
    Error(Error),
    /// The error's text is raised, without a position.
    Bare(Error),
    /// `bad argument #n to '<the name it was called by>' (<text>)` is raised.
    Argument(c_int, String),
    /// Yields that many values from the top of the stack.
    Yield(c_int),
    /// Stops the code that called, in a way that it can't catch.
    Stop,
    /// Calls the function below the top so many arguments, and returns what it returns. It may yield.
    Call(c_int),
    /// The same in a protected call, and then goes on as that says.
    Attempt(c_int, Continuation),
    /// Goes on in the C function that is the first upvalue, on this very frame: so its checks, and the
    /// names and positions in its messages, are as if it had been called itself.
    Original,
}

impl From<Error> for Leave {
    fn from(error: Error) -> Leave {
        Leave::Error(error)
    }
}

/// What a native function gives: the count of results on top of the stack.
pub type Returns = std::result::Result<c_int, Leave>;

impl Stack<'_> {
    /// Calls `body` so that what it raises, Lua error or panic, comes back as an [`Error`]. The top
    /// `arguments` values are its stack; what it leaves there takes their place when it ends well, and
    /// nothing does when it fails.
    ///
    /// A `longjmp` leaves `body` without running destructors: it must own nothing, only borrow.
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

thread_local! {
    /// Text on its way into a Lua error. It rests here, not on a frame, while Lua may `longjmp`.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static MESSAGE_PARTS: Cell<(*const u8, usize)> = const { Cell::new((ptr::dangling(), 0)) };
}

/// A function as Lua calls it: one of ours, or one that was found in a state.
#[derive(Clone, Copy)]
pub struct NativeFunction(pub(super) lua::lua_CFunction);

/// The C function that runs a Rust function. It is the one place where an [`Error`], a panic or a yield
/// of ours becomes Lua's, after everything owned is gone.
pub fn native<F>(_: F) -> NativeFunction
where
    F: Fn(&Protected) -> Returns + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a native function captures nothing") };
    NativeFunction(run_native::<F>)
}

unsafe extern "C-unwind" fn run_native<F>(l: *mut lua::lua_State) -> c_int
where
    F: Fn(&Protected) -> Returns + Copy + 'static,
{
    // SAFETY: `native` took a value of this type, so it exists; it has no bytes to point at.
    let function = unsafe { ptr::NonNull::<F>::dangling().as_ref() };
    // SAFETY: Lua calls with the live state of this thread. What is raised here passes only this frame and `function`'s.
    let stack = unsafe { Protected::new(l) };
    let outcome = catch_unwind(AssertUnwindSafe(|| checked(&stack, function(&stack))));
    finish(&stack, Way::of(outcome))
}

/// An outcome that names no more values than there are; Lua would not look.
fn checked(stack: &Stack, outcome: Returns) -> Returns {
    let needed = match outcome {
        Ok(values) | Err(Leave::Yield(values)) => values,
        Err(Leave::Call(arguments) | Leave::Attempt(arguments, _)) => arguments.saturating_add(1),
        Err(Leave::Top) => 1,
        _ => 0,
    };
    assert!((0..=stack.top()).contains(&needed), "a native function left without the values that it names");
    outcome
}

/// A [`Returns`] that owns nothing: its text was laid down.
#[derive(Clone, Copy)]
enum Way {
    Return(c_int),
    Raise,
    RaiseText { with_position: bool },
    RaiseArgument(c_int),
    Yield(c_int),
    Stop,
    Call(c_int),
    Attempt(c_int, Continuation),
    Original,
}

impl Way {
    fn of(outcome: std::thread::Result<Returns>) -> Way {
        match outcome.unwrap_or_else(|payload| Err(Leave::Error(Error::panic(payload)))) {
            Ok(results) => Way::Return(results),
            Err(Leave::Top) => Way::Raise,
            Err(Leave::Error(error)) => {
                leave_message(error.text());
                Way::RaiseText { with_position: true }
            }
            Err(Leave::Bare(error)) => {
                leave_message(error.text());
                Way::RaiseText { with_position: false }
            }
            Err(Leave::Argument(n, text)) => {
                leave_message(text.into_bytes());
                Way::RaiseArgument(n)
            }
            Err(Leave::Yield(values)) => Way::Yield(values),
            Err(Leave::Stop) => Way::Stop,
            Err(Leave::Call(arguments)) => Way::Call(arguments),
            Err(Leave::Attempt(arguments, then)) => Way::Attempt(arguments, then),
            Err(Leave::Original) => Way::Original,
        }
    }
}

/// Leaves a native function.
fn finish(stack: &Protected, way: Way) -> c_int {
    match way {
        Way::Return(results) => return results,
        // SAFETY: `l` is live, and so many values are there (`checked`).
        Way::Yield(values) => return unsafe { lua::lua_yieldk(stack.l, values, 0, None) },
        Way::Stop => return stop(stack),
        Way::Call(arguments) => {
            let below = stack.top() - arguments - 1;
            let context = below as lua::lua_KContext;
            // SAFETY: `l` is live; a function and its arguments are there (`checked`).
            unsafe { lua::lua_callk(stack.l, arguments, lua::LUA_MULTRET, context, Some(returned)) };
            return stack.top() - below;
        }
        Way::Attempt(arguments, then) => {
            // SAFETY: as above.
            let status = unsafe { lua::lua_pcallk(stack.l, arguments, lua::LUA_MULTRET, 0, 0, Some(then.0)) };
            // SAFETY: as Lua would call it, had the function yielded.
            return unsafe { (then.0)(stack.l, status, 0) };
        }
        Way::Original => {
            // SAFETY: `l` is live. Other values are no C function.
            let original = unsafe { lua::lua_tocfunction(stack.l, lua::lua_upvalueindex(1)) };
            return match original {
                // SAFETY: a C function of the Lua that runs us, called with its live state as Lua would.
                Some(original) => unsafe { original(stack.l) },
                None => 0,
            };
        }
        Way::Raise => {}
        Way::RaiseText { with_position } => {
            push_message(stack);
            if with_position {
                stack.push_where(1);
                stack.insert(-2);
                stack.concat(2);
            }
        }
        Way::RaiseArgument(n) => {
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

/// What a native function does after [`Leave::Attempt`]. It is told whether the call returned, and finds on the stack what
/// stood below the called function, and above that the results or the error.
#[derive(Clone, Copy)]
pub struct Continuation(lua::lua_KFunction);

/// The continuation that runs a Rust function.
pub fn continuation<F>(_: F) -> Continuation
where
    F: Fn(&Protected, bool) -> Returns + Copy + 'static,
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
    F: Fn(&Protected, bool) -> Returns + Copy + 'static,
{
    // SAFETY: `continuation` took a value of this type, so it exists; it has no bytes to point at.
    let function = unsafe { ptr::NonNull::<F>::dangling().as_ref() };
    // SAFETY: Lua calls with the live state of this thread. What is raised here passes only this frame and `function`'s.
    let stack = unsafe { Protected::new(l) };
    let has_returned = matches!(status, lua::LUA_OK | lua::LUA_YIELD);
    let outcome = catch_unwind(AssertUnwindSafe(|| checked(&stack, function(&stack, has_returned))));
    finish(&stack, Way::of(outcome))
}

/// What a called function returned, after a yield in it.
unsafe extern "C-unwind" fn returned(l: *mut lua::lua_State, _: c_int, below: lua::lua_KContext) -> c_int {
    // SAFETY: Lua calls with its live state.
    unsafe { lua::lua_gettop(l) - below as c_int }
}

/// Lays down a text from where it can be raised once nothing is owned any more.
fn leave_message(text: Vec<u8>) {
    MESSAGE.with_borrow_mut(|message| {
        *message = text;
        MESSAGE_PARTS.set((message.as_ptr(), message.len()));
    });
}

/// Gives back the room of the text that was laid down last on this thread.
pub fn forget_message() {
    leave_message(Vec::new());
}

/// Pushes the text that was laid down just before: a finalizer or hook that runs in between may lay down another.
fn push_message(stack: &Protected) {
    let (start, length) = MESSAGE_PARTS.get();
    // SAFETY: `leave_message` noted where the bytes of `MESSAGE` are, which nothing has touched since. Lua copies them, and
    // runs nothing before.
    stack.push_bytes(unsafe { std::slice::from_raw_parts(start, length) });
}

/// The entry of the module: wraps the host's state for `open`, if its Lua is one that can be served.
///
/// # Safety
/// `l` is the live state that Lua calls `luaopen_gma2workers` with.
pub unsafe fn open<F>(l: *mut lua::lua_State, open: F) -> c_int
where
    F: Fn(&Protected) -> Returns + Copy + 'static,
{
    let function = native(open);
    // SAFETY: as promised by the caller; what the checks raise passes nothing that owns anything.
    unsafe {
        #[cfg(all(feature = "module", target_os = "linux", target_arch = "x86_64"))]
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
