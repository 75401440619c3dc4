//! `math.random` in a task: each task gets other random numbers.
//!
//! The C library's generator, which Lua 5.3 has, is shared by the process, behind a lock, so there each task has a generator of our
//! own. Lua 5.4 has a generator in each state, which each task seeds.

use std::ffi::c_int;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::current;
use crate::error::Error;
use crate::ffi::{Exit, NativeResult, Protected, VERSION, native};
use crate::stdlib::{bad_type, has, replace};

/// The count from which each task's generator is seeded, so that tasks get different random numbers.
static SEED: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(fastrand::u64(..)));

/// Runs `body` with the task's random number generator.
fn with_random<R>(body: impl FnOnce(&mut fastrand::Rng) -> R) -> R {
    current::with_notes(|notes| {
        body(notes.random.get_or_insert_with(|| fastrand::Rng::with_seed(next_seed())))
    })
}

fn next_seed() -> u64 {
    // Multiplying by the golden ratio's bits spreads neighbouring counts over all seeds.
    SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Replaces the functions of the math library.
pub fn install(stack: &Protected) {
    stack.push_globals();
    let globals = stack.top();
    stack.raw_get_text(globals, "math");
    if VERSION >= 504 {
        seed_for_each_task(stack);
    } else {
        replace(stack, "random", native(random));
        replace(stack, "randomseed", native(random_seed));
    }
    stack.set_top(globals - 1);
}

/// Makes the generator of the library on top, which each state has of its own, give each task other numbers.
fn seed_for_each_task(stack: &Protected) {
    if !has(stack, "random") || !has(stack, "randomseed") {
        return;
    }
    let library = stack.top();
    stack.raw_get_text(library, "randomseed");
    let seed = stack.top();
    for (name, function) in [("random", native(random_of_task)), ("randomseed", native(seed_of_task))] {
        stack.raw_get_text(library, name);
        // The generator.
        stack.push_upvalue_of(-1, 1);
        stack.insert(-2);
        stack.push_value(seed);
        stack.push_closure(function, 3);
        stack.raw_set_text(library, name);
    }
    stack.set_top(library);
}

/// Its upvalues: the generator, the originals of `math.random` and `math.randomseed`.
fn random_of_task(stack: &Protected) -> NativeResult {
    if !current::with_notes(|notes| std::mem::replace(&mut notes.has_seed, true)) {
        stack.push_upvalue(3);
        stack.push_integer(next_seed().cast_signed());
        stack.call(1, 0);
    }
    Err(Exit::TailCallUpvalue(2))
}

/// Its upvalues: the generator, the original of `math.randomseed`.
fn seed_of_task(_: &Protected) -> NativeResult {
    current::with_notes(|notes| notes.has_seed = true);
    Err(Exit::TailCallUpvalue(2))
}

fn integer_argument(stack: &Protected, n: c_int) -> Result<i64, Exit> {
    stack.integer(n).ok_or_else(|| match stack.number(n) {
        Some(_) => Exit::BadArgument(n, "number has no integer representation".into()),
        None => bad_type(stack, n, "number"),
    })
}

fn random(stack: &Protected) -> NativeResult {
    let (low, high) = match stack.top() {
        0 => {
            stack.push_number(with_random(fastrand::Rng::f64));
            return Ok(1);
        }
        1 => (1, integer_argument(stack, 1)?),
        2 => (integer_argument(stack, 1)?, integer_argument(stack, 2)?),
        _ => return Err(Error::BadCall("wrong number of arguments".into()).into()),
    };
    if low > high {
        return Err(Exit::BadArgument(1, "interval is empty".into()));
    }
    if high.checked_sub(low).is_none() {
        return Err(Exit::BadArgument(1, "interval too large".into()));
    }
    stack.push_integer(with_random(|random| random.i64(low..=high)));
    Ok(1)
}

fn random_seed(stack: &Protected) -> NativeResult {
    let seed = stack.number(1).ok_or_else(|| bad_type(stack, 1, "number"))?;
    current::with_notes(|notes| notes.random = Some(fastrand::Rng::with_seed(seed.to_bits())));
    Ok(0)
}
