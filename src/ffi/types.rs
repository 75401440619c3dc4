//! The types of Lua's values, and keys of its registry.

use std::ffi::c_int;

use mlua::ffi as lua;

/// The types of Lua's values, light and full userdata apart. `None` is the type of an index without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Type {
    /// Whether values of this type refer to no others and need no name to cross.
    pub fn is_plain(self) -> bool {
        use Type::{Boolean, LightUserdata, Nil, None, Number, String};
        matches!(self, None | Nil | Boolean | Number | LightUserdata | String)
    }

    pub fn is_scalar(self) -> bool {
        matches!(self, Type::Boolean | Type::Number | Type::String)
    }

    pub(super) fn of(tag: c_int) -> Type {
        match tag {
            lua::LUA_TNIL => Type::Nil,
            lua::LUA_TBOOLEAN => Type::Boolean,
            lua::LUA_TLIGHTUSERDATA => Type::LightUserdata,
            lua::LUA_TNUMBER => Type::Number,
            lua::LUA_TSTRING => Type::String,
            lua::LUA_TTABLE => Type::Table,
            lua::LUA_TFUNCTION => Type::Function,
            lua::LUA_TUSERDATA => Type::Userdata,
            lua::LUA_TTHREAD => Type::Thread,
            _ => Type::None,
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Type::None | Type::Nil => "nil",
            Type::Boolean => "boolean",
            Type::LightUserdata => "light userdata",
            Type::Number => "number",
            Type::String => "string",
            Type::Table => "table",
            Type::Function => "function",
            Type::Userdata => "userdata",
            Type::Thread => "coroutine",
        }
    }
}

/// A value as it was read: a plain one (see [`Type::is_plain`]), or the type of another. Of a text, what was made of its bytes.
pub enum Plain<R> {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Light(usize),
    Text(R),
    Other(Type),
}

/// An address that names one entry of a state's registry.
pub struct Key(#[allow(dead_code, reason = "its address is its meaning")] u8);

impl Key {
    pub const fn new() -> Key {
        Key(0)
    }
}

/// A function as Lua calls it: one of ours, or one that was found in a state.
#[derive(Clone, Copy)]
pub struct NativeFunction(pub(super) lua::lua_CFunction);
