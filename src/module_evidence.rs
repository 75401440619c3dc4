//! What a message tells of an object in a module beside its names: where its functions were defined and, if it has several names,
//! what they have captured.
//!
//! The receiver loads a module anew, so it has another object, and can only compare. The same place in the same file is probably
//! the same function; but a function that makes functions gives all of them one place, and then what they have captured tells them
//! apart.

use std::ffi::c_int;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::codec::SEPARATOR;
use crate::ffi::{Protected, Stack, Type};
use crate::names::is_name_part;

/// Stands before the digest.
const DIGEST: char = '\u{1}';

/// The most functions of a table that are told, and the most fields in which they are looked for.
const FUNCTIONS: usize = 8;
const FIELDS: usize = 64;

/// The most fields of a table that has a digest.
const DIGESTED: usize = 256;

/// The stack slots that this needs.
const ROOM: c_int = 8;

/// How well an object fits the evidence, from badly to well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    Other,
    /// It can't be told.
    Maybe,
    /// It has the same place, and has captured something else.
    Near,
    Same,
    /// The same, and all that it has captured is told: another one that fits would do the same.
    Equal,
}

/// The evidence for the function or table at an index. A table has it if it has a Lua function.
pub fn of(stack: &Stack, object: c_int) -> Option<String> {
    if stack.kind(object) == Type::Function {
        return Some(place(stack, object));
    }
    let object = stack.absolute(object);
    let mut evidence = String::new();
    let mut count = 0;
    each_field(stack, object, FIELDS, |stack| {
        if count < FUNCTIONS && is_lua_function(stack) && is_name_part(stack, -2) {
            let separator = if count == 0 { "" } else { "\0" };
            evidence += &format!("{separator}{}{SEPARATOR}{}", stack.text(-2), place(stack, -1));
            count += 1;
        }
    });
    (count > 0).then_some(evidence)
}

/// The evidence, with a digest of what was captured, for an object that has several names.
pub fn with_digest(stack: &Stack, object: c_int) -> Option<String> {
    let evidence = of(stack, object)?;
    Some(match digest(stack, object) {
        Some((digest, _)) => format!("{evidence}{DIGEST}{digest:x}"),
        None => evidence,
    })
}

/// Whether a function was defined in the file of the module.
pub fn is_made_by(module: &str, evidence: &str) -> bool {
    let module = module.replace('.', "/");
    places_in(evidence).any(|place| {
        let file = place.rsplit_once(':').map_or(place, |(file, _)| file).replace('\\', "/");
        let file = file.strip_suffix(".lua").unwrap_or(&file);
        let file = file.strip_suffix("/init").unwrap_or(file);
        let before = file.strip_suffix(&module);
        before.is_some_and(|before| before.is_empty() || before.ends_with(['/', '.']))
    })
}

/// The first place in the evidence, for a message.
pub fn shown(evidence: &str) -> String {
    let place = places_in(evidence).next().unwrap_or_default();
    if place.starts_with("[C]") { "a C function".into() } else { place.into() }
}

/// Compares the function or table on top with the evidence.
pub fn fit(stack: &Protected, evidence: Option<&str>) -> Fit {
    let Some(evidence) = evidence else { return Fit::Same };
    let (places, sent) = parts(evidence);
    let fit = match (stack.kind(-1), places.contains(SEPARATOR)) {
        (Type::Function, false) => compare(places, &place(stack, -1)),
        (Type::Table, true) => fit_of_table(stack, places),
        _ => Fit::Other,
    };
    match (fit, sent) {
        (Fit::Same, Some(sent)) => match digest(stack, -1) {
            Some((own, is_whole)) if format!("{own:x}") == sent => {
                if is_whole {
                    Fit::Equal
                } else {
                    Fit::Same
                }
            }
            _ => Fit::Near,
        },
        _ => fit,
    }
}

/// The evidence without the digest, and the digest.
fn parts(evidence: &str) -> (&str, Option<&str>) {
    evidence.rsplit_once(DIGEST).map_or((evidence, None), |(places, digest)| (places, Some(digest)))
}

fn places_in(evidence: &str) -> impl Iterator<Item = &str> {
    let (places, _) = parts(evidence);
    let is_table = usize::from(places.contains(SEPARATOR));
    places.split(SEPARATOR).skip(is_table).step_by(1 + is_table)
}

/// The table on top fits if any of its functions does: the host may have added or replaced the others.
fn fit_of_table(stack: &Protected, places: &str) -> Fit {
    let mut best = None;
    let mut parts = places.split(SEPARATOR);
    while let (Some(key), Some(sent)) = (parts.next(), parts.next()) {
        if stack.raw_get_text(-1, key) == Type::Function {
            best = best.max(Some(compare(sent, &place(stack, -1))));
        }
        stack.pop(1);
    }
    best.unwrap_or_else(|| if may_get_functions(stack) { Fit::Maybe } else { Fit::Other })
}

/// Whether the table on top, which lacks the host's functions, has functions, or may get them when they are called. Otherwise the
/// host has made it.
fn may_get_functions(stack: &Stack) -> bool {
    if stack.metatable(-1) {
        stack.pop(1);
        return true;
    }
    of(stack, -1).is_some()
}

/// Compares two places of functions.
fn compare(sent: &str, own: &str) -> Fit {
    let file = |place: &str| {
        let name = place.rsplit_once(':').map_or(place, |(file, _)| file);
        name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
    };
    if sent == own {
        Fit::Same
    } else if !sent.starts_with('[') && file(sent) == file(own) {
        // The file may have been edited since the host loaded it.
        Fit::Maybe
    } else {
        Fit::Other
    }
}

/// Where the function at an index was defined: `shapes.lua:12`. For a native one, its address, which all states of the process share.
fn place(stack: &Stack, function: c_int) -> String {
    match stack.plain_native(function) {
        Some(_) => format!("[C]:{:x}", stack.pointer(function)),
        None => stack.place_of(function),
    }
}

/// A digest of a function's code, and of the plain values and the functions' places that it has captured, or of those that a table has
/// in its fields; and whether a function has captured nothing else. None for a large table.
fn digest(stack: &Stack, object: c_int) -> Option<(u64, bool)> {
    let object = stack.absolute(object);
    if !stack.check(ROOM) {
        return None;
    }
    if stack.kind(object) == Type::Function {
        let (mut hasher, mut is_whole) = (FxHasher::default(), true);
        hash_code(stack, object, &mut hasher);
        for n in 1..=stack.upvalue_count(object) {
            stack.push_upvalue_of(object, n);
            is_whole &= hash_top(stack, &mut hasher);
            stack.pop(1);
        }
        return Some((hasher.finish(), is_whole));
    }
    // Fields come in any order.
    let mut sum = 0_u64;
    let are_all = each_field(stack, object, DIGESTED, |stack| {
        if stack.kind(-2) == Type::String {
            let mut hasher = FxHasher::default();
            stack.with_bytes(-2, |key| key.hash(&mut hasher));
            hash_top(stack, &mut hasher);
            sum = sum.wrapping_add(hasher.finish());
        }
    });
    are_all.then_some((sum, false))
}

/// Adds the code of a Lua function: several may be on one line.
fn hash_code(stack: &Stack, function: c_int, hasher: &mut FxHasher) {
    let mut code = Vec::new();
    stack.push_value(function);
    if is_lua_function(stack) && stack.dump(&mut code).is_ok() {
        code.hash(hasher);
    }
    stack.pop(1);
}

/// Adds what can be compared of the value on top: of a table, only that it is one. Whether that was all.
fn hash_top(stack: &Stack, hasher: &mut FxHasher) -> bool {
    let kind = stack.kind(-1);
    (kind as c_int).hash(hasher);
    match kind {
        Type::Nil => {}
        Type::Boolean => stack.boolean(-1).hash(hasher),
        Type::Number => (stack.whole(-1), stack.number(-1).map(f64::to_bits)).hash(hasher),
        Type::String => stack.with_bytes(-1, |text| text.hash(hasher)),
        Type::Function => {
            place(stack, -1).hash(hasher);
            return stack.plain_native(-1).is_some();
        }
        _ => {
            stack.push_globals();
            let is_environment = stack.raw_equal(-1, -2);
            stack.pop(1);
            return is_environment;
        }
    }
    true
}

fn is_lua_function(stack: &Stack) -> bool {
    stack.kind(-1) == Type::Function && !stack.is_native(-1)
}

/// Calls `body` for each of the first fields of a table, with its key and its value on top. True if these were all.
fn each_field(stack: &Stack, table: c_int, most: usize, mut body: impl FnMut(&Stack)) -> bool {
    if !stack.check(ROOM) {
        return false;
    }
    stack.push_nil();
    for _ in 0..most {
        if !stack.next(table) {
            return true;
        }
        body(stack);
        stack.pop(1);
    }
    let is_whole = !stack.next(table);
    if !is_whole {
        stack.pop(2);
    }
    is_whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_which_module_has_made_a_function() {
        for (module, place, is_made_by) in [
            ("shapes", "shapes.lua:1", true),
            ("shapes", "./shapes.lua:1", true),
            ("shapes", "...lugins/shapes/init.lua:12", true),
            ("lib.shapes", "C:\\plugins\\lib\\shapes.lua:1", true),
            ("shapes", "reshapes.lua:1", false),
            ("shapes", "[string \"shapes\"]:1", false),
            ("lib.shapes", "other/shapes.lua:1", false),
            ("C", "[C]:7f00", false),
        ] {
            assert_eq!(super::is_made_by(module, place), is_made_by, "{module}, {place}");
            let of_table = format!("extra\0plugin.lua:1\0key\0{place}{DIGEST}7f");
            assert_eq!(super::is_made_by(module, &of_table), is_made_by, "{module}, {place}");
        }
    }

    #[test]
    fn places_in_one_file_may_be_of_the_same_function() {
        for (sent, own, fit) in [
            ("shapes.lua:1", "shapes.lua:1", Fit::Same),
            ("shapes.lua:1", "./lib/shapes.lua:7", Fit::Maybe),
            ("C:\\lib\\shapes.lua:1", "shapes.lua:1", Fit::Maybe),
            ("[string \"a\"]:1", "[string \"b\"]:1", Fit::Other),
            ("shapes.lua:1", "boxes.lua:1", Fit::Other),
            ("shapes.lua:1", "[string \"a\"]:1", Fit::Other),
            ("shapes.lua:1", "[C]:7f00", Fit::Other),
            ("[C]:7f00", "[C]:7f40", Fit::Other),
        ] {
            assert_eq!(compare(sent, own), fit, "{sent}, {own}");
        }
    }
}
