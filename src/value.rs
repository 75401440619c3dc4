//! A Lua value of the host, for reading options and for describing it in messages.

use std::borrow::Cow;
use std::ffi::c_int;

use serde::de::value::Error as Mismatch;
use serde::de::{Error as _, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::ffi::{NativeResult, Protected, Stack, Type};

/// Serde deserializes it into the type of an option.
#[derive(Debug)]
pub enum Value {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(Vec<u8>),
    /// A table, by its stack index.
    Table(c_int),
    /// A function, by its stack index.
    Function(c_int),
    /// Any other value, by the name that Lua's `type` gives it.
    Other(&'static str),
}

impl Value {
    /// Reads the value at an index. A table or function must stay there while this is used.
    pub fn at(stack: &Stack, index: c_int) -> Value {
        match stack.kind(index) {
            Type::None | Type::Nil => Value::Nil,
            Type::Boolean => Value::Boolean(stack.boolean(index)),
            Type::Number => match stack.whole(index) {
                Some(number) => Value::Integer(number),
                None => Value::Float(stack.number(index).unwrap_or(f64::NAN)),
            },
            Type::String => Value::Text(stack.bytes(index)),
            Type::Table => Value::Table(stack.absolute(index)),
            Type::Function => Value::Function(stack.absolute(index)),
            Type::Thread => Value::Other("thread"),
            Type::Userdata | Type::LightUserdata => Value::Other("userdata"),
        }
    }

    /// The value as a message shows it: a scalar itself, any other value by its kind.
    pub fn describe(&self) -> String {
        match self {
            Value::Nil => "nothing".to_owned(),
            Value::Text(text) => format!("\"{}\"", String::from_utf8_lossy(text)),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) if number.is_finite() && number.abs() >= 1e15 => format!("{number:e}"),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Table(_) => "a table".to_owned(),
            Value::Function(_) => "a function".to_owned(),
            Value::Other(kind) => format!("a {kind}"),
        }
    }

    /// The value's text, if it is a string.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Text(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for &Value {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Mismatch> {
        match self {
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(&String::from_utf8_lossy(text)),
            _ => Err(Mismatch::custom("no plain value")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Mismatch> {
        match self.text() {
            Some(word) => visitor.visit_enum(word.into_deserializer()),
            None => Err(Mismatch::custom("no word")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// `is_list(table, count)`: whether the table's keys are exactly 1 to `count`.
pub fn is_list(stack: &Protected) -> NativeResult {
    let count = stack.integer(2).unwrap_or(0);
    let mut found = 0;
    stack.push_nil();
    while stack.next(1) {
        if !stack.whole(-2).is_some_and(|key| (1..=count).contains(&key)) {
            stack.push_boolean(false);
            return Ok(1);
        }
        found += 1;
        stack.pop(1);
    }
    stack.push_boolean(found == count);
    Ok(1)
}
