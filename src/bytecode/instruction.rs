//! What instructions do. Each version of Lua encodes them in its own way, see `lua53` and `lua54`.

/// An instruction, as it stands in a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(pub u32);

/// What an instruction does, as far as this crate distinguishes. Registers, upvalues, constants and functions are numbered
/// from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Move {
        to: usize,
        from: usize,
    },
    /// Sets a register to a constant, or to the result of an operator.
    Compute {
        to: usize,
    },
    /// Sets registers to nil.
    Clear {
        from: usize,
        count: usize,
    },
    NewTable {
        to: usize,
    },
    Closure {
        to: usize,
        function: usize,
    },
    GetUpvalue {
        to: usize,
        upvalue: usize,
    },
    SetUpvalue {
        upvalue: usize,
    },
    /// Reads a field of the table in an upvalue. A key is the constant that it is, if it is one.
    GetUpvalueField {
        to: usize,
        upvalue: usize,
        key: Option<usize>,
    },
    SetUpvalueField {
        upvalue: usize,
        key: Option<usize>,
    },
    GetField {
        to: usize,
        table: usize,
        key: Option<usize>,
    },
    SetField {
        table: usize,
        key: Option<usize>,
    },
    /// Fills a table from registers.
    SetList {
        table: usize,
    },
    /// Reads a method into `to`, and copies its object into the register behind that.
    GetMethod {
        to: usize,
        object: usize,
        key: Option<usize>,
    },
    /// Calls the function in a register with arguments from the registers behind it. The results go into its register and those
    /// behind. Without a number, the values go up to the top of the stack.
    Call {
        function: usize,
        arguments: Option<usize>,
        results: Option<usize>,
    },
    /// Calls an iterator with the two values behind it.
    Iterate {
        iterator: usize,
        to: usize,
        results: usize,
    },
    /// Ends a loop over an iterator, or sets its control variable for the next turn.
    NextTurn {
        control: usize,
        from: usize,
    },
    /// Begins or ends a turn of a loop over numbers, which has registers from `first` on.
    Count {
        first: usize,
        registers: usize,
    },
    /// Reads arguments of `...` into registers from `from` on.
    Varargs {
        from: usize,
    },
    Test,
    /// Tests a value, and copies it unless the next instruction is skipped.
    TestSet {
        to: usize,
        from: usize,
    },
    Jump,
    Return,
    /// Has no effect of its own.
    Nothing,
    /// One of the rest. It sets at most the register `to`.
    Other {
        to: usize,
    },
}

/// Where execution may continue after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// An instruction other than the next one.
    pub target: Option<usize>,
    /// The next one.
    pub goes_on: bool,
}

impl Flow {
    pub const NEXT: Flow = Flow { target: None, goes_on: true };
    pub const NONE: Flow = Flow { target: None, goes_on: false };

    /// Only elsewhere: at a distance from the next instruction.
    pub fn jump(at: usize, distance: isize) -> Flow {
        Flow { target: (at + 1).checked_add_signed(distance), goes_on: false }
    }

    /// The next one, or one at a distance from it.
    pub fn branch(at: usize, distance: isize) -> Flow {
        Flow { goes_on: true, ..Flow::jump(at, distance) }
    }
}
