//! Where a worker's standard library is not Lua's: the parts that have to be native.
//!
//! - A task runs in a coroutine of its state, and must not notice: `coroutine.yield`, `running` and
//!   `isyieldable` speak as they would in a main program, and `wrap` keeps the call stack of what failed
//!   inside it.
//! - `math.random` has a generator a state; the C library's is one for the process, behind a lock.
//! - `setmetatable` notes finalizers: a state that has some is not reused, since they would run in a
//!   later task's time.
//!
//! The rest is written in Lua: `lua/worker.lua`.

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::ffi::{Raise, Resumed, Returns, Stack, Type, native};

thread_local! {
    /// The coroutine of the task that runs on this thread, by identity.
    static TASK: Cell<usize> = const { Cell::new(0) };
    /// Whether something was done to this thread's state that can't be undone.
    static SPOILED: Cell<bool> = const { Cell::new(false) };
    static RANDOM: RefCell<fastrand::Rng> = const { RefCell::new(fastrand::Rng::with_seed(0)) };
    /// The last error that left a `coroutine.wrap`, and the call stack it left behind.
    static FAILED: RefCell<Option<(Vec<u8>, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Makes each task's random numbers its own.
static SEED: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(fastrand::u64(..)));

/// What the standard library knows of the thread's next task, whose coroutine has this identity.
pub fn begin_task(task: usize) {
    TASK.set(task);
    FAILED.set(None);
    // The golden ratio's bits spread neighbouring counts over the seeds.
    let seed = SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    RANDOM.set(fastrand::Rng::with_seed(seed));
}

/// Whether the state of this thread was spoiled since the last time that was asked.
pub fn take_spoiled() -> bool {
    SPOILED.replace(false)
}

/// The call stack inside the coroutine that the error `message` came out of.
pub fn inner_traceback(message: &[u8]) -> Option<Vec<u8>> {
    FAILED.with_borrow(|failed| {
        failed.as_ref().filter(|(failed, _)| failed == message).map(|(_, traceback)| traceback.clone())
    })
}

/// Puts the native functions into the libraries. *Raises.*
pub fn install(stack: &Stack) {
    stack.push_globals();
    let globals = stack.top();
    stack.push_native(native(set_metatable), 0);
    stack.raw_set_text(globals, "setmetatable");

    stack.raw_get_text(globals, "coroutine");
    stack.push_native(native(wrap), 0);
    stack.raw_set_text(-2, "wrap");
    stack.push_native(native(yield_values), 0);
    stack.raw_set_text(-2, "yield");
    stack.push_native(native(running), 0);
    stack.raw_set_text(-2, "running");
    stack.push_native(native(is_yieldable), 0);
    stack.raw_set_text(-2, "isyieldable");

    stack.raw_get_text(globals, "math");
    stack.push_native(native(random), 0);
    stack.raw_set_text(-2, "random");
    stack.push_native(native(random_seed), 0);
    stack.raw_set_text(-2, "randomseed");
    stack.set_top(globals - 1);
}

fn bad_argument(stack: &Stack, n: i32, function: &str, expected: &str) -> Raise {
    let got = match stack.kind(n) {
        Type::None => "no value",
        kind => kind.name(),
    };
    Error::BadCall(format!("bad argument #{n} to '{function}' ({expected} expected, got {got})")).into()
}

fn set_metatable(stack: &Stack) -> Returns {
    if stack.kind(1) != Type::Table {
        return Err(bad_argument(stack, 1, "setmetatable", "table"));
    }
    let kind = stack.kind(2);
    if !matches!(kind, Type::Nil | Type::Table) {
        return Err(bad_argument(stack, 2, "setmetatable", "nil or table"));
    }
    stack.set_top(2);
    if stack.metatable(1) {
        if stack.raw_get_text(-1, "__metatable") != Type::Nil {
            return Err(Error::BadCall("cannot change a protected metatable".into()).into());
        }
        stack.set_top(2);
    }
    if kind == Type::Table {
        if stack.raw_get_text(2, "__gc") != Type::Nil {
            SPOILED.set(true);
        }
        stack.set_top(2);
    }
    stack.set_metatable(1);
    Ok(1)
}

fn wrap(stack: &Stack) -> Returns {
    if stack.kind(1) != Type::Function {
        return Err(bad_argument(stack, 1, "wrap", "function"));
    }
    let coroutine = stack.new_thread();
    stack.push_value(1);
    stack.move_to(&coroutine, 1);
    stack.push_native(native(resume_wrapped), 1);
    Ok(1)
}

fn resume_wrapped(stack: &Stack) -> Returns {
    stack.push_upvalue(1);
    let coroutine = stack.thread(-1).ok_or_else(|| Error::Internal("wrap without a coroutine".into()))?;
    stack.pop(1);
    let arguments = stack.top();
    if !coroutine.check(arguments) {
        return Err(Error::BadCall("too many arguments to resume".into()).into());
    }
    let is_dead = coroutine.has_failed()
        || !coroutine.is_suspended() && coroutine.top() == 0 && !coroutine.has_frames();
    if is_dead {
        return Err(Error::BadCall("cannot resume dead coroutine".into()).into());
    }
    stack.move_to(&coroutine, arguments);
    match coroutine.resume(stack, arguments) {
        Resumed::Returned | Resumed::Yielded => {
            let results = coroutine.top();
            if !stack.check(results + 1) {
                coroutine.pop(results);
                return Err(Error::BadCall("too many results to resume".into()).into());
            }
            coroutine.move_to(stack, results);
            Ok(results)
        }
        Resumed::Raised | Resumed::OutOfMemory => {
            coroutine.move_to(stack, 1);
            if stack.kind(-1) == Type::String {
                note_failure(stack, &coroutine);
            }
            Err(Raise::Top)
        }
    }
}

/// Puts the caller's position before the message on top, as Lua's `wrap` does, and keeps the call stack
/// of the coroutine that it came from.
fn note_failure(stack: &Stack, coroutine: &Stack) {
    stack.push_traceback(coroutine);
    stack.push_where(1);
    stack.push_value(-3);
    stack.concat(2);
    let (message, traceback, original) = (stack.bytes(-1), stack.bytes(-2), stack.bytes(-3));
    let mut whole = inner_traceback(original).unwrap_or_default();
    if !whole.is_empty() {
        whole.push(b'\n');
    }
    whole.extend_from_slice(traceback);
    FAILED.set(Some((message.to_vec(), whole)));
    stack.replace(-3);
    stack.pop(1);
}

fn is_task(stack: &Stack) -> bool {
    stack.push_self();
    let is_task = stack.pointer(-1) == TASK.get();
    stack.pop(1);
    is_task
}

fn yield_values(stack: &Stack) -> Returns {
    if is_task(stack) {
        return Err(Error::BadCall("attempt to yield from outside a coroutine".into()).into());
    }
    Err(Raise::Yield(stack.top()))
}

fn running(stack: &Stack) -> Returns {
    let is_task = is_task(stack);
    let is_main = stack.push_self();
    stack.push_boolean(is_main || is_task);
    Ok(2)
}

fn is_yieldable(stack: &Stack) -> Returns {
    stack.push_boolean(stack.is_yieldable() && !is_task(stack));
    Ok(1)
}

fn integer_argument(stack: &Stack, n: i32) -> Result<i64, Raise> {
    match stack.integer(n) {
        Some(value) => Ok(value),
        None if stack.kind(n) == Type::Number => Err(Error::BadCall(format!(
            "bad argument #{n} to 'random' (number has no integer representation)"
        ))
        .into()),
        None => Err(bad_argument(stack, n, "random", "number")),
    }
}

fn random(stack: &Stack) -> Returns {
    let (low, high) = match stack.top() {
        0 => {
            stack.push_number(RANDOM.with_borrow_mut(fastrand::Rng::f64));
            return Ok(1);
        }
        1 => (1, integer_argument(stack, 1)?),
        2 => (integer_argument(stack, 1)?, integer_argument(stack, 2)?),
        _ => return Err(Error::BadCall("wrong number of arguments".into()).into()),
    };
    if low > high {
        let n = stack.top();
        return Err(Error::BadCall(format!("bad argument #{n} to 'random' (interval is empty)")).into());
    }
    stack.push_integer(RANDOM.with_borrow_mut(|random| random.i64(low..=high)));
    Ok(1)
}

fn random_seed(stack: &Stack) -> Returns {
    let seed = stack.number(1).ok_or_else(|| bad_argument(stack, 1, "randomseed", "number"))?;
    RANDOM.set(fastrand::Rng::with_seed(seed.to_bits()));
    Ok(0)
}
