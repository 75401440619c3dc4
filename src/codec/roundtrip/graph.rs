//! Graphs of values as plain data, for tests: generates, pushes, reads and compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::ffi::{Protected, Stack, Type};

/// A value as plain data. A table is represented by its number in a graph, or by its address in a state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Nil,
    Boolean(bool),
    Integer(i64),
    /// As bits, because NaN equals nothing and -0.0 equals 0.0.
    Float(u64),
    Light(usize),
    Text(Vec<u8>),
    Table(usize),
}

/// The entries of each table. `Tables[&n]` holds the entries of `Value::Table(n)`.
pub type Tables = BTreeMap<usize, BTreeMap<Value, Value>>;

/// The writes that make each table, in order, and messages of values, which may include those tables.
#[derive(Clone, Debug)]
pub struct Graph {
    pub writes: Vec<Vec<(Value, Value)>>,
    pub messages: Vec<Vec<Value>>,
}

/// The key under which a table that is itself used as a key holds its number. Otherwise such tables could not be told apart.
fn number_key() -> Value {
    Value::Text(b"number".to_vec())
}

/// The key as a table stores it: a float with an integral value becomes that integer; nil and NaN can't be keys.
fn as_key(key: &Value) -> Option<Value> {
    match *key {
        Value::Nil => None,
        Value::Float(bits) => {
            let float = f64::from_bits(bits);
            let is_integer = float.fract() == 0.0 && (-(2.0_f64.powi(63))..2.0_f64.powi(63)).contains(&float);
            (!float.is_nan()).then(|| if is_integer { Value::Integer(float as i64) } else { key.clone() })
        }
        _ => Some(key.clone()),
    }
}

impl Graph {
    /// The tables after all writes.
    pub fn tables(&self) -> Tables {
        let table = |writes: &Vec<(Value, Value)>| {
            let mut table = BTreeMap::new();
            for (key, value) in writes {
                match (as_key(key), value) {
                    (Some(key), Value::Nil) => drop(table.remove(&key)),
                    (Some(key), value) => drop(table.insert(key, value.clone())),
                    (None, _) => {}
                }
            }
            table
        };
        self.writes.iter().map(table).enumerate().collect()
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    let integer = prop_oneof![any::<i64>(), select(vec![i64::MIN, i64::MAX, 1 << 53]), -2..12_i64];
    let special = select(vec![0.0, -0.0, 1.0, 2.0, 0.1, 5e-324, -(2.0_f64.powi(63)), 2.0_f64.powi(63)]);
    let float = prop_oneof![
        any::<u64>(),
        special.prop_map(f64::to_bits),
        // Infinities, and quiet and signalling NaNs with any payload.
        any::<u64>().prop_map(|bits| bits | 0x7ff0_0000_0000_0000),
        select(vec![f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits(), 0x7ff0_0000_0000_0001]),
    ];
    let text = prop_oneof![
        8 => vec(any::<u8>(), 0..4),
        4 => vec(any::<u8>(), 0..60),
        // In some places, Lua converts such a text to a number.
        2 => (0..9_u8).prop_map(|digit| digit.to_string().into_bytes()),
        1 => (120..20_000_usize).prop_map(|length| vec![b'x'; length]),
    ];
    prop_oneof![
        1 => Just(Value::Nil),
        1 => any::<bool>().prop_map(Value::Boolean),
        2 => integer.prop_map(Value::Integer),
        2 => float.prop_map(Value::Float),
        1 => any::<usize>().prop_map(Value::Light),
        2 => text.prop_map(Value::Text),
    ]
}

/// Graphs whose tables have items 1, 2, 3… with holes, and then up to `fields` writes to any key.
pub fn graphs(fields: usize) -> impl Strategy<Value = Graph> {
    (1..10_usize).prop_flat_map(move |count| {
        let value = move || prop_oneof![2 => scalar(), 1 => (0..count).prop_map(Value::Table)];
        let writes = (vec(value(), 0..7), vec((value(), value()), 0..=fields)).prop_map(|(items, fields)| {
            let items = items.into_iter().zip(1..).map(|(item, n)| (Value::Integer(n), item));
            items.chain(fields).collect::<Vec<_>>()
        });
        (vec(writes, count), vec(vec(value(), 0..5), 1..4)).prop_map(|(mut writes, messages)| {
            let keys: BTreeSet<Value> = writes.iter().flatten().map(|(key, _)| key.clone()).collect();
            for (n, writes) in writes.iter_mut().enumerate().filter(|(n, _)| keys.contains(&Value::Table(*n)))
            {
                writes.push((number_key(), Value::Integer(n as i64)));
            }
            Graph { writes, messages }
        })
    })
}

/// Pushes a value. The table at index 1 has the tables by their numbers.
pub fn push(stack: &Protected, value: &Value) {
    match value {
        Value::Nil => stack.push_nil(),
        Value::Boolean(value) => stack.push_boolean(*value),
        Value::Integer(value) => stack.push_integer(*value),
        Value::Float(bits) => stack.push_number(f64::from_bits(*bits)),
        Value::Light(value) => stack.push_light(*value),
        Value::Text(bytes) => stack.push_bytes(bytes),
        Value::Table(n) => assert_eq!(stack.raw_get_i(1, *n as i64), Type::Table),
    }
}

/// Makes a graph's tables in a new state. Every second one has a metatable, which must have no effect.
pub fn push_tables(stack: &Protected, graph: &Graph) {
    stack.create_table(0, 0);
    for n in 0..graph.writes.len() {
        stack.create_table(0, 0);
        if n % 2 == 1 {
            stack.create_table(0, 0);
            stack.push_value(-1);
            stack.raw_set_text(-2, "__index");
            stack.set_metatable(-2);
        }
        stack.raw_set_i(1, n as i64);
    }
    for (n, writes) in graph.writes.iter().enumerate() {
        push(stack, &Value::Table(n));
        for (key, value) in writes.iter().filter(|(key, _)| as_key(key).is_some()) {
            push(stack, key);
            push(stack, value);
            stack.raw_set(2);
        }
        stack.pop(1);
    }
}

/// Reads the value at an index, and all tables that it contains into `tables`.
pub fn read(stack: &Stack, index: c_int, tables: &mut Tables) -> Value {
    match stack.kind(index) {
        Type::Nil => Value::Nil,
        Type::Boolean => Value::Boolean(stack.boolean(index)),
        Type::Number if stack.is_integer(index) => Value::Integer(stack.integer(index).unwrap()),
        Type::Number => Value::Float(stack.number(index).unwrap().to_bits()),
        Type::LightUserdata => Value::Light(stack.light(index)),
        Type::String => Value::Text(stack.bytes(index)),
        Type::Table => {
            let (index, address) = (stack.absolute(index), stack.pointer(index));
            if !tables.contains_key(&address) {
                assert!(!stack.metatable(index), "a metatable came along");
                assert!(stack.check(3));
                let mut entries = BTreeMap::new();
                tables.insert(address, BTreeMap::new());
                stack.push_nil();
                while stack.next(index) {
                    entries.insert(read(stack, -2, tables), read(stack, -1, tables));
                    stack.pop(1);
                }
                tables.insert(address, entries);
            }
            Value::Table(address)
        }
        kind => panic!("a {kind:?} came back"),
    }
}

/// Compares two graphs: scalars and entries must be equal, and tables must correspond one to one.
pub fn assert_same(sent: &[Value], sent_tables: &Tables, got: &[Value], got_tables: &Tables) {
    assert_eq!(sent.len(), got.len());
    let (mut forth, mut back) = (BTreeMap::new(), BTreeMap::new());
    let mut pairs: Vec<(&Value, &Value)> = sent.iter().zip(got).collect();
    while let Some(pair) = pairs.pop() {
        let (Value::Table(n), Value::Table(address)) = pair else {
            assert_eq!(pair.0, pair.1);
            continue;
        };
        match (forth.insert(n, address), back.insert(address, n)) {
            (None, None) => {}
            (before, after) => {
                assert_eq!((before, after), (Some(address), Some(n)), "a table was split or merged");
                continue;
            }
        }
        let (sent, got) = (&sent_tables[n], &got_tables[address]);
        assert_eq!(sent.len(), got.len(), "{sent:?} came back as {got:?}");
        for (key, value) in sent {
            let is_key = |candidate: &&Value| match (key, candidate) {
                (Value::Table(n), Value::Table(address)) => {
                    got_tables[address].get(&number_key()) == Some(&Value::Integer(*n as i64))
                }
                (key, candidate) => key == *candidate,
            };
            let got_key = got.keys().find(is_key).unwrap_or_else(|| panic!("{key:?} is not in {got:?}"));
            pairs.extend([(key, got_key), (value, &got[got_key])]);
        }
    }
}
