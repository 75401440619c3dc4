//! Finds the object in a state's modules that a message names.
//!
//! The sender may have put an object where the receiver's own module has nothing, or another object. So a name in a message has
//! all the names of its object, and evidence of what that is: the place where a function was defined. The receiver takes the
//! first object that fits. A module is loaded anew, maybe from a file that has changed, so a function of the same file fits,
//! unless another name leads to one of the same line.

use std::ffi::c_int;

use crate::codec::{MODULE, SEPARATOR};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Stack, Type};
use crate::names;

/// Stands between two names of an object, and before the evidence. No key in a name is empty.
const OTHER_NAME: &str = "\0\0";
const EVIDENCE: &str = "\0\0\0";

/// Whether a name belongs to a module or to a part of one.
pub fn is_in_module(name: &str) -> bool {
    name.strip_prefix(MODULE).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// The name in a message of an object with these names, each of which is a module's and keys.
pub fn join(names: &[String], evidence: Option<String>) -> String {
    let evidence = evidence.map(|evidence| EVIDENCE.to_owned() + &evidence).unwrap_or_default();
    format!("{MODULE}{SEPARATOR}{}{evidence}", names.join(OTHER_NAME))
}

/// The names in the name of a message, and the evidence.
fn split(name: &str) -> (impl Iterator<Item = &str> + Clone, Option<&str>) {
    let rest = name.get(MODULE.len() + 1..).unwrap_or_default();
    let (names, evidence) = match rest.split_once(EVIDENCE) {
        Some((names, evidence)) => (names, Some(evidence)),
        None => (rest, None),
    };
    (names.split(OTHER_NAME), evidence)
}

fn module_in(name: &str) -> &str {
    name.split_once(SEPARATOR).map_or(name, |(module, _)| module)
}

/// The modules in the name of a message, in their order.
pub fn modules_in(name: &str) -> impl Iterator<Item = &str> {
    split(name).0.map(module_in)
}

/// Whether the name of a message has several names.
pub fn has_several(name: &str) -> bool {
    split(name).0.nth(1).is_some()
}

/// The first name in the name of a message, as written in source code: `shapes.Box`.
pub fn display(name: &str) -> String {
    names::display(split(name).0.next().unwrap_or_default())
}

/// The evidence for the function or table at an index. A table has it if it has a Lua function.
pub fn evidence(stack: &Stack, object: c_int) -> Option<String> {
    // A table of more fields, all of them native functions, would take long.
    const FEW: usize = 32;
    if stack.kind(object) == Type::Function {
        return Some(place(stack, object));
    }
    let object = stack.absolute(object);
    let mut evidence = None;
    stack.push_nil();
    for _ in 0..FEW {
        if !stack.next(object) {
            return None;
        }
        if stack.kind(-1) == Type::Function && !stack.is_native(-1) && names::is_name_part(stack, -2) {
            evidence = Some(format!("{}{SEPARATOR}{}", stack.text(-2), place(stack, -1)));
            break;
        }
        stack.pop(1);
    }
    stack.set_top(if evidence.is_some() { stack.top() - 2 } else { stack.top() - 1 });
    evidence
}

/// Where the function at an index was defined: `shapes.lua:12`. For a native one, its address, which all states of the process share.
fn place(stack: &Stack, function: c_int) -> String {
    match stack.plain_native(function) {
        Some(_) => format!("[C]:{:x}", stack.pointer(function)),
        None => stack.place_of(function),
    }
}

/// Whether a function was defined in the file of the module.
pub fn is_made_by(module: &str, evidence: &str) -> bool {
    let place = evidence.rsplit(SEPARATOR).next().unwrap_or_default();
    let file = place.rsplit_once(':').map_or(place, |(file, _)| file).replace('\\', "/");
    let file = file.strip_suffix(".lua").unwrap_or(&file);
    let file = file.strip_suffix("/init").unwrap_or(file);
    let before = file.strip_suffix(&module.replace('.', "/"));
    before.is_some_and(|before| before.is_empty() || before.ends_with(['/', '.']))
}

/// How well an object fits the evidence. Anything fits none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Same,
    /// It can't be told.
    Maybe,
    Other,
}

/// Compares two places of functions.
fn compare(sent: &str, own: &str) -> Fit {
    let file = |place: &str| {
        let name = place.rsplit_once(':').map_or(place, |(file, _)| file);
        name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
    };
    let is_text = |place: &str| place.starts_with("[string");
    if sent == own {
        Fit::Same
    } else if is_text(sent) && is_text(own) || !sent.starts_with('[') && file(sent) == file(own) {
        Fit::Maybe
    } else {
        Fit::Other
    }
}

/// Compares the object on top with the evidence. For a table, a function in it is compared.
fn fit(stack: &Protected, evidence: Option<&str>) -> Fit {
    let (key, sent) = match (stack.kind(-1), evidence) {
        (Type::Function | Type::Table, None) => return Fit::Same,
        (Type::Function, Some(sent)) if !sent.contains(SEPARATOR) => return compare(sent, &place(stack, -1)),
        (Type::Table, Some(evidence)) if let Some(parts) = evidence.split_once(SEPARATOR) => parts,
        _ => return Fit::Other,
    };
    let fit = match stack.raw_get_text(-1, key) {
        Type::Function => compare(sent, &place(stack, -1)),
        // The host may have added it.
        _ => Fit::Maybe,
    };
    stack.pop(1);
    fit
}

/// Pushes this state's module, or the part of a module, of this name in a message.
pub fn push(stack: &Protected, name: &str) -> Result<()> {
    let (names, evidence) = split(name);
    let loaded = stack.top() + 1;
    let (possible, other) = (loaded + 1, loaded + 2);
    names::push_loaded(stack);
    stack.push_nil();
    stack.push_nil();
    let mut not_loaded = None;
    for name in names.clone() {
        stack.push_value(loaded);
        if stack.raw_get_text(-1, module_in(name)) == Type::Nil {
            not_loaded = not_loaded.or(Some(module_in(name)));
        }
        stack.pop(1);
        if !matches!(names::follow_keys(stack, name), Type::Function | Type::Table) {
            stack.pop(1);
            continue;
        }
        match fit(stack, evidence) {
            Fit::Same => {
                stack.replace(loaded);
                stack.set_top(loaded);
                return Ok(());
            }
            Fit::Maybe if stack.kind(possible) == Type::Nil => stack.replace(possible),
            Fit::Other if stack.kind(other) == Type::Nil => stack.replace(other),
            _ => stack.pop(1),
        }
    }
    if let Some(module) = not_loaded {
        stack.set_top(loaded - 1);
        return Err(Error::NotLoaded { module: module.to_owned() });
    }
    if stack.kind(possible) != Type::Nil {
        stack.remove(loaded);
        stack.set_top(loaded);
        return Ok(());
    }
    let name = names.clone().next().unwrap_or_default();
    let (module, field) = name.split_once(SEPARATOR).unwrap_or((name, ""));
    let (module, field) = (module.to_owned(), names::display(field));
    let task = (stack.kind(other) != Type::Nil).then(|| self::evidence(stack, other)).flatten();
    stack.set_top(loaded - 1);
    Err(match (task, evidence) {
        (Some(task), Some(host)) => {
            Error::OtherInModule { module, field, host: shown(host), task: shown(&task) }
        }
        _ => Error::NotInModule { module, field },
    })
}

/// A place in evidence, for a message.
fn shown(evidence: &str) -> String {
    let place = evidence.rsplit(SEPARATOR).next().unwrap_or_default();
    if place.starts_with("[C]") { "a C function".into() } else { place.into() }
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
            assert_eq!(super::is_made_by(module, &format!("key\0{place}")), is_made_by, "{module}, {place}");
        }
    }

    #[test]
    fn places_in_one_file_may_be_of_the_same_function() {
        for (sent, own, fit) in [
            ("shapes.lua:1", "shapes.lua:1", Fit::Same),
            ("shapes.lua:1", "./lib/shapes.lua:7", Fit::Maybe),
            ("C:\\lib\\shapes.lua:1", "shapes.lua:1", Fit::Maybe),
            ("[string \"a\"]:1", "[string \"b\"]:1", Fit::Maybe),
            ("shapes.lua:1", "boxes.lua:1", Fit::Other),
            ("shapes.lua:1", "[string \"a\"]:1", Fit::Other),
            ("shapes.lua:1", "[C]:7f00", Fit::Other),
            ("[C]:7f00", "[C]:7f40", Fit::Other),
        ] {
            assert_eq!(compare(sent, own), fit, "{sent}, {own}");
        }
    }
}
