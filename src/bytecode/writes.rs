//! Finds the captured variables that functions write to.
//!
//! All functions that cross together are judged together: one may change a table that another hands it. Each function's code
//! is followed along all of its ways. For each register, it is noted whether it may hold the value of a captured variable or
//! something out of it. What a function returns is not followed, nor a captured table inside of a table that a function made.

use std::collections::VecDeque;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::dump::{self, Source};
use super::facts::{Fact, FactSets, Facts};
use super::instruction::{Action, Instruction};
use super::library::{self, Known};

/// How often each instruction may be looked at, on average, before nothing is judged. Real code takes less than ten looks.
const MAX_LOOKS: usize = 100;

/// A function that crosses.
pub struct Carried<'a> {
    pub dump: &'a [u8],
    /// The number of each captured variable.
    pub variables: Vec<u32>,
}

/// The value of a captured variable, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<'a> {
    /// The globals, or a table in their place.
    Globals,
    /// A part of the standard library, by name.
    Library(&'a str),
    /// One of the functions, by position.
    Function(u32),
    /// Anything else. These functions, by position, are fields of it.
    Other(Vec<(&'a [u8], u32)>),
}

/// Whether functions write to a captured variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// They assign to the variable.
    pub variable: bool,
    /// They change the table in it, or a table inside of that.
    pub table: bool,
}

/// Judges each variable. None if the code is too long, or no dump of stock Lua.
pub fn find(carried: &[Carried], held: &[Held]) -> Option<Vec<Written>> {
    let dumps = carried.iter().map(|carried| dump::read(carried.dump)).collect::<Option<Vec<_>>>()?;
    let mut program = Program::new(held);
    for dump in &dumps {
        program.functions.push(Function::new(dump));
    }
    for (position, carried) in carried.iter().enumerate() {
        program.add_inner(position);
        for (n, variable) in carried.variables.iter().enumerate() {
            let facts = program.facts_of(*variable);
            program.flow_upvalue(position as u32, n, facts, Some(*variable));
        }
    }
    program.run().then_some(program.written)
}

/// A function of the program.
struct Function<'a> {
    code: &'a dump::Function<'a>,
    /// The positions of the functions inside of it.
    inner: Vec<u32>,
    /// The facts about its parameters and its upvalues when it is called.
    parameters: Vec<Facts>,
    upvalues: Vec<Facts>,
    /// The captured variable that an upvalue is, if it is not a local of a function around it.
    variables: Vec<Option<u32>>,
    is_waiting: bool,
}

impl<'a> Function<'a> {
    fn new(code: &'a dump::Function<'a>) -> Function<'a> {
        Function {
            code,
            inner: Vec::new(),
            parameters: vec![Facts::NONE; code.parameters.into()],
            upvalues: vec![Facts::NONE; code.upvalues.len()],
            variables: vec![None; code.upvalues.len()],
            is_waiting: false,
        }
    }
}

type Registers = Vec<Facts>;

/// The functions, and what is known so far.
struct Program<'a> {
    held: &'a [Held<'a>],
    functions: Vec<Function<'a>>,
    sets: FactSets,
    written: Vec<Written>,
    /// The functions to look at, since more is known about their parameters or upvalues.
    waiting: VecDeque<u32>,
    steps: usize,
    max_steps: usize,
}

impl<'a> Program<'a> {
    fn new(held: &'a [Held<'a>]) -> Program<'a> {
        Program {
            held,
            functions: Vec::new(),
            sets: FactSets::new(),
            written: vec![Written::default(); held.len()],
            waiting: VecDeque::new(),
            steps: 0,
            max_steps: 0,
        }
    }

    /// Adds the functions inside of the one at a position, which waits.
    fn add_inner(&mut self, position: usize) {
        let mut next = vec![position];
        while let Some(position) = next.pop() {
            self.wait(position as u32);
            self.max_steps += MAX_LOOKS * self.functions[position].code.code.len();
            for inner in &self.functions[position].code.functions {
                let inner_position = self.functions.len();
                self.functions.push(Function::new(inner));
                self.functions[position].inner.push(inner_position as u32);
                next.push(inner_position);
            }
        }
    }

    fn wait(&mut self, function: u32) {
        let is_waiting = &mut self.functions[function as usize].is_waiting;
        if !std::mem::replace(is_waiting, true) {
            self.waiting.push_back(function);
        }
    }

    /// Looks at all functions until nothing more becomes known. False if that takes too long.
    fn run(&mut self) -> bool {
        while let Some(position) = self.waiting.pop_front() {
            self.functions[position as usize].is_waiting = false;
            self.follow(position);
            if self.steps > self.max_steps {
                return false;
            }
        }
        true
    }

    fn facts_of(&mut self, variable: u32) -> Facts {
        let fact = match self.held.get(variable as usize) {
            Some(Held::Globals) => Some(Fact::Library(Known::Globals)),
            Some(Held::Library(name)) => library::named(name).map(Fact::Library),
            Some(Held::Function(function)) => Some(Fact::Function(*function)),
            Some(Held::Other(_)) => Some(Fact::Variable(variable)),
            None => None,
        };
        self.sets.make(fact.into_iter().collect())
    }

    /// Adds facts about an upvalue of a function.
    fn flow_upvalue(&mut self, function: u32, n: usize, facts: Facts, variable: Option<u32>) {
        let Some(known) = self.functions[function as usize].upvalues.get(n) else { return };
        let union = self.sets.union(*known, facts);
        let is_new = union != *known;
        let target = &mut self.functions[function as usize];
        target.upvalues[n] = union;
        let is_new_variable = variable.is_some() && target.variables[n] != variable;
        if is_new_variable {
            target.variables[n] = variable;
        }
        if is_new || is_new_variable {
            self.wait(function);
        }
    }

    /// Follows the code of a function along all of its ways.
    fn follow(&mut self, position: u32) {
        let function = &self.functions[position as usize];
        let code = function.code;
        let mut registers = function.parameters.clone();
        registers.resize(usize::from(code.registers).max(registers.len()), Facts::NONE);
        // The registers at the beginning of each straight piece of code.
        let mut begun: FxHashMap<usize, Registers> = FxHashMap::default();
        for (at, instruction) in code.code.iter().enumerate() {
            if let Some(target) = instruction.flow(at).target {
                begun.insert(target, Registers::new());
            }
        }
        let mut next = Vec::new();
        self.arrive(0, &registers, &mut begun, &mut next);
        begun.entry(0).or_insert_with(|| {
            next.push(0);
            registers
        });
        while let Some(start) = next.pop() {
            let Some(mut registers) = begun.get(&start).cloned() else { continue };
            let mut at = start;
            while let Some(instruction) = code.code.get(at) {
                self.steps += 1;
                if self.steps > self.max_steps {
                    return;
                }
                let before =
                    matches!(instruction.action(), Action::TestSet { .. }).then(|| registers.clone());
                self.step(position, *instruction, &mut registers);
                let flow = instruction.flow(at);
                if let Some(target) = flow.target {
                    // It leaves its register alone where it skips an instruction.
                    self.arrive(target, before.as_ref().unwrap_or(&registers), &mut begun, &mut next);
                }
                at += 1;
                if !flow.goes_on || self.arrive(at, &registers, &mut begun, &mut next) {
                    break;
                }
            }
        }
    }

    /// Adds the facts of a way that arrives at an instruction. False if no straight piece of code begins there.
    fn arrive(
        &mut self,
        at: usize,
        registers: &[Facts],
        begun: &mut FxHashMap<usize, Registers>,
        next: &mut Vec<usize>,
    ) -> bool {
        let Some(known) = begun.get_mut(&at) else { return false };
        let mut is_new = known.is_empty();
        known.resize(registers.len(), Facts::NONE);
        for (known, facts) in known.iter_mut().zip(registers) {
            let union = self.sets.union(*known, *facts);
            is_new |= union != *known;
            *known = union;
        }
        if is_new && !next.contains(&at) {
            next.push(at);
        }
        true
    }

    fn step(&mut self, position: u32, instruction: Instruction, registers: &mut Registers) {
        let function = &self.functions[position as usize];
        let code = function.code;
        let get = |registers: &Registers, n: usize| registers.get(n).copied().unwrap_or_default();
        let upvalue_facts = |n: usize| function.upvalues.get(n).copied().unwrap_or_default();
        let text = |key: Option<usize>| key.and_then(|index| code.text(index));
        let (to, result) = match instruction.action() {
            Action::Move { to, from } | Action::TestSet { to, from } => (to, get(registers, from)),
            Action::GetUpvalue { to, upvalue } => (to, upvalue_facts(upvalue)),
            Action::GetUpvalueField { to, upvalue, key } => {
                (to, self.field(upvalue_facts(upvalue), text(key)))
            }
            Action::GetField { to, table, key } => (to, self.field(get(registers, table), text(key))),
            Action::GetMethod { to, object, key } => {
                let object = get(registers, object);
                set(registers, to + 1, object);
                (to, self.field(object, text(key)))
            }
            // `self.__index = self` prepares a class each time an object is made. No result is lost with it.
            Action::SetUpvalueField { key, .. } | Action::SetField { key, .. }
                if text(key) == Some(b"__index") =>
            {
                return;
            }
            Action::SetUpvalueField { upvalue, .. } => return self.write(upvalue_facts(upvalue)),
            Action::SetField { table, .. } | Action::SetList { table } => {
                return self.write(get(registers, table));
            }
            Action::SetUpvalue { upvalue } => {
                if let Some(Some(variable)) = function.variables.get(upvalue) {
                    self.written[*variable as usize].variable = true;
                }
                return;
            }
            Action::Clear { from, count } => return clear(registers, from..from + count),
            Action::Closure { to, function } => return self.close(position, to, function, registers),
            Action::Call { function, arguments, results } => {
                return self.call_instruction(function, arguments, results, registers);
            }
            Action::Iterate { iterator, to, results: count } => {
                let arguments = [get(registers, iterator + 1), get(registers, iterator + 2)];
                let results = self.call(get(registers, iterator), &arguments, true);
                (0..count).for_each(|n| set(registers, to + n, results.get(n)));
                return;
            }
            Action::NextTurn { control, from } => (control, get(registers, from)),
            Action::Varargs { from } => return clear(registers, from..registers.len()),
            Action::Count { first, registers: count } => return clear(registers, first..first + count),
            // These change no register.
            Action::Jump | Action::Test | Action::Return | Action::Nothing => return,
            Action::NewTable { to } | Action::Compute { to } | Action::Other { to } => (to, Facts::NONE),
        };
        set(registers, to, result);
    }

    /// The facts about a field of a value, or about any field if its key is not known.
    fn field(&mut self, facts: Facts, key: Option<&[u8]>) -> Facts {
        if facts == Facts::NONE {
            return facts;
        }
        let mut found = Vec::new();
        for fact in self.sets.of(facts) {
            match fact {
                Fact::Variable(variable) => {
                    found.push(Fact::Inside(*variable));
                    if let (Some(key), Some(Held::Other(fields))) = (key, self.held.get(*variable as usize)) {
                        let fields = fields.iter().filter(|(name, _)| *name == key);
                        found.extend(fields.map(|(_, function)| Fact::Function(*function)));
                    }
                }
                Fact::Inside(_) => found.push(*fact),
                Fact::Library(known) => {
                    found.extend(key.and_then(|key| known.field(key)).map(Fact::Library));
                }
                Fact::Function(_) => {}
            }
        }
        self.sets.make(found)
    }

    /// Notes that a value's fields are written to.
    fn write(&mut self, facts: Facts) {
        for fact in self.sets.of(facts) {
            if let Fact::Variable(variable) | Fact::Inside(variable) = fact {
                self.written[*variable as usize].table = true;
            }
        }
    }

    /// Makes a closure.
    fn close(&mut self, position: u32, to: usize, inner: usize, registers: &mut Registers) {
        let function = &self.functions[position as usize];
        let Some(inner) = function.inner.get(inner).copied() else { return };
        let closure = self.sets.make(vec![Fact::Function(inner)]);
        // A local function that calls itself has captured the register that it is put into.
        set(registers, to, closure);
        let code = self.functions[inner as usize].code;
        for (n, upvalue) in code.upvalues.iter().enumerate() {
            let function = &self.functions[position as usize];
            let (facts, variable) = match upvalue.source {
                Source::Register(register) => (registers.get(usize::from(register)), None),
                Source::Upvalue(outer) => {
                    let outer = usize::from(outer);
                    (function.upvalues.get(outer), function.variables.get(outer).copied().flatten())
                }
            };
            self.flow_upvalue(inner, n, facts.copied().unwrap_or_default(), variable);
        }
    }

    /// Without a number, the arguments or the results go up to the top of the stack.
    fn call_instruction(
        &mut self,
        callee: usize,
        arguments: Option<usize>,
        results: Option<usize>,
        registers: &mut Registers,
    ) {
        let length = registers.len();
        let last = arguments.map_or(length, |count| (callee + 1 + count).min(length));
        let values = registers.get(callee + 1..last).unwrap_or_default().to_vec();
        let function = registers.get(callee).copied().unwrap_or_default();
        let found = self.call(function, &values, arguments.is_some());
        let end = results.map_or(length, |count| callee + count);
        (callee..end).for_each(|n| set(registers, n, found.get(n - callee)));
    }

    /// Calls a value. `is_whole` says that there are no other arguments.
    fn call(&mut self, callee: Facts, arguments: &[Facts], is_whole: bool) -> Results {
        let first = arguments.first().copied().unwrap_or_default();
        let mut results = Results::default();
        for fact in self.sets.of(callee).to_vec() {
            match fact {
                Fact::Function(function) => self.flow_arguments(function, arguments),
                Fact::Library(Known::Change) => {
                    self.write(first);
                    let taken = self.field(first, None);
                    results.add(0, taken, &mut self.sets);
                }
                Fact::Library(Known::ChangeAndReturn) => {
                    self.write(first);
                    results.add(0, first, &mut self.sets);
                }
                Fact::Library(Known::Move) => {
                    let target = match arguments.get(4) {
                        Some(target) => *target,
                        None if is_whole => first,
                        None => Facts::NONE,
                    };
                    self.write(target);
                    results.add(0, target, &mut self.sets);
                }
                Fact::Library(Known::Take) => {
                    let taken = self.field(first, None);
                    results.add_to_all(taken, &mut self.sets);
                }
                Fact::Library(Known::Iterate) => {
                    let iterator = self.sets.make(vec![Fact::Library(Known::Take)]);
                    results.add(0, iterator, &mut self.sets);
                    results.add(1, first, &mut self.sets);
                }
                Fact::Library(Known::Assert) => {
                    for (n, argument) in arguments.iter().enumerate() {
                        results.add(n, *argument, &mut self.sets);
                    }
                }
                Fact::Library(Known::Select) => {
                    for argument in arguments.iter().skip(1) {
                        results.add_to_all(*argument, &mut self.sets);
                    }
                }
                Fact::Library(Known::Call(skipped)) if self.steps <= self.max_steps => {
                    self.steps += 1;
                    let arguments = arguments.get(usize::from(skipped)..).unwrap_or_default();
                    let inner = self.call(first, arguments, is_whole);
                    results.add_shifted(&inner, &mut self.sets);
                }
                _ => {}
            }
        }
        results
    }

    /// Adds facts about the parameters of a function that is called.
    fn flow_arguments(&mut self, function: u32, arguments: &[Facts]) {
        for (n, argument) in arguments.iter().enumerate() {
            let Some(known) = self.functions[function as usize].parameters.get(n) else { return };
            let union = self.sets.union(*known, *argument);
            if union != *known {
                self.functions[function as usize].parameters[n] = union;
                self.wait(function);
            }
        }
    }
}

fn set(registers: &mut Registers, n: usize, facts: Facts) {
    if let Some(register) = registers.get_mut(n) {
        *register = facts;
    }
}

fn clear(registers: &mut Registers, range: Range<usize>) {
    range.for_each(|n| set(registers, n, Facts::NONE));
}

/// The facts about the results of a call.
#[derive(Default)]
struct Results {
    single: Vec<Facts>,
    /// The facts about each of them.
    all: Facts,
}

impl Results {
    fn get(&self, n: usize) -> Facts {
        self.single.get(n).copied().unwrap_or(self.all)
    }

    fn add(&mut self, n: usize, facts: Facts, sets: &mut FactSets) {
        if self.single.len() <= n {
            self.single.resize(n + 1, self.all);
        }
        self.single[n] = sets.union(self.single[n], facts);
    }

    fn add_to_all(&mut self, facts: Facts, sets: &mut FactSets) {
        self.all = sets.union(self.all, facts);
        for single in &mut self.single {
            *single = sets.union(*single, facts);
        }
    }

    /// Adds the results of a call that come behind one other.
    fn add_shifted(&mut self, others: &Results, sets: &mut FactSets) {
        for (n, facts) in others.single.iter().enumerate() {
            self.add(n + 1, *facts, sets);
        }
        self.add_to_all(others.all, sets);
    }
}
