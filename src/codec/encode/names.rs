//! Writes the names of functions and tables, and the classes of objects.

use super::Encoder;
use super::texts::put_bytes;
use crate::codec::identity_map::Entry;
use crate::codec::policy::{Functions, Libraries};
use crate::codec::wire::{self, mark_shared, put_length};
use crate::error::Result;
use crate::ffi::Protected;

impl Encoder<'_> {
    /// Writes the name of the function or table on top, if it has one.
    pub(super) fn put_if_named(&mut self, here: &Protected) -> Result<bool> {
        match self.policy.names.name_of(here) {
            Some(name) => self.put_name(&name).map(|()| true),
            None => self.put_if_modules(here),
        }
    }

    /// Whether the table at this address is a library, or the table of globals.
    #[inline]
    pub(super) fn is_library(&mut self, here: &Protected, address: usize) -> bool {
        if self.libraries.is_none() {
            self.read_libraries(here);
        }
        self.libraries.as_ref().is_some_and(|libraries| libraries.contains(address))
    }

    #[cold]
    fn read_libraries(&mut self, here: &Protected) {
        // The shape of `gma` and the data of modules have other rules.
        let has_none = self.policy.functions.skips_keys();
        self.libraries =
            Some(if has_none { Libraries::default() } else { self.policy.names.libraries(here) });
    }

    /// Writes the name of the table on top, which is a library or the table of globals.
    pub(super) fn put_if_library(&mut self, here: &Protected) -> Result<bool> {
        if self.is_globals(here) {
            self.out.push(wire::GLOBALS);
            return Ok(true);
        }
        match self.policy.names.name_of(here) {
            Some(name) => self.put_name(&name).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether there are modules.
    #[inline]
    pub(super) fn has_modules(&mut self, here: &Protected) -> Result<bool> {
        if let Some(has_modules) = self.has_modules {
            return Ok(has_modules);
        }
        let has_modules = self.policy.functions != Functions::Shape && self.policy.names.has_modules(here)?;
        self.has_modules = Some(has_modules);
        Ok(has_modules)
    }

    /// Writes the name of the function or table on top, if it is a module's.
    pub(super) fn put_if_modules(&mut self, here: &Protected) -> Result<bool> {
        if !self.has_modules(here)? {
            return Ok(false);
        }
        match self.policy.names.name_in_module(here)? {
            Some(_) if self.policy.functions == Functions::Data => self.out.push(wire::GLOBALS),
            Some(name) => self.put_name(&name)?,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Writes the class of the table on top, if its metatable is a module's.
    pub(super) fn put_class(&mut self, here: &Protected) -> Result<()> {
        if !self.has_modules(here)? || !here.metatable(-1) {
            return Ok(());
        }
        let pointer = here.pointer(-1);
        if let Some((_, Entry { id, tag })) = self.last_class.filter(|(last, _)| *last == pointer) {
            here.pop(1);
            mark_shared(&mut self.out, self.start, tag);
            self.out.extend_from_slice(&[wire::OBJECT, wire::REFERENCE]);
            put_length(&mut self.out, id as usize);
            return self.out.ensure_room(0);
        }
        let name = self.policy.names.class_name(here)?;
        here.pop(1);
        let Some(name) = name else { return Ok(()) };
        self.out.ensure_room(0)?;
        self.out.push(wire::OBJECT);
        // Where only data crosses, the class itself may cross as data, too, which has another identity.
        let is_data = self.policy.functions == Functions::Data;
        if is_data || !self.put_if_in_message(pointer)? {
            let identity = if is_data { 2 * self.out.len() + 1 } else { pointer };
            self.last_class = Some((pointer, self.register(identity)?));
            put_bytes(&mut self.out, wire::CLASS, name.as_bytes())?;
        }
        self.out.ensure_room(0)
    }

    pub(super) fn put_name(&mut self, name: &str) -> Result<()> {
        put_bytes(&mut self.out, wire::NAMED, name.as_bytes())
    }
}
