//! Tables whose metatables have names cross as objects.

use std::ffi::c_int;

use crate::codec::decode::{Resolve, decode};
use crate::codec::encode::calls::encode;
use crate::codec::policy::{Functions, Names, Policy};
use crate::codec::wire::{self, put_length};
use crate::error::{Error, Result};
use crate::ffi::{OwnState, Protected, Stack, Type};

/// A state's table of globals has one named table, `Class`.
struct OneClass;

const NAME: &str = "require\0module\0Class";

impl Resolve for OneClass {
    fn push_named(&self, stack: &Protected, name: &str) -> Result<()> {
        if name == "text" {
            stack.push_bytes(b"text");
            return Ok(());
        }
        stack.push_globals();
        stack.raw_get_text(-1, "Class");
        stack.remove(-2);
        if name == NAME { Ok(()) } else { Err(Error::Absent { name: name.to_owned() }) }
    }
}

impl Names for OneClass {
    fn name_of(&self, _: &Protected) -> Option<String> {
        None
    }

    fn has_modules(&self, _: &Protected) -> Result<bool> {
        Ok(true)
    }

    fn name_in_module(&self, stack: &Protected) -> Result<Option<String>> {
        stack.push_globals();
        stack.raw_get_text(-1, "Class");
        let is_class = stack.raw_equal(-1, -3);
        stack.pop(2);
        Ok(is_class.then(|| NAME.to_owned()))
    }
}

fn state() -> OwnState {
    let state = OwnState::new(usize::MAX).expect("a state");
    state.unprotected().open_libraries();
    state.unprotected().set_top(0);
    state
}

/// Runs code with the values on the stack as its arguments; its results take their place.
fn run(stack: &Protected, code: &str) {
    let count = stack.top();
    stack.load(code.as_bytes(), c"=test").expect("it is Lua");
    stack.insert(1);
    let ran = stack.protected(count + 1, |stack| {
        stack.call(count, -1);
        Ok(())
    });
    assert_eq!(ran, Ok(()), "{code}");
}

fn encoded(stack: &Stack, functions: Functions) -> Vec<u8> {
    let policy = Policy { names: &OneClass, functions, place: &|n, path| format!("{n}{path}") };
    let mut message = Vec::new();
    encode(stack, stack.top(), &mut message, &policy).expect("it can cross");
    message
}

#[test]
fn objects_arrive_with_their_classes() {
    let (from, to) = (state(), state());
    let (here, there) = (from.unprotected(), to.unprotected());
    run(
        &here,
        "Class = { __index = function() error('a metamethod ran') end, __newindex = error, __len = error, __pairs = error }
         local function new(fields) return setmetatable(fields, Class) end
         local a = new { 1, 2, x = 3 }
         local b = new { a, a, other = setmetatable({ 5 }, { __index = Class }) }
         rawset(b, 'self', b)
         return a, { b, [a] = b }, Class, new { inner = new { new {} } }, { 1 }",
    );
    let message = encoded(&here, Functions::Refuse);
    let name = NAME.as_bytes();
    assert_eq!(
        message.windows(name.len()).filter(|bytes| *bytes == name).count(),
        2,
        "once as class, once as value"
    );
    run(&there, "Class = { __gc = function() end, __newindex = error, __mode = 'k' }");
    assert_eq!(decode(&there, &message, &OneClass), Ok(5));
    run(
        &there,
        "local a, list, class, nested, plain = ...
         local b = list[1]
         assert(class == Class and getmetatable(plain) == nil and getmetatable(list) == nil)
         for _, object in ipairs { a, b, nested, nested.inner, nested.inner[1] } do assert(getmetatable(object) == Class) end
         assert(a[1] == 1 and a[2] == 2 and a.x == 3 and b[1] == a and b[2] == a and b.self == b and list[a] == b)
         assert(b.other[1] == 5 and getmetatable(b.other) == nil)",
    );
    there.collect();
}

#[test]
fn plain_data_leaves_code_out() {
    let (from, to) = (state(), state());
    let (here, there) = (from.unprotected(), to.unprotected());
    run(
        &here,
        "Class = {}
         local t = { 1, print, coroutine.create(print), x = { y = 2, f = function() end }, class = Class, [Class] = 1, [print] = 2,
           object = setmetatable({ 3 }, Class), again = setmetatable({ 4 }, Class) }
         t.self = t
         return t",
    );
    let message = encoded(&here, Functions::Data);
    run(&there, "Class = {}");
    assert_eq!(decode(&there, &message, &OneClass), Ok(1));
    run(
        &there,
        "local t, count = ..., 0
         for key in pairs(t) do assert(math.type(key) or type(key) == 'string') count = count + 1 end
         assert(count == 8 and t[1] == 1 and t[2] == _G and t[3] == _G and t.x.y == 2 and t.x.f == _G and t.class == _G)
         assert(getmetatable(t.object) == Class and t.object[1] == 3 and getmetatable(t.again) == Class and t.self == t)",
    );
}

#[test]
fn a_forged_object_is_an_error() {
    let to = state();
    let stack = to.unprotected();
    run(&stack, "Class = {}");
    let class = |name: &str| {
        let mut bytes = vec![wire::OBJECT, wire::CLASS];
        put_length(&mut bytes, name.len());
        bytes.extend(name.as_bytes());
        bytes
    };
    let table = [wire::TABLE, 0, 0, 0, 0, 0, 0, 0, 0];
    let decoded = |flags: u8, parts: &[&[u8]]| {
        let message = [&[flags, 1, 0, 0, 0][..], &parts.concat()].concat();
        let outcome = decode(&stack, &message, &OneClass);
        assert_eq!(stack.top(), outcome.as_ref().map_or(0, |count: &c_int| *count));
        outcome
    };
    assert_eq!(decoded(0, &[&class(NAME), &table]), Ok(1));
    assert_eq!(stack.kind(1), Type::Table);
    stack.set_top(0);
    for (flags, parts) in [
        (0, vec![&class(NAME)[..]]),
        (0, vec![&class(NAME), &[wire::NIL]]),
        (0, vec![&class(NAME), &class(NAME), &table]),
        (0, vec![&class(NAME), &[wire::OBJECT]]),
        (0, vec![&class("text"), &table]),
        (0, vec![&class("nothing"), &table]),
        (0, vec![&[wire::OBJECT], &table]),
        (0, vec![&[wire::CLASS], &table]),
        (0, vec![&[wire::OBJECT, wire::REFERENCE, 0], &table]),
        (wire::HAS_SHARED, vec![&[wire::OBJECT, wire::REFERENCE, 0], &table]),
        (0, vec![&[wire::OBJECT, wire::CLASS | wire::SHARED, 0], &table]),
    ] {
        assert!(decoded(flags, &parts).is_err(), "{parts:x?}");
    }
}
