//! The names under which modules and their code cross: `require`, the module's name, and the keys to the object in it.
//!
//! A map from addresses to names, of one state. Modules come first, then their fields level by level, so the shortest name
//! wins. Only code gets a name: functions, and tables that hold a function or can be a metatable, or that are empty and have a
//! metatable with a function, as `json.null`: all that such a table has is its identity. Plain data is read through, because it
//! may hold code, but crosses by value.

use std::ffi::c_int;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::codec::{MODULE, SEPARATOR};
use crate::error::Result;
use crate::ffi::{Stack, Type};
use crate::names::is_name_part;

/// The names of the objects in a state's modules.
#[derive(Debug, Default)]
pub struct ModuleNames {
    entries: Vec<Entry>,
    /// The keys of all entries, one after another.
    keys: String,
    /// The position in `entries` of each object, by its address.
    by_address: FxHashMap<usize, u32>,
}

#[derive(Debug)]
struct Entry {
    /// The position of the table that holds this object; [`NONE`] for a module.
    parent: u32,
    /// Where its key ends in `keys`. It begins where the one before it ends.
    end: usize,
    is_code: bool,
    /// It is code because it was empty.
    was_empty: bool,
    address: usize,
}

const NONE: u32 = u32::MAX;

/// The stack slots that a step of the walk needs.
const STEP: c_int = 8;

impl ModuleNames {
    /// Reads the modules in the table on top of the stack, `package.loaded`. The objects that got a name stay on top of the
    /// stack, in the order of their entries. `is_module` tells whether a key of that table is the name of a module to read;
    /// nothing of the others is read, nor of the globals and the table with the address `gma`.
    ///
    /// Never raises an error, so the names may be owned by any frame.
    pub fn read(stack: &Stack, gma: usize, is_module: impl Fn(&str) -> bool) -> Result<ModuleNames> {
        let mut names = ModuleNames::default();
        let loaded = stack.top();
        stack.push_globals();
        let mut left_out = vec![gma, stack.pointer(loaded), stack.pointer(-1)];
        stack.pop(1);
        let mut modules = Vec::new();
        stack.push_nil();
        while stack.next(loaded) {
            let is_object = matches!(stack.kind(-1), Type::Table | Type::Function);
            if is_object && is_name_part(stack, -2) && stack.check(STEP) {
                let name = stack.text(-2);
                if is_module(&name) {
                    stack.insert(-2);
                    modules.push((name, stack.top() - 1));
                    continue;
                }
                left_out.push(stack.pointer(-1));
            }
            stack.pop(1);
        }
        // The order of a table's keys differs from run to run.
        modules.sort_unstable();
        let first = stack.top() + 1;
        for (name, slot) in &modules {
            if stack.check(STEP) {
                stack.push_value(*slot);
                if left_out.contains(&stack.pointer(-1)) || !names.add(stack, NONE, name)? {
                    stack.pop(1);
                }
            }
        }
        let mut at = 0;
        while at < names.entries.len() && stack.check(STEP) {
            let object = first + at as c_int;
            if stack.kind(object) == Type::Table {
                names.read_fields(stack, object, at, &left_out)?;
            }
            at += 1;
        }
        Ok(names)
    }

    /// Adds the functions and tables in the fields of the table of entry `parent`.
    fn read_fields(&mut self, stack: &Stack, table: c_int, parent: usize, left_out: &[usize]) -> Result<()> {
        if is_empty(stack, table) && !self.entries[parent].is_code && has_metamethod(stack, table) {
            (self.entries[parent].is_code, self.entries[parent].was_empty) = (true, true);
        }
        stack.push_nil();
        while stack.next(table) {
            let kind = stack.kind(-1);
            let is_object = matches!(kind, Type::Table | Type::Function);
            if stack.kind(-2) != Type::String {
                stack.pop(1);
                continue;
            }
            if kind == Type::Function || stack.with_bytes(-2, |key| key.starts_with(b"__")) {
                self.entries[parent].is_code = true;
            }
            if !is_object
                || !is_name_part(stack, -2)
                || left_out.contains(&stack.pointer(-1))
                || !stack.check(STEP)
                || !self.add(stack, parent as u32, &stack.text(-2))?
            {
                stack.pop(1);
                continue;
            }
            // The object stays, below the key for the next step.
            stack.insert(-2);
        }
        Ok(())
    }

    /// Adds the object on top. False if it has a name already.
    fn add(&mut self, stack: &Stack, parent: u32, key: &str) -> Result<bool> {
        let address = stack.pointer(-1);
        if self.by_address.contains_key(&address) {
            return Ok(false);
        }
        self.entries.try_reserve(1)?;
        self.keys.try_reserve(key.len())?;
        self.by_address.try_reserve(1)?;
        self.by_address.insert(address, self.entries.len() as u32);
        self.keys.push_str(key);
        // A module is code even if it only holds data: it is required, and its data brought up to date.
        let is_code = parent == NONE || stack.kind(-1) == Type::Function;
        self.entries.push(Entry { parent, end: self.keys.len(), is_code, was_empty: false, address });
        Ok(true)
    }

    /// The number of objects that were read.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn key(&self, at: u32) -> &str {
        let start = match at {
            0 => 0,
            at => self.entries[at as usize - 1].end,
        };
        &self.keys[start..self.entries[at as usize].end]
    }

    /// The name of the function or code table with this address.
    pub fn name_of(&self, address: usize) -> Option<String> {
        let at = self.code(address)?;
        let mut parts = vec![self.key(at)];
        let mut entry = &self.entries[at as usize];
        while entry.parent != NONE {
            parts.push(self.key(entry.parent));
            entry = &self.entries[entry.parent as usize];
        }
        parts.push(MODULE);
        parts.reverse();
        Some(parts.join(&SEPARATOR.to_string()))
    }

    /// Like [`ModuleNames::name_of`], for the table or function on top, whose state may have changed since the names were read.
    pub fn name_now(&self, stack: &Stack) -> Option<String> {
        let address = stack.pointer(-1);
        let was_empty = self.code(address).is_some_and(|at| self.entries[at as usize].was_empty);
        if was_empty && !is_empty(stack, stack.top()) { None } else { self.name_of(address) }
    }

    /// The name and the address of the module that has the function or code table with this address.
    pub fn module_of(&self, address: usize) -> Option<(&str, usize)> {
        let mut at = self.code(address)?;
        while self.entries[at as usize].parent != NONE {
            at = self.entries[at as usize].parent;
        }
        Some((self.key(at), self.entries[at as usize].address))
    }

    /// The position of the function or code table with this address.
    fn code(&self, address: usize) -> Option<u32> {
        let at = *self.by_address.get(&address)?;
        self.entries[at as usize].is_code.then_some(at)
    }
}

/// The addresses of all functions and tables that may have a name in a state's modules. Most jobs only have to know that theirs
/// have none, and collecting addresses is much faster than reading names.
#[derive(Debug, Default)]
pub struct ModuleObjects {
    tables: FxHashSet<usize>,
    functions: Vec<usize>,
    lacks_memory: bool,
}

impl ModuleObjects {
    /// Collects what is in the modules in the table on top of the stack, `package.loaded`: at least all that
    /// [`ModuleNames::read`] gives a name. None if there is no memory or no room on the stack, which keeps tables then.
    ///
    /// Never raises an error, so the addresses may be owned by any frame.
    pub fn read(stack: &Stack, gma: usize, is_module: fn(&[u8]) -> bool) -> Option<ModuleObjects> {
        let mut objects = ModuleObjects::default();
        let loaded = stack.top();
        stack.push_globals();
        for left_out in [gma, stack.pointer(loaded), stack.pointer(-1)] {
            objects.add(Type::Table, left_out);
        }
        stack.pop(1);
        let first = stack.top() + 1;
        stack.push_nil();
        while stack.next(loaded) {
            let kind = stack.kind(-1);
            let is_object = matches!(kind, Type::Table | Type::Function) && is_name_part(stack, -2);
            // What is no module is not looked into.
            if !(is_object && objects.add(kind, stack.pointer(-1)) && stack.with_bytes(-2, is_module)) {
                stack.pop(1);
            } else if stack.check(STEP) {
                stack.insert(-2);
            } else {
                return None;
            }
        }
        let mut table = first;
        while table <= stack.top() {
            if stack.kind(table) == Type::Table
                && !stack.push_tables_in(table, |kind, address| objects.add(kind, address))
            {
                return None;
            }
            table += 1;
        }
        (!objects.lacks_memory).then_some(objects)
    }

    /// Adds an object. True if it is a table that was not there.
    fn add(&mut self, kind: Type, address: usize) -> bool {
        let reserved = match kind {
            Type::Function => self.functions.try_reserve(1).map_err(|_| ()),
            _ => self.tables.try_reserve(1).map_err(|_| ()),
        };
        if reserved.is_err() {
            self.lacks_memory = true;
            return false;
        }
        if kind == Type::Function {
            self.functions.push(address);
            return false;
        }
        self.tables.insert(address)
    }

    /// Whether the function or table with this address may have a name.
    pub fn may_name(&self, address: usize) -> bool {
        self.functions.contains(&address) || self.tables.contains(&address)
    }
}

fn is_empty(stack: &Stack, table: c_int) -> bool {
    stack.push_nil();
    let has_field = stack.next(table);
    if has_field {
        stack.pop(2);
    }
    !has_field
}

/// Whether a table's metatable has a function.
pub fn has_metamethod(stack: &Stack, table: c_int) -> bool {
    if !stack.metatable(table) {
        return false;
    }
    let metatable = stack.top();
    let mut is_found = false;
    stack.push_nil();
    while !is_found && stack.next(metatable) {
        is_found = stack.kind(-1) == Type::Function;
        stack.pop(1);
    }
    stack.set_top(metatable - 1);
    is_found
}

#[cfg(all(test, feature = "linked"))]
mod tests {
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
            let name = names.name_of(stack.pointer(-1));
            let module = names.module_of(stack.pointer(-1)).map(|(module, _)| module.to_owned());
            assert_eq!(module.is_some(), name.is_some());
            name.map(|name| name.replace(SEPARATOR, "."))
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
                Some("require.m".into()),
                Some("require.m.f".into()),
                Some("require.m2".into()),
                Some("require.m2.Class".into()),
                Some("require.m.Class".into()),
                Some("require.m.a.deep".into()),
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
                Some("require.m.data.inner".into()),
                None,
                None,
                Some("require.m.meta".into()),
                None,
                None,
                None,
                None,
                None,
                Some("require.m1".into())
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
        for expression in ["m", "shared", "shared.f", "inner", "inner.deep", "inner.deep.f", "class", "list"]
        {
            assert!(may_name(expression), "{expression}");
        }
        for expression in ["list[1]", "other.f", "string.format", "print"] {
            assert!(!may_name(expression), "{expression}");
        }
    }
}
