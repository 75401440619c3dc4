//! The host's own things: what they are called in messages, and the host calls carried out on them.
//!
//! Host side. Nothing here calls a host function: those may yield, so the Lua side calls them.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::c_int;

use crate::codec::GMA;
use crate::decode::{Decoder, Resolve};
use crate::encode::encode;
use crate::error::{Error, Result};
use crate::fault;
use crate::ffi::{Stack, Type};
use crate::frame;
use crate::gma;
use crate::hostcall::{self, Answer};
use crate::job::Job;
use crate::modules::{HostModules, OWN_NAMES};
use crate::names::{self, NameMap};
use crate::policy::{Functions, Names, Policy};

/// The names of the things in the host's state.
pub struct HostNames<'a> {
    standard: &'a NameMap,
    /// What stands under `gma` now, read when something is met that may be there.
    gma: OnceCell<NameMap>,
}

impl<'a> HostNames<'a> {
    /// The standard library as it was when the module was loaded.
    pub fn new(standard: &'a NameMap) -> HostNames<'a> {
        HostNames { standard, gma: OnceCell::new() }
    }
}

impl Names for HostNames<'_> {
    fn name_of(&self, stack: &Stack, pointer: usize) -> Option<Cow<'_, str>> {
        let gma = || self.gma.get_or_init(|| read_gma(stack)).name_of(stack, pointer);
        self.standard.name_of(stack, pointer).or_else(gma)
    }
}

impl Resolve for HostNames<'_> {
    fn push_named(&self, stack: &Stack, name: &str) -> Result<()> {
        if !name.starts_with(GMA) {
            return names::push_standard(stack, gma::own(), name);
        }
        if push_host_function(stack, name) == Type::Nil {
            stack.pop(1);
            return Err(Error::NoHostFunction { name: names::display(name) });
        }
        Ok(())
    }
}

/// The names of all that stands under `gma`; none on a host without it. *Raises.*
fn read_gma(stack: &Stack) -> NameMap {
    stack.push_globals();
    let is_there = stack.raw_get_text(-1, GMA) == Type::Table;
    stack.remove(-2);
    let mut names = NameMap::default();
    if is_there {
        names::read_gma(stack, &mut names);
    } else {
        stack.pop(1);
    }
    names
}

/// Pushes what stands under a name of `gma` on the host now. *Raises.*
fn push_host_function(stack: &Stack, name: &str) -> Type {
    stack.push_globals();
    stack.raw_get_text(-1, GMA);
    stack.remove(-2);
    names::follow(stack, name)
}

/// Pushes the table in which `require` looks for loaders before it looks for files. *Raises.*
fn push_preload(stack: &Stack) -> Type {
    stack.push_registry();
    let kind = stack.raw_get_text(-1, "_PRELOAD");
    stack.remove(-2);
    kind
}

/// Reads what the host's `require` finds beyond files. *Raises.*
pub fn read_modules(stack: &Stack, modules: &mut HostModules) {
    const STANDARD: i64 = 4;
    let top = stack.top();
    if push_preload(stack) == Type::Table {
        stack.push_nil();
        while !modules.has_preloaded && stack.next(top + 1) {
            let is_own = |name: &str| stack.kind(-2) == Type::String && stack.bytes(-2) == name.as_bytes();
            modules.has_preloaded = !OWN_NAMES.into_iter().any(is_own);
            stack.pop(1);
        }
    }
    stack.set_top(top);
    stack.push_globals();
    if stack.raw_get_text(-1, "package") == Type::Table && stack.raw_get_text(-1, "searchers") == Type::Table
    {
        let searchers = stack.top();
        let is_other = |n| {
            let kind = stack.raw_get_i(searchers, n);
            kind != Type::Nil && (n > STANDARD || !stack.is_native(-1))
        };
        modules.has_other_searchers = (1..=STANDARD + 1).any(is_other);
    }
    stack.set_top(top);
}

/// Answers a task that requires a module which the host may have in `package.preload`: with its loader, or nil where it
/// is not there. An error is Ctrl-C, which came meanwhile.
fn answer_preload(
    stack: &Stack,
    job: &Job,
    names: &HostNames,
    ticket: Option<u64>,
    module: &[u8],
) -> Result<()> {
    let module_name = || String::from_utf8_lossy(module).into_owned();
    let place = |_, path: &str| format!("package.preload[{:?}]{path}", module_name());
    let policy = Policy { names, functions: Functions::Carry(job.upvalues), place: &place };
    let mut message = Vec::new();
    let pushed = stack.protected(0, |stack| {
        if push_preload(stack) == Type::Table {
            stack.push_bytes(module);
            stack.raw_get(1);
        }
        if stack.kind(-1) != Type::Function {
            stack.push_nil();
        }
        stack.insert(1);
        stack.set_top(1);
        Ok(())
    });
    let encoded = pushed.and_then(|()| encode(stack, 1, &mut message, &policy));
    if let Some(trace) = &job.trace {
        trace.end_call();
    }
    let interrupt = encoded.as_ref().err().filter(|error| error.is_interrupt()).cloned();
    if let Some(ticket) = ticket {
        job.mailbox.answer(
            ticket,
            match encoded {
                Ok(()) => Answer::Returned(message),
                Err(cause) => {
                    let cause = Box::new(frame::without_arguments(cause));
                    Answer::Failed(Error::Preloaded { module: module_name(), cause })
                }
            },
        );
    }
    interrupt.map_or(Ok(()), Err)
}

/// Takes the next host call of a job and pushes what it takes to carry it out: its ticket (false where
/// nobody waits for the answer), its function, its name for messages, and its arguments. Pushes nothing
/// when there is none.
pub fn next_call(stack: &Stack, job: &Job, names: &HostNames) -> Result<c_int> {
    if let Some(trace) = &job.trace {
        trace.end_call();
    }
    while let Some((request, ticket)) = job.mailbox.take() {
        if fault::point("call").is_err() {
            job.mailbox.close();
        }
        let display = names::display(&request.name);
        if let Some(trace) = &job.trace {
            trace.begin_call(&display);
        }
        if &*request.name == hostcall::PRELOAD {
            answer_preload(stack, job, names, ticket, &request.arguments)?;
            continue;
        }
        let mut decoder = Decoder::new(names);
        let pushed = stack.building_on_host(request.arguments.len(), || {
            stack.protected(0, |stack| {
                match ticket {
                    Some(ticket) => stack.push_integer(ticket as i64),
                    None => stack.push_boolean(false),
                }
                if push_host_function(stack, &request.name) != Type::Function {
                    stack.set_top(0);
                    return Ok(0);
                }
                stack.push_bytes(display.as_bytes());
                decoder.message(stack, &request.arguments)?;
                Ok(stack.top())
            })
        });
        let error = match pushed {
            Ok(0) => Error::NoHostFunction { name: display },
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        let interrupt = error.is_interrupt().then(|| error.clone());
        if let Some(ticket) = ticket {
            job.mailbox.answer(ticket, Answer::Failed(error));
        }
        // It came while the call was prepared, and is the host's as well.
        interrupt.map_or(Ok(()), Err)?;
    }
    Ok(0)
}

/// Answers a host call with the values from index `first` up: its results, or what it raised. An error is Ctrl-C, which
/// came meanwhile.
pub fn answer(
    stack: &Stack,
    job: &Job,
    names: &HostNames,
    ticket: u64,
    name: &str,
    returned: bool,
    first: c_int,
) -> Result<()> {
    let place = |n: usize, path: &str| format!("returns[{n}]{path} of {name}");
    let policy = Policy { names, functions: Functions::Carry(job.upvalues), place: &place };
    let mut message = Vec::new();
    let encoded = if returned {
        encode(stack, stack.top() - first + 1, &mut message, &policy)
    } else {
        stack.set_top(first);
        stack.push_value(first);
        encode(stack, 1, &mut message, &policy).or_else(|_| {
            // What it raised can't cross; its text can.
            stack.protected(1, |stack| {
                stack.push_text_of(1);
                stack.remove(1);
                Ok(())
            })?;
            encode(stack, 1, &mut message, &policy)
        })
    };
    let interrupt = encoded.as_ref().err().filter(|error| error.is_interrupt()).cloned();
    let answer = match encoded {
        Ok(()) if returned => Answer::Returned(message),
        Ok(()) => Answer::Raised(message),
        Err(cause) => Answer::Failed(Error::HostAnswer { name: name.to_owned(), cause: Box::new(cause) }),
    };
    if let Some(trace) = &job.trace {
        trace.end_call();
    }
    job.mailbox.answer(ticket, answer);
    interrupt.map_or(Ok(()), Err)
}
