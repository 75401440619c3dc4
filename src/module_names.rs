//! The names under which modules and their code cross: `require`, the module's name, and the keys to the object in it.
//!
//! A map from addresses to names, of one state. Modules come first, then their fields level by level, so the shortest name
//! comes first, unless another one is in the module whose file made the object. All names are sent ([`crate::module_lookup`]), since
//! the host may have put an object where a task's own module has none. Only code gets a name: functions, and tables that hold a
//! function or can be a metatable, or that are empty and have a metatable with a function, as `json.null`: all that such a table has
//! is its identity. Plain data is read through, because it may hold code, but crosses by value.

use std::ffi::c_int;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::codec::SEPARATOR;
use crate::error::Result;
use crate::ffi::{Stack, Type};
use crate::names::is_name_part;
use crate::{module_evidence, module_lookup};

/// The names of the objects in a state's modules.
#[derive(Debug, Default)]
pub struct ModuleNames {
    entries: Vec<Entry>,
    /// The keys of all entries, one after another.
    keys: String,
    /// The position in `entries` of each object, by its address.
    by_address: FxHashMap<usize, u32>,
    /// The other steps to objects, in the order of their entries.
    others: Vec<(u32, Step)>,
}

/// A step to an object: the table that holds it, and its key there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// The position of the table in `entries`; [`NONE`] for a module.
    parent: u32,
    /// Where its key begins and ends in `keys`.
    start: usize,
    end: usize,
}

#[derive(Debug)]
struct Entry {
    step: Step,
    is_code: bool,
    /// It is code because it was empty.
    was_empty: bool,
    address: usize,
}

const NONE: u32 = u32::MAX;

/// The stack slots that a step of the walk needs.
const STEP: c_int = 8;

/// The most names of one object that are sent, and the most steps that are taken to find them.
const MOST_NAMES: usize = 256;
const MOST_STEPS: usize = 1024;

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
        names.others.sort_by_key(|(entry, _)| *entry);
        if stack.check(STEP) {
            names.prefer_makers(stack, first);
        }
        Ok(names)
    }

    /// Takes, for each object that has names in several modules, the one in the module whose file made it. The objects are on the
    /// stack from `first` up.
    fn prefer_makers(&mut self, stack: &Stack, first: c_int) {
        for at in 0..self.others.len() {
            let (entry, other) = self.others[at];
            let step = self.entries[entry as usize].step;
            // A module keeps a name of its own.
            let is_module = step.parent == NONE && other.parent != NONE;
            if is_module || self.module_at(step) == self.module_at(other) {
                continue;
            }
            let Some(evidence) = self.evidence_of(stack, first, entry) else { continue };
            let is_made_by = |step| module_evidence::is_made_by(self.module_at(step), &evidence);
            if is_made_by(other) && !is_made_by(step) {
                // No table gets into itself: the other one is in another module.
                self.entries[entry as usize].step = other;
                self.others[at].1 = step;
            }
        }
    }

    /// The evidence for an entry; for a module, also that of a function anywhere in it.
    fn evidence_of(&self, stack: &Stack, first: c_int, entry: u32) -> Option<String> {
        let found = module_evidence::of(stack, first + entry as c_int);
        if found.is_some() || self.entries[entry as usize].step.parent != NONE {
            return found;
        }
        let slots = (first..).zip(&self.entries);
        let mut inner = slots.filter(|(slot, inner)| {
            self.root_of(inner.step) == Some(entry)
                && (stack.kind(*slot) == Type::Table || !stack.is_native(*slot))
        });
        inner.find_map(|(slot, _)| module_evidence::of(stack, slot))
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

    /// Adds the object on top. False if it has a name already; then this is another one.
    fn add(&mut self, stack: &Stack, parent: u32, key: &str) -> Result<bool> {
        let address = stack.pointer(-1);
        let known = self.by_address.get(&address).copied();
        // Many classes are their own `__index`.
        if known == Some(parent) {
            return Ok(false);
        }
        self.keys.try_reserve(key.len())?;
        let start = self.keys.len();
        self.keys.push_str(key);
        let step = Step { parent, start, end: self.keys.len() };
        if let Some(entry) = known {
            self.others.try_reserve(1)?;
            self.others.push((entry, step));
            return Ok(false);
        }
        self.entries.try_reserve(1)?;
        self.by_address.try_reserve(1)?;
        self.by_address.insert(address, self.entries.len() as u32);
        // A module is code even if it only holds data: it is required, and its data brought up to date.
        let is_code = parent == NONE || stack.kind(-1) == Type::Function;
        self.entries.push(Entry { step, is_code, was_empty: false, address });
        Ok(true)
    }

    /// The number of objects that were read.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn key(&self, step: Step) -> &str {
        &self.keys[step.start..step.end]
    }

    /// The entry of the module that this step is in, if it is not the step to the module.
    fn root_of(&self, mut step: Step) -> Option<u32> {
        let mut root = None;
        while step.parent != NONE {
            root = Some(step.parent);
            step = self.entries[step.parent as usize].step;
        }
        root
    }

    /// The name of the module that this step is in.
    fn module_at(&self, step: Step) -> &str {
        self.key(self.root_of(step).map_or(step, |root| self.entries[root as usize].step))
    }

    /// All steps to an entry, the preferred one first.
    fn steps_to(&self, entry: u32) -> impl Iterator<Item = Step> {
        let first = self.others.partition_point(|(other, _)| *other < entry);
        let others = self.others[first..].iter().take_while(move |(other, _)| *other == entry);
        std::iter::once(self.entries[entry as usize].step).chain(others.map(|(_, step)| *step))
    }

    /// The names of an entry, each of which is a module's and keys: first the preferred one, then the others, the shortest first.
    fn names_of(&self, entry: u32) -> Vec<String> {
        let mut names = Vec::new();
        // The entries on the way from each name's beginning to the object, and the keys so far.
        let mut open = vec![(vec![entry], String::new())];
        let mut next = 0;
        while next < open.len().min(MOST_STEPS) && names.len() < MOST_NAMES {
            let (way, keys) = open[next].clone();
            next += 1;
            for step in self.steps_to(way[way.len() - 1]) {
                let keys = match keys.is_empty() {
                    true => self.key(step).to_owned(),
                    false => format!("{}{SEPARATOR}{keys}", self.key(step)),
                };
                if step.parent == NONE {
                    names.push(keys);
                } else if !way.contains(&step.parent) {
                    open.push(([&way[..], &[step.parent]].concat(), keys));
                }
            }
        }
        let preferred = self.preferred(entry);
        names.retain(|name| *name != preferred);
        names.insert(0, preferred);
        names
    }

    /// The preferred name of an entry.
    fn preferred(&self, entry: u32) -> String {
        let mut step = self.entries[entry as usize].step;
        let mut keys = vec![self.key(step)];
        while step.parent != NONE {
            step = self.entries[step.parent as usize].step;
            keys.push(self.key(step));
        }
        keys.reverse();
        keys.join(&SEPARATOR.to_string())
    }

    /// The name in messages of the function or code table on top.
    pub fn name_of(&self, stack: &Stack) -> Option<String> {
        let at = self.code(stack.pointer(-1))?;
        let names = if self.others.is_empty() { vec![self.preferred(at)] } else { self.names_of(at) };
        let is_module = self.entries[at as usize].step.parent == NONE;
        let evidence = match names.len() {
            1 if is_module && stack.kind(-1) == Type::Table => None,
            1 => module_evidence::of(stack, -1),
            _ => module_evidence::with_digest(stack, -1),
        };
        Some(module_lookup::join(&names, evidence))
    }

    /// Like [`ModuleNames::name_of`], for an object whose state may have changed since the names were read.
    pub fn name_now(&self, stack: &Stack) -> Option<String> {
        let address = stack.pointer(-1);
        let was_empty = self.code(address).is_some_and(|at| self.entries[at as usize].was_empty);
        if was_empty && !is_empty(stack, stack.top()) { None } else { self.name_of(stack) }
    }

    /// The name and the address of the module that has the function or code table with this address.
    pub fn module_of(&self, address: usize) -> Option<(&str, usize)> {
        let at = self.code(address)?;
        let root = self.root_of(self.entries[at as usize].step).unwrap_or(at) as usize;
        Some((self.key(self.entries[root].step), self.entries[root].address))
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

/// Whether the value on top is a table of a few fields, none of which makes it code, or of none and without metamethods. Finding that
/// out is much faster than reading the names in all modules.
pub fn is_small_and_plain(stack: &Stack) -> bool {
    const FEW: usize = 16;
    if stack.kind(-1) != Type::Table {
        return false;
    }
    let table = stack.top();
    stack.push_nil();
    for count in 0..=FEW {
        if !stack.next(table) {
            return count > 0 || !has_metamethod(stack, table);
        }
        let is_code = stack.kind(-2) == Type::String
            && (stack.kind(-1) == Type::Function || stack.with_bytes(-2, |key| key.starts_with(b"__")));
        stack.pop(1);
        if is_code {
            break;
        }
    }
    stack.set_top(table);
    false
}

/// Whether a table's metatable has a function.
fn has_metamethod(stack: &Stack, table: c_int) -> bool {
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
mod tests;
