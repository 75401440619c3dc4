use super::*;
use crate::ffi::{OwnState, Protected};

/// Runs code in a state, which returns one value. It stays on the stack.
fn run(stack: &Protected, code: &str) {
    stack.load(code.as_bytes(), c"=test").expect("it is Lua");
    let ran = stack.protected(1, |stack| {
        stack.call(0, 1);
        Ok(())
    });
    assert_eq!(ran, Ok(()), "{code}");
}

/// The names of the values of these expressions, after the code has run, with dots between the parts.
fn names<const N: usize>(code: &str, expressions: [&str; N]) -> [Option<String>; N] {
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.unprotected();
    stack.open_libraries();
    stack.set_top(0);
    run(&stack, code);
    run(&stack, "return package.loaded");
    let objects = ModuleObjects::read(&stack, 0, |name| name.starts_with(b"m")).expect("memory");
    stack.set_top(2);
    let names = ModuleNames::read(&stack, 0, |name| name.starts_with('m')).expect("memory");
    assert!(names.entries.iter().all(|entry| objects.may_name(entry.address)), "{objects:?}");
    assert_eq!(stack.top() as usize, 2 + names.count() + left_over(&stack, &names));
    expressions.map(|expression| {
        run(&stack, &format!("return {expression}"));
        let name = names.name_of(&stack);
        let module = names.module_of(stack.pointer(-1)).map(|(module, _)| module.to_owned());
        assert_eq!(module.is_some(), name.is_some());
        name.map(|name| module_lookup::display(&name))
    })
}

/// How many values are between the table of modules and the objects.
fn left_over(stack: &Stack, names: &ModuleNames) -> usize {
    let first = stack.top() - names.count() as c_int + 1;
    for (slot, entry) in (first..).zip(&names.entries) {
        assert_eq!(stack.pointer(slot), entry.address, "the objects are on the stack in their order");
    }
    first as usize - 3
}

#[test]
fn the_shortest_name_wins_and_modules_come_first() {
    let code = "m = { a = { deep = { f = function() end } } } m.f = m.a.deep.f
        m2 = { Class = { new = type }, up = m } m.Class = { inner = m2.Class, x = type }
        package.loaded.m, package.loaded.m2, package.loaded.m3, package.loaded.other = m, m2, m, { f = print }";
    assert_eq!(
        names(code, ["m", "m.a.deep.f", "m2", "m2.Class", "m.Class", "m.a.deep", "package.loaded.other"]),
        [
            Some("m".into()),
            Some("m.f".into()),
            Some("m2".into()),
            Some("m2.Class".into()),
            Some("m.Class".into()),
            Some("m.a.deep".into()),
            None
        ]
    );
}

#[test]
fn only_code_has_a_name() {
    let code = "m = { data = { 1, 2, inner = { f = function() end }, text = 'x' }, list = { function() end }, meta = { __index = 1 },
        [{}] = { f = function() end }, ['a\\0b'] = function() end, ['\\255'] = function() end, [''] = print }
        m.G, m.loaded, m.self = _G, package.loaded, m
        package.loaded.m, package.loaded.m1, package.loaded.m2 = m, function() end, 5";
    assert_eq!(
        names(
            code,
            [
                "m.data",
                "m.data.inner",
                "m.list",
                "m.list[1]",
                "m.meta",
                "m['a\\0b']",
                "m['\\255']",
                "_G",
                "package.loaded",
                "string.format",
                "package.loaded.m1"
            ]
        ),
        [
            None,
            Some("m.data.inner".into()),
            None,
            None,
            Some("m.meta".into()),
            None,
            None,
            None,
            None,
            None,
            Some("m1".into())
        ]
    );
}
#[test]
fn objects_are_what_may_have_a_name() {
    let state = OwnState::new(usize::MAX).expect("a state");
    let stack = state.unprotected();
    stack.open_libraries();
    stack.set_top(0);
    let code = "shared, inner, class, list = { f = function() end }, { deep = { f = function() end } }, {}, { {}, function() end }
        m = { shared = shared, inner = inner, list = list, G = _G, other = other, self = class }
        other = { f = function() end } class.up = m
        package.loaded.m, package.loaded['\\255'], package.loaded.other = m, shared, other
        return package.loaded";
    run(&stack, code);
    let objects = ModuleObjects::read(&stack, 0, |name| name == b"m").expect("memory");
    let may_name = |expression: &str| {
        run(&stack, &format!("return {expression}"));
        let may_name = objects.may_name(stack.pointer(-1));
        stack.pop(1);
        may_name
    };
    // A key that is no text leaves nothing out.
    for expression in ["m", "shared", "shared.f", "inner", "inner.deep", "inner.deep.f", "class", "list"] {
        assert!(may_name(expression), "{expression}");
    }
    for expression in ["list[1]", "other.f", "string.format", "print"] {
        assert!(!may_name(expression), "{expression}");
    }
}

#[test]
fn the_name_in_the_module_that_made_an_object_comes_first() {
    let code = "local made = load('return { C = { h = function() end } }', '@./lib/m2/deep.lua')()
        m1 = { alias = made.C.h, table = made.C, own = load('return 1', '@m1.lua') } m1.loop = { m1 = m1 } m1.m1 = m1.loop
        package.loaded.m1, package.loaded['m2.deep'], package.loaded.m0 = m1, made, made";
    assert_eq!(
        names(code, ["m1.alias", "m1.table", "m1.table.h", "m1.own", "m1.loop", "package.loaded.m0"]),
        ["m2.deep.C.h", "m2.deep.C", "m2.deep.C.h", "m1.own", "m1.loop", "m2.deep"]
            .map(|name| (name != "m1.loop").then(|| name.to_owned()))
    );
}
