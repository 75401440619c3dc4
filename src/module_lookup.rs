//! Finds the object in a state's modules that a message names.
//!
//! The sender may have put an object where the receiver's own module has nothing, or another object. So a name in a message has
//! all the names of its object, and evidence of what that is ([`crate::module_evidence`]). The receiver takes the object that fits
//! best. If two of them fit as well, it takes none: one would be wrong.

use crate::codec::{MODULE, SEPARATOR};
use crate::error::{Error, Result};
use crate::ffi::{Protected, Type};
use crate::module_evidence::{self, Fit};
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

/// What was found under the names of an object.
struct Found<'a> {
    fit: Fit,
    name: &'a str,
    /// The name of another object that fits as well.
    rival: Option<&'a str>,
}

/// Pushes the object of this state that fits best, or nil; above it the first one that does not fit, or nil. Gives the name of a
/// module that is not loaded, too.
fn find<'a>(stack: &Protected, name: &'a str) -> (Option<Found<'a>>, Option<&'a str>) {
    let (names, evidence) = split(name);
    let best = stack.top() + 1;
    let (other, loaded) = (best + 1, best + 2);
    stack.push_nil();
    stack.push_nil();
    names::push_loaded(stack);
    let (mut found, mut not_loaded): (Option<Found>, Option<&str>) = (None, None);
    for name in names {
        stack.push_value(loaded);
        if stack.raw_get_text(-1, module_in(name)) == Type::Nil {
            not_loaded = not_loaded.or(Some(module_in(name)));
        }
        stack.pop(1);
        stack.push_value(loaded);
        if !matches!(names::follow_keys(stack, name), Type::Function | Type::Table) {
            stack.set_top(loaded);
            continue;
        }
        let fit = module_evidence::fit(stack, evidence);
        match &mut found {
            _ if fit == Fit::Other => {
                if stack.kind(other) == Type::Nil {
                    stack.replace(other);
                }
            }
            Some(known) if fit < known.fit => {}
            Some(known) if fit == known.fit => {
                if fit != Fit::Equal && known.rival.is_none() && !stack.raw_equal(-1, best) {
                    known.rival = Some(name);
                }
            }
            _ => {
                found = Some(Found { fit, name, rival: None });
                stack.replace(best);
            }
        }
        stack.set_top(loaded);
    }
    stack.set_top(other);
    (found, not_loaded)
}

/// Whether this state has the object for certain.
pub fn is_there(stack: &Protected, name: &str) -> bool {
    let top = stack.top();
    let (found, _) = find(stack, name);
    stack.set_top(top);
    found.is_some_and(|found| found.fit >= Fit::Same && found.rival.is_none())
}

/// Pushes this state's module, or the part of a module, of this name in a message.
pub fn push(stack: &Protected, name: &str) -> Result<()> {
    let top = stack.top();
    let (found, not_loaded) = find(stack, name);
    let (best, other) = (top + 1, top + 2);
    match (found, not_loaded) {
        (Some(Found { fit: Fit::Near | Fit::Same | Fit::Equal, rival: None, .. }), _)
        | (Some(Found { rival: None, .. }), None) => {
            stack.set_top(best);
            Ok(())
        }
        (_, Some(module)) => {
            stack.set_top(top);
            Err(Error::NotLoaded { module: module.to_owned() })
        }
        (Some(Found { name, rival: Some(rival), .. }), None) => {
            stack.set_top(top);
            Err(Error::TwoInModules { first: names::display(name), second: names::display(rival) })
        }
        (None, None) => {
            let (names, evidence) = split(name);
            let name = names.clone().next().unwrap_or_default();
            let (module, field) = name.split_once(SEPARATOR).unwrap_or((name, ""));
            let (module, field) = (module.to_owned(), names::display(field));
            let task = (stack.kind(other) != Type::Nil).then(|| module_evidence::of(stack, other)).flatten();
            stack.set_top(top);
            Err(match (task, evidence) {
                (Some(task), Some(host)) => Error::OtherInModule {
                    module,
                    field,
                    host: module_evidence::shown(host),
                    task: module_evidence::shown(&task),
                },
                _ => Error::NotInModule { module, field },
            })
        }
    }
}
