//! The differences between a worker's standard library and Lua's.
//!
//! - `load`, `loadfile` and `dofile` take only text, because Lua does not verify bytecode.
//! - `print` and `io.write` write whole lines: each call is one write to the C stream, which locks it.
//! - Standard input is closed, because it belongs to the host.
//! - `os.exit` is refused. `os.setlocale` can't change the locale, and a task can't change the buffering or position of the
//!   standard streams. All of these would affect the whole process.
//! - `setmetatable` notes finalizers, and functions that open files note that. A state with either is closed after its task,
//!   which calls the finalizers and closes the files.
//!
//! Most of these functions check their arguments and then continue in Lua's own function ([`Exit::TailCallOriginal`]), so nothing else
//! differs. The coroutine library is in [`crate::coroutine`], `debug` in [`crate::debug`], `require` in [`crate::modules`], and
//! `math.random` in [`crate::random`].

use std::ffi::c_int;
use std::io::Write;
use std::sync::LazyLock;
use std::time::Instant;

use crate::current;
use crate::error::Error;
use crate::ffi::{Exit, NativeFunction, NativeResult, OwnState, Protected, Stack, Type, VERSION, native};
use crate::locale;

/// `clock()`: wall-clock seconds since a fixed moment, never decreasing, the same in all states of the process. Lua's own
/// `os.clock` returns the processor time of all threads of the process together.
pub fn clock(stack: &Protected) -> NativeResult {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    stack.push_number(ORIGIN.elapsed().as_secs_f64());
    Ok(1)
}

/// The iterators that `ipairs` and `utf8.codes` return. No library holds them, but all states share them, so a new state is
/// made to get them.
pub fn iterators() -> Vec<(&'static str, NativeFunction)> {
    let mut iterators = Vec::new();
    let Some(state) = OwnState::new(usize::MAX) else { return iterators };
    let found = &mut iterators;
    // If memory runs out, the iterators count as unknown C functions.
    let _: Result<(), Error> = state.stack().protected(0, |stack| {
        stack.open_libraries();
        stack.push_globals();
        stack.raw_get_text(-1, "ipairs");
        stack.create_table(0, 0);
        stack.call(1, 1);
        found.extend(stack.plain_native(-1).map(|function| ("the iterator of ipairs", function)));
        stack.set_top(1);
        if stack.raw_get_text(1, "utf8") == Type::Table {
            stack.raw_get_text(-1, "codes");
            stack.push_bytes(b"");
            stack.call(1, 1);
            found.extend(stack.plain_native(-1).map(|function| ("the iterator of utf8.codes", function)));
        }
        stack.set_top(0);
        Ok(())
    });
    iterators
}

/// Replaces functions of the libraries that this Lua has.
pub fn install(stack: &Protected) {
    stack.push_globals();
    let globals = stack.top();
    wrap(stack, "setmetatable", native(set_metatable));
    wrap(stack, "load", native(load));
    wrap(stack, "loadfile", native(load_file));
    replace(stack, "dofile", native(do_file));
    if stack.raw_get_text(globals, "loadstring") != Type::Nil {
        // With `LUA_COMPAT_5_1`, Lua has `load` under this name too.
        stack.raw_get_text(globals, "load");
        stack.raw_set_text(globals, "loadstring");
    }
    install_files(stack, globals);

    stack.raw_get_text(globals, "os");
    replace(stack, "exit", native(exit));
    wrap(stack, "setlocale", native(locale::set));
    stack.set_top(globals - 1);
}

/// Removes access to files, modules and the system, and all of `debug`.
pub fn apply_sandbox(stack: &Protected) {
    const ABSENT: [&str; 6] = ["io", "package", "debug", "require", "loadfile", "dofile"];
    stack.push_globals();
    let globals = stack.top();
    stack.push_registry();
    stack.raw_get_text(-1, "_LOADED");
    let loaded = stack.top();
    for name in ABSENT {
        for table in [globals, loaded] {
            if stack.kind(table) == Type::Table {
                stack.push_nil();
                stack.raw_set_text(table, name);
            }
        }
    }
    stack.raw_get_text(globals, "os");
    keep_only(stack, &["clock", "date", "difftime", "time"]);
    stack.set_top(globals - 1);
}

/// Clears the other fields of the value on top, if it is a table.
pub fn keep_only(stack: &Protected, names: &[&str]) {
    let table = stack.top();
    if stack.kind(table) != Type::Table {
        return;
    }
    stack.push_nil();
    while stack.next(table) {
        stack.pop(1);
        if !names.iter().any(|name| stack.has_bytes(-1, name.as_bytes())) {
            // Fields may be cleared during a traversal with `next`.
            stack.push_value(-1);
            stack.push_nil();
            stack.raw_set(table);
        }
    }
}

/// Installs `print`, `io.write` and `file:write`, and closes standard input.
fn install_files(stack: &Protected, globals: c_int) {
    stack.raw_get_text(globals, "string");
    stack.raw_get_text(-1, "format");
    let format = stack.top();
    stack.raw_get_text(globals, "io");
    let io = stack.top();
    if stack.raw_get_text(io, "stdin") == Type::Userdata {
        stack.close_handle(-1);
    }
    stack.push_value(io);
    for name in ["open", "popen", "tmpfile", "lines", "input", "output"] {
        wrap(stack, name, native(open_file));
    }
    stack.raw_get_text(io, "stdout");
    let stdout = stack.top();
    if stack.kind(stdout) != Type::Userdata || !stack.metatable(stdout) {
        // Without the file, the C stream can't be reached.
        stack.push_value(globals);
        replace(stack, "print", native(print_without_files));
        stack.set_top(globals);
        return;
    }
    stack.raw_get_text(-1, "__index");
    let file = stack.top();

    if stack.raw_get_text(globals, "print") == Type::Function {
        stack.raw_get_text(file, "write");
        stack.push_value(stdout);
        stack.raw_get_text(file, "flush");
        stack.push_closure(native(print), 3);
        stack.raw_set_text(globals, "print");
    }
    for (name, function) in [("setvbuf", native(file_setvbuf)), ("seek", native(file_seek))] {
        stack.raw_get_text(file, name);
        stack.push_value(stdout);
        stack.raw_get_text(io, "stderr");
        stack.push_closure(function, 3);
        stack.raw_set_text(file, name);
    }
    for (table, function) in [(io, native(io_write)), (file, native(file_write))] {
        stack.raw_get_text(table, "write");
        stack.push_value(stdout);
        stack.raw_get_text(io, "stderr");
        stack.push_value(format);
        stack.push_closure(function, 4);
        stack.raw_set_text(table, "write");
    }
    stack.set_top(globals);
}

/// Whether the value on top is a table that has the function.
pub fn has(stack: &Protected, name: &str) -> bool {
    let kind = stack.raw_get_text(-1, name);
    stack.pop(1);
    kind == Type::Function
}

/// Replaces a function of the library on top, if the library has it.
pub fn replace(stack: &Protected, name: &str, function: NativeFunction) {
    if has(stack, name) {
        stack.push_native(function);
        stack.raw_set_text(-2, name);
    }
}

/// Replaces a function of the library on top, if the library has it, with one that may continue in the original.
pub fn wrap(stack: &Protected, name: &str, function: NativeFunction) {
    if has(stack, name) {
        stack.raw_get_text(-1, name);
        stack.push_closure(function, 1);
        stack.raw_set_text(-2, name);
    }
}

/// The error for an argument of the wrong type, in Lua's words.
pub fn bad_type(stack: &Protected, n: c_int, expected: &str) -> Exit {
    let named = stack.metatable(n) && stack.raw_get_text(-1, "__name") == Type::String;
    let got = match stack.kind(n) {
        _ if named => stack.text(-1),
        Type::None => "no value".to_owned(),
        Type::Thread => "thread".to_owned(),
        kind => kind.name().to_owned(),
    };
    Exit::BadArgument(n, format!("{expected} expected, got {got}"))
}

pub fn set_metatable(stack: &Protected) -> NativeResult {
    if stack.raw_get_text(2, "__gc") != Type::Nil {
        current::with_notes(|notes| notes.has_finalizers = true);
    }
    stack.pop(1);
    Err(Exit::TailCallOriginal)
}

fn open_file(_: &Protected) -> NativeResult {
    current::with_notes(|notes| notes.has_finalizers = true);
    Err(Exit::TailCallOriginal)
}

/// The first byte of all bytecode.
const BYTECODE_MARK: u8 = 0x1b;

fn load(stack: &Protected) -> NativeResult {
    match stack.kind(1) {
        Type::String if stack.with_bytes(1, |code| code.first() == Some(&BYTECODE_MARK)) => {
            set_mode(stack, 3, b"t")
        }
        Type::Function => refuse_bytecode(stack, 3),
        _ => {}
    }
    Err(Exit::TailCallOriginal)
}

fn load_file(stack: &Protected) -> NativeResult {
    refuse_stdin(stack)?;
    refuse_bytecode(stack, 2);
    Err(Exit::TailCallOriginal)
}

/// Without a name, `loadfile` and `dofile` would read the host's standard input.
fn refuse_stdin(stack: &Stack) -> Result<(), Exit> {
    match stack.kind(1) {
        Type::None | Type::Nil => Err(Error::BadCall("standard input belongs to the host".into()).into()),
        _ => Ok(()),
    }
}

/// Changes the mode at an index so that it still allows text, if it did, and never bytecode.
fn refuse_bytecode(stack: &Protected, index: c_int) {
    match stack.kind(index) {
        Type::None | Type::Nil => set_mode(stack, index, b"t"),
        Type::String => {
            let mode_has = |flag| stack.with_bytes(index, |mode| mode.contains(&flag));
            if mode_has(b't') {
                set_mode(stack, index, b"t");
            } else if mode_has(b'b') {
                set_mode(stack, index, b"");
            }
        }
        // The original function reports the wrong mode.
        _ => {}
    }
}

fn set_mode(stack: &Protected, index: c_int, mode: &'static [u8]) {
    if stack.top() < index {
        stack.set_top(index);
    }
    stack.push_bytes(mode);
    stack.replace(index);
}

fn do_file(stack: &Protected) -> NativeResult {
    refuse_stdin(stack)?;
    if !matches!(stack.kind(1), Type::String | Type::Number) {
        return Err(bad_type(stack, 1, "string"));
    }
    stack.set_top(1);
    Err(if stack.load_text_file(1) { Exit::TailCall(0) } else { Exit::RaiseTop })
}

/// Converts all arguments to text, in Lua 5.3 by the global `tostring`, and leaves them on the stack, joined into one line.
fn join_line(stack: &Protected) -> Result<(), Exit> {
    let count = stack.top();
    if !stack.check(2 * count + 4) {
        return Err(Error::BadCall("stack overflow: too many values to print".into()).into());
    }
    stack.push_globals();
    stack.raw_get_text(-1, "tostring");
    let to_string = stack.top();
    for n in 1..=count {
        if VERSION >= 504 {
            stack.push_text_of(n);
            stack.replace(n);
            continue;
        }
        stack.push_value(to_string);
        stack.push_value(n);
        stack.call(1, 1);
        if !matches!(stack.kind(-1), Type::String | Type::Number) {
            return Err(Error::BadCall("'tostring' must return a string to 'print'".into()).into());
        }
        stack.replace(n);
    }
    for n in 1..=count {
        stack.push_value(n);
        stack.push_bytes(if n < count { b"\t" } else { b"\n" });
    }
    if count == 0 {
        stack.push_bytes(b"\n");
    } else {
        stack.concat(2 * count);
    }
    Ok(())
}

/// Its upvalues: the original `file:write`, standard output, `file:flush`.
fn print(stack: &Protected) -> NativeResult {
    join_line(stack)?;
    stack.push_upvalue(1);
    stack.insert(-2);
    stack.push_upvalue(2);
    stack.insert(-2);
    stack.call(2, 0);
    stack.push_upvalue(3);
    stack.push_upvalue(2);
    stack.call(1, 0);
    Ok(0)
}

/// Replaces Lua's own function, which writes a line in parts.
fn print_without_files(stack: &Protected) -> NativeResult {
    join_line(stack)?;
    // Lua's own `print` does not report a failure either.
    let _ = stack.with_bytes(-1, |line| {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(line).and_then(|()| stdout.flush())
    });
    Ok(0)
}

fn io_write(stack: &Protected) -> NativeResult {
    join(stack, 1);
    Err(Exit::TailCallOriginal)
}

fn file_write(stack: &Protected) -> NativeResult {
    // No other thread writes to a file of the task's own.
    if stack.top() > 2 && is_standard_stream(stack) {
        join(stack, 2);
    }
    Err(Exit::TailCallOriginal)
}

/// Whether the first argument is a standard stream: the running function's second or third upvalue.
fn is_standard_stream(stack: &Stack) -> bool {
    (2..=3).any(|n| {
        stack.push_upvalue(n);
        let is_same = stack.raw_equal(1, -1);
        stack.pop(1);
        is_same
    })
}

/// Returns the failure of a refused change of a file, in Lua's way.
fn refuse_change(stack: &Protected) -> NativeResult {
    const NOT_PERMITTED: i64 = 1;
    stack.push_nil();
    stack.push_bytes(
        b"the standard streams belong to the host: a task can't change their buffering or position",
    );
    stack.push_integer(NOT_PERMITTED);
    Ok(3)
}

fn file_setvbuf(stack: &Protected) -> NativeResult {
    let is_right = [&b"no"[..], b"full", b"line"].iter().any(|mode| stack.has_bytes(2, mode))
        && (matches!(stack.kind(3), Type::None | Type::Nil) || stack.integer(3).is_some());
    // The original function reports a wrong argument.
    if is_right && is_standard_stream(stack) { refuse_change(stack) } else { Err(Exit::TailCallOriginal) }
}

fn file_seek(stack: &Protected) -> NativeResult {
    let is_absent = |index| matches!(stack.kind(index), Type::None | Type::Nil);
    let stays = (is_absent(2) || stack.has_bytes(2, b"cur")) && (is_absent(3) || stack.integer(3) == Some(0));
    let is_right = (is_absent(2)
        || [&b"set"[..], b"cur", b"end"].iter().any(|whence| stack.has_bytes(2, whence)))
        && (is_absent(3) || stack.integer(3).is_some());
    if is_right && !stays && is_standard_stream(stack) {
        refuse_change(stack)
    } else {
        Err(Exit::TailCallOriginal)
    }
}

/// Joins the arguments from `first` on into one text, if all can be written. The fourth upvalue is `string.format`, if this
/// Lua has it: `write` formats floats with fewer digits than `tostring`.
fn join(stack: &Protected, first: c_int) {
    let last = stack.top();
    let formats = has_format(stack);
    let is_writable = |n| match stack.kind(n) {
        Type::String => true,
        Type::Number => formats || stack.is_integer(n),
        _ => false,
    };
    if last <= first || !(first..=last).all(is_writable) || !stack.check(3) {
        return;
    }
    for n in first..=last {
        if stack.kind(n) == Type::Number && !stack.is_integer(n) {
            stack.push_upvalue(4);
            stack.push_bytes(b"%.14g");
            stack.push_value(n);
            stack.call(2, 1);
            stack.replace(n);
        }
    }
    stack.concat(last - first + 1);
}

fn has_format(stack: &Stack) -> bool {
    stack.push_upvalue(4);
    let is_there = stack.kind(-1) == Type::Function;
    stack.pop(1);
    is_there
}

fn exit(_: &Protected) -> NativeResult {
    Err(Error::BadCall("os.exit is not available in a task: return from its function instead".into()).into())
}
