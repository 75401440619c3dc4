//! The buffer that messages are written into.
//!
//! Running out of memory is an error here and never aborts. The buffer has a limit, because a task's result counts toward the
//! memory limit of the task's state.

use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};
use crate::system;

/// At least as many bytes as a scalar, a header or an upvalue's record takes.
pub const SCALAR: usize = 32;

/// A vector of bytes. Call [`MessageBuffer::ensure_room`] before you append.
pub struct MessageBuffer<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
    /// The size that the capacity does not exceed without need.
    block: usize,
}

impl<'a> MessageBuffer<'a> {
    /// Appends to `bytes`, which may grow to `limit` bytes.
    pub fn new(bytes: &'a mut Vec<u8>, limit: usize) -> MessageBuffer<'a> {
        MessageBuffer { bytes, limit, block: usize::MAX }
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.limit < usize::MAX
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// From now on, blocks of this size are taken out of the buffer.
    pub fn set_block(&mut self, size: usize) {
        self.block = size;
    }

    /// Takes the bytes out, and goes on with `next`. What was taken still counts toward the limit.
    pub fn replace(&mut self, next: Vec<u8>) -> Vec<u8> {
        if self.is_limited() {
            self.limit = self.limit.saturating_sub(self.bytes.len());
        }
        std::mem::replace(self.bytes, next)
    }

    /// Whether there is room for `bytes` bytes and a scalar or a header.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() > bytes.saturating_add(SCALAR)
    }

    /// Makes room for `bytes` bytes and a scalar or a header, so that appending these can't abort for lack of memory.
    #[inline]
    pub fn ensure_room(&mut self, bytes: usize) -> Result<()> {
        if self.has_room(bytes) { Ok(()) } else { self.grow(bytes) }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) -> Result<()> {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        let needed = length.saturating_add(bytes).saturating_add(SCALAR + 1);
        if needed > self.limit {
            return Err(Error::Memory);
        }
        // The capacity doubles, so that the time spent copying is proportional to the message's size.
        let doubled = capacity.saturating_mul(2);
        let wanted = if capacity < self.block {
            doubled.min(self.block)
        } else if capacity / 2 < self.block {
            // A block is about to be taken out, at the next entry: there will be no room for it.
            needed
        } else {
            doubled
        };
        let wanted = needed.max(wanted).min(self.limit);
        if self.bytes.try_reserve_exact(wanted - length).is_err() {
            self.bytes.try_reserve_exact(needed - length)?;
        }
        if self.bytes.capacity() != capacity {
            system::expect_filling(self.bytes.as_ptr(), self.bytes.capacity());
        }
        Ok(())
    }

    /// Checks the limit. Needed at the end, because bytes that fit into the capacity of an earlier message were not checked.
    pub fn check(&self) -> Result<()> {
        if self.bytes.len() > self.limit { Err(Error::Memory) } else { Ok(()) }
    }
}

impl Deref for MessageBuffer<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        self.bytes
    }
}

impl DerefMut for MessageBuffer<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_grows_up_to_its_limit_and_no_further() {
        for limit in [100, 1000, 4097] {
            let mut bytes = Vec::new();
            let mut out = MessageBuffer::new(&mut bytes, limit);
            while out.ensure_room(1).is_ok() {
                out.push(0);
                assert!(out.capacity() <= limit.max(8));
            }
            assert!((limit - SCALAR - 2..=limit).contains(&out.len()), "{} of {limit}", out.len());
            assert_eq!(out.ensure_room(usize::MAX), Err(Error::Memory));
        }
    }

    #[test]
    fn reused_capacity_does_not_bypass_the_limit() {
        let mut bytes = Vec::with_capacity(1000);
        let mut out = MessageBuffer::new(&mut bytes, 10);
        out.ensure_room(20).expect("there is room");
        assert_eq!(out.check(), Ok(()));
        out.extend_from_slice(&[0; 20]);
        assert_eq!(out.check(), Err(Error::Memory));
    }
}
