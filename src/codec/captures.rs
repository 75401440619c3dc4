//! What the functions of a message have captured, to judge it as a whole.
//!
//! A function that can't cross does not end the walk: its upvalue is noted, and nil is written in its place. So one error names
//! all upvalues. The code of the functions tells which of them are written to; it is read only if there is something to judge.

use std::ffi::c_int;
use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::bytecode::{self, Held};
use crate::codec::identity_map::Entry;
use crate::codec::wire::{self, Reader};
use crate::error::{Error, Refusal, Remedy, Result};
use crate::ffi::Type;

/// The value of a captured variable.
#[derive(Clone, Copy)]
pub enum Content {
    /// The globals, or an environment.
    Globals,
    /// Something that crosses by name, at this position of the message.
    Named(usize),
    /// A Lua function, by its address.
    Function(usize),
    Other,
}

/// A captured variable of the message's functions.
pub struct Variable {
    pub number: u32,
    /// The first function that captured it, and its upvalue.
    pub first: Entry,
    pub upvalue: c_int,
}

/// A function of the message.
struct Function {
    pointer: usize,
    /// The position of its bytecode in the message.
    code: Range<usize>,
    /// The positions of the numbers of its variables in `numbers`.
    variables: Range<usize>,
}

/// An upvalue to judge.
struct Note {
    refusal: Refusal,
    /// The number and the kind of the variable, if it holds data.
    data: Option<(u32, Type)>,
}

/// What becomes of noted data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is refused; the code tells how.
    Refuse,
    /// It is refused, and may be copied whatever the code does.
    AdviseCopy,
    /// It is refused if it is written to.
    RefuseWritten,
}

#[derive(Default)]
pub struct Captures {
    functions: Vec<Function>,
    numbers: Vec<u32>,
    variables: FxHashMap<usize, Variable>,
    contents: Vec<Content>,
    /// The functions that are fields of a captured table: the variable, the position of the key in `keys`, the address.
    fields: Vec<(u32, Range<usize>, usize)>,
    keys: Vec<u8>,
    notes: Vec<Note>,
    /// How many functions and notes were judged.
    judged: (usize, usize),
}

impl Captures {
    pub fn clear(&mut self) {
        self.functions.clear();
        self.numbers.clear();
        self.variables.clear();
        self.contents.clear();
        self.fields.clear();
        self.keys.clear();
        self.notes.clear();
        self.judged = (0, 0);
    }

    /// Whether the message has no function.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Adds a function whose upvalues follow. Returns its position.
    pub fn add_function(&mut self, pointer: usize, code: Range<usize>, upvalues: c_int) -> Result<usize> {
        let first = self.numbers.len();
        self.numbers.try_reserve(upvalues as usize)?;
        self.functions.try_reserve(1)?;
        self.numbers.resize(first + upvalues as usize, 0);
        self.functions.push(Function { pointer, code, variables: first..self.numbers.len() });
        Ok(self.functions.len() - 1)
    }

    /// The variable with this identity, if an earlier function has captured it. Otherwise it is added: the upvalue of the
    /// function with this entry and position.
    pub fn capture(
        &mut self,
        id: usize,
        entry: Entry,
        position: usize,
        upvalue: c_int,
    ) -> Result<Option<&Variable>> {
        self.variables.try_reserve(1)?;
        self.contents.try_reserve(1)?;
        let number = self.contents.len() as u32;
        let mut is_known = true;
        let variable = self.variables.entry(id).or_insert_with(|| {
            is_known = false;
            Variable { number, first: entry, upvalue }
        });
        if !is_known {
            self.contents.push(Content::Other);
        }
        if let Some(function) = self.functions.get(position) {
            self.numbers[function.variables.start + upvalue as usize - 1] = variable.number;
        }
        Ok(is_known.then_some(variable))
    }

    /// The variables with their identities.
    pub fn variables(&self) -> impl Iterator<Item = (usize, &Variable)> {
        self.variables.iter().map(|(identity, variable)| (*identity, variable))
    }

    /// Sets the content of the variable that was added last, and returns its number.
    pub fn set_content(&mut self, content: Content) -> u32 {
        if let Some(last) = self.contents.last_mut() {
            *last = content;
        }
        self.contents.len() as u32 - 1
    }

    /// Adds a function that is a field of the table in a captured variable.
    pub fn add_field(&mut self, variable: u32, key: &[u8], pointer: usize) -> Result<()> {
        let start = self.keys.len();
        self.keys.try_reserve(key.len())?;
        self.fields.try_reserve(1)?;
        self.keys.extend_from_slice(key);
        self.fields.push((variable, start..self.keys.len(), pointer));
        Ok(())
    }

    /// Notes an upvalue that can't cross, or can't in some cases. `data` is the number and the kind of a variable with data.
    pub fn note(&mut self, refusal: Refusal, data: Option<(u32, Type)>) -> Result<()> {
        self.notes.try_reserve(1)?;
        self.notes.push(Note { refusal, data });
        Ok(())
    }

    /// The error of what was noted, if it is refused. `message` has the code of the functions.
    pub fn judge(&mut self, message: &[u8], judgement: Judgement) -> Result<()> {
        let all = (self.functions.len(), self.notes.len());
        if self.notes.is_empty() || self.judged == all {
            return Ok(());
        }
        self.judged = all;
        let has_data = self.notes.iter().any(|note| note.data.is_some());
        let written = match judgement {
            Judgement::Refuse | Judgement::RefuseWritten if has_data => self.find_writes(message),
            _ => Vec::new(),
        };
        let refused = self.notes.iter().filter_map(|Note { refusal, data }| {
            let Some((number, kind)) = data else { return Some(refusal.clone()) };
            let is_written = written
                .get(*number as usize)
                .is_some_and(|written| written.variable || written.table && *kind == Type::Table);
            let remedy = match judgement {
                _ if is_written => Remedy::Return,
                _ if *kind == Type::Nil => return None,
                Judgement::RefuseWritten => return None,
                Judgement::AdviseCopy => Remedy::Copy,
                // As an argument, its functions would be refused for what they have captured, often the table itself.
                Judgement::Refuse if self.fields.iter().any(|(variable, ..)| variable == number) => {
                    Remedy::Copy
                }
                Judgement::Refuse => refusal.remedy,
            };
            Some(Refusal { remedy, ..refusal.clone() })
        });
        let refused: Vec<Refusal> = refused.collect();
        if refused.is_empty() { Ok(()) } else { Err(Error::Upvalues(refused.into())) }
    }

    /// Judges each variable by the code of all functions.
    fn find_writes(&self, message: &[u8]) -> Vec<bytecode::Written> {
        let positions: FxHashMap<usize, u32> =
            self.functions.iter().zip(0..).map(|(function, position)| (function.pointer, position)).collect();
        let carried: Vec<_> = self
            .functions
            .iter()
            .map(|function| bytecode::Carried {
                dump: &message[function.code.clone()],
                variables: self.numbers[function.variables.clone()].to_vec(),
            })
            .collect();
        let mut held: Vec<_> = self
            .contents
            .iter()
            .map(|content| match content {
                Content::Globals => Held::Globals,
                Content::Named(at) => Held::Library(name_at(message, *at).unwrap_or_default()),
                Content::Function(pointer) => match positions.get(pointer) {
                    Some(position) => Held::Function(*position),
                    None => Held::Other(Vec::new()),
                },
                Content::Other => Held::Other(Vec::new()),
            })
            .collect();
        for (variable, key, pointer) in &self.fields {
            if let (Some(Held::Other(fields)), Some(position)) =
                (held.get_mut(*variable as usize), positions.get(pointer))
            {
                fields.push((&self.keys[key.clone()], *position));
            }
        }
        bytecode::find_writes(&carried, &held)
    }
}

/// The name that was written at a position of the message.
fn name_at(message: &[u8], at: usize) -> Option<&str> {
    let mut reader = Reader::new(message.get(at..)?);
    reader.byte().filter(|tag| *tag == wire::NAMED)?;
    std::str::from_utf8(reader.bytes()?).ok()
}
