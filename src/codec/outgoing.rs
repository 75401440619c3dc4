//! The bytes of a message while it is written.
//!
//! They grow without aborting where there is no memory, and not beyond what the state that they come from may take: a
//! result on its way counts for its task's limit.

use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};
use crate::system;

/// More bytes than a scalar, a header or an upvalue's record takes.
const SCALAR: usize = 32;

/// A vector to append to, after having made [`Outgoing::room`].
pub struct Outgoing<'a> {
    bytes: &'a mut Vec<u8>,
    at_most: usize,
}

impl<'a> Outgoing<'a> {
    /// Appends to `bytes`, until they are `at_most` so many.
    pub fn new(bytes: &'a mut Vec<u8>, at_most: usize) -> Outgoing<'a> {
        Outgoing { bytes, at_most }
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.at_most < usize::MAX
    }

    pub fn set_limit(&mut self, at_most: usize) {
        self.at_most = at_most;
    }

    /// Makes sure of room for so many bytes, and a scalar or a header, so that what follows can't abort for
    /// want of memory.
    #[inline]
    pub fn room(&mut self, bytes: usize) -> Result<()> {
        if self.bytes.capacity() - self.bytes.len() > bytes.saturating_add(SCALAR) {
            Ok(())
        } else {
            self.grow(bytes)
        }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) -> Result<()> {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        let needed = length.saturating_add(bytes).saturating_add(SCALAR + 1);
        if needed > self.at_most {
            return Err(Error::Memory);
        }
        // Twice as much as there was, so that all growing together costs no more than what is written.
        let wanted = needed.max(capacity.saturating_mul(2)).min(self.at_most);
        if self.bytes.try_reserve_exact(wanted - length).is_err() {
            self.bytes.try_reserve_exact(needed - length)?;
        }
        if self.bytes.capacity() != capacity {
            system::expect_filling(self.bytes.as_ptr(), self.bytes.capacity());
        }
        Ok(())
    }

    /// Whether the bytes are no more than they may be: those that another message has left room for are not asked about
    /// before.
    pub fn check(&self) -> Result<()> {
        if self.bytes.len() > self.at_most { Err(Error::Memory) } else { Ok(()) }
    }
}

impl Deref for Outgoing<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        self.bytes
    }
}

impl DerefMut for Outgoing<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_grows_as_far_as_it_may_and_no_further() {
        for at_most in [100, 1000, 4097] {
            let mut bytes = Vec::new();
            let mut out = Outgoing::new(&mut bytes, at_most);
            while out.room(1).is_ok() {
                out.push(0);
                assert!(out.capacity() <= at_most.max(8));
            }
            assert!((at_most - SCALAR - 2..=at_most).contains(&out.len()), "{} of {at_most}", out.len());
            assert_eq!(out.room(usize::MAX), Err(Error::Memory));
        }
    }

    #[test]
    fn room_that_was_there_before_is_no_way_around_the_limit() {
        let mut bytes = Vec::with_capacity(1000);
        let mut out = Outgoing::new(&mut bytes, 10);
        out.room(20).expect("there is room");
        assert_eq!(out.check(), Ok(()));
        out.extend_from_slice(&[0; 20]);
        assert_eq!(out.check(), Err(Error::Memory));
    }
}
