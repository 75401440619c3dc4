//! Tables, read raw: no metamethod runs.

use std::ffi::c_int;
use std::ptr;

use mlua::ffi as lua;

use super::stack::Stack;
use super::types::{Key, Type};

impl Stack<'_> {
    /// Asserts that the value at an index is a table. Lua itself would take anything for one.
    pub(super) fn assert_table(&self, index: c_int) {
        assert!(self.kind(index) == Type::Table, "there is no table at stack index {index}");
    }

    /// Replaces the key on top by the table's value for it.
    pub fn raw_get(&self, table: c_int) -> Type {
        self.assert_valid(-1);
        self.assert_table(table);
        // SAFETY: `l` is live; there is a table, and the caller pushed a key.
        Type::of(unsafe { lua::lua_rawget(self.l, table) })
    }

    pub fn raw_get_i(&self, table: c_int, n: i64) -> Type {
        self.assert_table(table);
        // SAFETY: `l` is live; there is a table, and the caller has room for one more value.
        Type::of(unsafe { lua::lua_rawgeti(self.l, table, n) })
    }

    /// Sets the key below the top to the value on top, if the table has that key already: that takes no memory, so it can't
    /// raise. False where the table lacks it. Pops both.
    pub fn raw_set_existing(&self, table: c_int) -> bool {
        let table = self.absolute(table);
        self.push_value(-2);
        let is_there = self.raw_get(table) != Type::Nil;
        self.pop(1);
        if is_there {
            // SAFETY: `l` is live; there are a table, a key and a value. Lua finds the key and overwrites its value.
            unsafe { lua::lua_rawset(self.l, table) };
        } else {
            self.pop(2);
        }
        is_there
    }

    /// Replaces the key on top by the next key and its value; pops it and gives false after the last.
    ///
    /// # Panics
    /// For a key that the table does not hold.
    pub fn next(&self, table: c_int) -> bool {
        let table = self.absolute(table);
        self.assert_table(table);
        if self.kind(-1) != Type::Nil {
            // A table's keys are normalized: a float with the value of an integer is none.
            let is_key = self.kind(-1) != Type::Number || self.is_integer(-1) || self.integer(-1).is_none();
            self.push_value(-1);
            let is_there = self.raw_get(table) != Type::Nil;
            self.pop(1);
            assert!(is_key && is_there, "a table was changed while it was read");
        }
        // SAFETY: `l` is live; there is a table, and the caller has room for one more value. Lua raises only for a key that
        // the table does not hold, and it holds this one.
        unsafe { lua::lua_next(self.l, table) != 0 }
    }

    /// Calls `keeps` with the kind and the identity of each function in the table's fields, and of each table under a text key.
    /// Leaves on the stack the tables for which it returns true. No stack is [`Send`], so `keeps` has none with which it
    /// could change the table. False if there is no room for them; then it leaves nothing.
    pub fn push_tables_in(&self, table: c_int, mut keeps: impl FnMut(Type, usize) -> bool + Send) -> bool {
        const STEP: c_int = 4;
        let table = self.absolute(table);
        self.assert_table(table);
        let base = self.top();
        let mut has_room = self.check(STEP);
        if has_room {
            self.push_nil();
        }
        // SAFETY: `l` is live; there are a table and room for a key and a value. Nothing changes the table meanwhile, so it holds
        // the key, and Lua does not raise.
        while has_room && unsafe { lua::lua_next(self.l, table) != 0 } {
            let kind = self.kind(-1);
            let is_kept = match kind {
                Type::Function => {
                    keeps(kind, self.pointer(-1));
                    false
                }
                Type::Table => self.kind(-2) == Type::String && keeps(kind, self.pointer(-1)),
                _ => false,
            };
            if is_kept {
                // The table stays, below the key for the next step.
                self.insert(-2);
                has_room = self.check(STEP);
            } else {
                self.pop(1);
            }
        }
        if !has_room {
            self.set_top(base);
        }
        has_room
    }

    /// Pushes the metatable, if there is one.
    pub fn metatable(&self, index: c_int) -> bool {
        // SAFETY: `l` is live; an index without a value has no metatable. The caller has room for one more value.
        unsafe { lua::lua_getmetatable(self.l, index) != 0 }
    }

    /// Sets the table (or nil) on top as the metatable, and pops it.
    pub fn set_metatable(&self, index: c_int) {
        self.assert_valid(index);
        assert!(matches!(self.kind(-1), Type::Table | Type::Nil), "a metatable is a table");
        // SAFETY: `l` is live; the caller names a value, and its new metatable is a table or none.
        unsafe { lua::lua_setmetatable(self.l, index) };
    }

    pub fn registry_get(&self, key: &'static Key) -> Type {
        // SAFETY: `l` is live; the registry is a table, and the caller has room for one more value.
        Type::of(unsafe { lua::lua_rawgetp(self.l, lua::LUA_REGISTRYINDEX, ptr::from_ref(key).cast()) })
    }
}
