//! The text of the error of upvalues that can't cross.

use std::borrow::Cow;
use std::fmt::{self, Formatter};

use super::instead_of_absent;

/// An upvalue that keeps its function from crossing.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub name: String,
    /// The kind of its value: `a number`.
    pub holds: Cow<'static, str>,
    /// The place of its function: `plugin.lua:12`.
    pub function: String,
    pub remedy: Remedy,
}

/// The upvalues that keep functions from crossing: the first ones, and how many more there are. A job has one such error for
/// each of its tasks, so it must stay small.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusals {
    named: Vec<Refusal>,
    more: usize,
}

impl Refusals {
    pub fn named(&self) -> &[Refusal] {
        &self.named
    }

    pub fn named_mut(&mut self) -> &mut [Refusal] {
        &mut self.named
    }
}

impl From<Vec<Refusal>> for Refusals {
    fn from(mut all: Vec<Refusal>) -> Refusals {
        /// The most upvalues that a message names.
        const MOST: usize = 8;
        let more = all.len().saturating_sub(MOST);
        if more > 0 {
            // Those that are only read are often many, and need the same as the first of them.
            all.sort_by_key(|refusal| !refusal.remedy.is_of_written());
            all.truncate(MOST);
        }
        Refusals { named: all, more }
    }
}

/// How to change a function so that an upvalue no longer keeps it from crossing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Remedy {
    /// Pass the data as an argument, or copy it.
    PassOrCopy,
    /// Copy the data: it can't be passed as an argument here.
    Copy,
    /// Return the data, since what a task writes to its own copy is lost.
    Return,
    /// Copy the data although what a task writes to it is lost: it can't be returned from here.
    Private,
    /// Set a global in its place, which tasks find.
    SetGlobal,
    /// Rename the variable, which hides a global of tasks that is probably meant.
    Rename,
    /// Give the environment a metatable that can be recreated in the task.
    PlainEnvironment,
    /// Make it in the task.
    Make,
    /// Make it in the task, or pass its contents as an argument.
    MakeOrPass,
    /// Call it on the host, or require its module in the task.
    CallOrRequire,
    /// A worker's state lacks it.
    Absent,
}

impl Remedy {
    /// The advice for an upvalue that holds this.
    fn advice(self, holds: &str) -> &'static str {
        match self {
            Remedy::PassOrCopy => "pass it in args, or set upvalues = \"copy\"",
            Remedy::Copy => "set upvalues = \"copy\"",
            Remedy::Return => {
                "make it a local of the task, or pass it in args, and return it, since other writes are \
                 lost; for a cache, set upvalues = \"private\""
            }
            Remedy::Private => "for a cache, set upvalues = \"private\", since other writes are lost",
            Remedy::SetGlobal => {
                "set it as a global in init, without a local of that name: each task then finds it"
            }
            Remedy::Rename => "rename the local: it hides the global of that name that tasks have",
            Remedy::PlainEnvironment => {
                "give its metatable only __index = _G, or use _G as the function's _ENV"
            }
            Remedy::Make => "make it in the task",
            Remedy::MakeOrPass => "make it in the task, or pass what it holds in args",
            Remedy::CallOrRequire => "call it on the host, or require its module in the task",
            Remedy::Absent => instead_of_absent(holds),
        }
    }

    /// The advice for several upvalues.
    fn advice_for_several(self, holds: &str) -> &'static str {
        match self {
            Remedy::PassOrCopy => "pass them in args, or set upvalues = \"copy\"",
            Remedy::Return => {
                "make them locals of the task, or pass them in args, and return them, since other writes are \
                 lost; for a cache, set upvalues = \"private\""
            }
            Remedy::SetGlobal => {
                "set them as globals in init, without locals of these names: each task then finds them"
            }
            Remedy::Rename => "rename the locals: they hide the globals of these names that tasks have",
            Remedy::Make => "make them in the task",
            Remedy::MakeOrPass => "make them in the task, or pass what they hold in args",
            Remedy::CallOrRequire => "call them on the host, or require their module in the task",
            Remedy::Copy | Remedy::Private | Remedy::PlainEnvironment | Remedy::Absent => self.advice(holds),
        }
    }

    /// Whether functions write to the variable.
    fn is_of_written(self) -> bool {
        matches!(self, Remedy::Return | Remedy::Private | Remedy::SetGlobal)
    }

    /// Whether one advice serves for two upvalues.
    fn is_shared(self) -> bool {
        !matches!(self, Remedy::PlainEnvironment | Remedy::Absent)
    }
}

/// Writes the message: the upvalues by function, then the advice for each kind.
pub fn describe(Refusals { named, more }: &Refusals, f: &mut Formatter) -> fmt::Result {
    let is_only_one = named.len() + more == 1;
    f.write_str(if is_only_one { "upvalue " } else { "upvalues " })?;
    let by_function = group(named, |a, b| a.function == b.function);
    for (n, refusals) in by_function.iter().enumerate() {
        f.write_str(match n {
            0 => "",
            _ if n + 1 == by_function.len() => ", and ",
            _ => ", ",
        })?;
        let descriptions = refusals.iter().map(|Refusal { name, holds, remedy, .. }| {
            let written = if remedy.is_of_written() { ", written to" } else { "" };
            format!("'{name}' ({holds}{written})")
        });
        write!(f, "{} of the function at {}", join(descriptions), refusals[0].function)?;
    }
    if *more > 0 {
        write!(f, ", and {more} more")?;
    }
    f.write_str(" cannot cross: ")?;
    let by_remedy = group(named, |a, b| a.remedy == b.remedy && a.remedy.is_shared());
    for (n, concerned) in by_remedy.iter().enumerate() {
        if n > 0 {
            f.write_str("; ")?;
        }
        let Refusal { remedy, holds, .. } = concerned[0];
        if by_remedy.len() > 1 {
            let names = concerned.iter().map(|refusal| format!("'{}'", refusal.name));
            write!(f, "for {}, ", join(names))?;
        }
        let is_one = concerned.len() == 1 && (by_remedy.len() > 1 || is_only_one);
        f.write_str(if is_one { remedy.advice(holds) } else { remedy.advice_for_several(holds) })?;
    }
    Ok(())
}

/// The upvalues that belong together, in the order of their first ones.
fn group(refusals: &[Refusal], belong_together: impl Fn(&Refusal, &Refusal) -> bool) -> Vec<Vec<&Refusal>> {
    let mut groups: Vec<Vec<&Refusal>> = Vec::new();
    for refusal in refusals {
        match groups.iter_mut().find(|group| belong_together(group[0], refusal)) {
            Some(group) => group.push(refusal),
            None => groups.push(vec![refusal]),
        }
    }
    groups
}

/// `a, b and c`.
fn join(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn refusal(name: &str, holds: &'static str, line: u32, remedy: Remedy) -> Refusal {
        Refusal { name: name.into(), holds: holds.into(), function: format!("plugin.lua:{line}"), remedy }
    }

    #[test]
    fn a_message_names_the_thing_its_place_and_what_to_do() {
        let error = Error::Upvalues(vec![refusal("rate", "a number", 12, Remedy::PassOrCopy)].into());
        assert_eq!(
            error.to_string(),
            "upvalue 'rate' (a number) of the function at plugin.lua:12 cannot cross: \
             pass it in args, or set upvalues = \"copy\""
        );
        assert_eq!(error.kind().name(), "upvalue");
    }

    #[test]
    fn several_upvalues_are_named_by_function_and_advised_by_kind() {
        let mut refusals = vec![
            refusal("limit", "a number", 12, Remedy::PassOrCopy),
            refusal("labels", "a table", 12, Remedy::PassOrCopy),
        ];
        assert_eq!(
            Error::Upvalues(refusals.clone().into()).to_string(),
            "upvalues 'limit' (a number) and 'labels' (a table) of the function at plugin.lua:12 cannot cross: \
             pass them in args, or set upvalues = \"copy\""
        );
        refusals.insert(1, refusal("log", "a userdata", 3, Remedy::MakeOrPass));
        refusals.push(refusal("found", "a table", 12, Remedy::Return));
        assert_eq!(
            Error::Upvalues(refusals.into()).to_string(),
            "upvalues 'limit' (a number), 'labels' (a table) and 'found' (a table, written to) of the function at \
             plugin.lua:12, and 'log' (a userdata) of the function at plugin.lua:3 cannot cross: for 'limit' and \
             'labels', pass them in args, or set upvalues = \"copy\"; for 'log', make it in the task, or pass what it \
             holds in args; for 'found', make it a local of the task, or pass it in args, and return it, since other \
             writes are lost; for a cache, set upvalues = \"private\""
        );
    }

    #[test]
    fn a_long_list_ends_with_a_count_and_has_those_that_are_written_to() {
        let mut refusals: Vec<Refusal> =
            (1..=10).map(|n| refusal(&format!("read{n}"), "a number", 1, Remedy::PassOrCopy)).collect();
        refusals.push(refusal("found", "a table", 1, Remedy::Return));
        let text = Error::Upvalues(refusals.into()).to_string();
        assert!(
            text.starts_with(
                "upvalues 'found' (a table, written to), 'read1' (a number), 'read2' (a number)"
            ),
            "{text}"
        );
        assert!(
            text.contains("and 'read7' (a number) of the function at plugin.lua:1, and 3 more cannot cross")
        );
    }
}
