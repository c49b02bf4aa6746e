//! Memory that is overwritten before it is given back.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// Bytes that can be overwritten where they lie.
pub trait Wipe {
    /// Overwrites all of the memory, whether it is in use or not.
    fn wipe(&mut self);
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        // SAFETY: an array of N bytes is borrowed for writing, and zero is a value of each.
        unsafe { libc::explicit_bzero(self.as_mut_ptr().cast(), N) }
    }
}

impl Wipe for Vec<u8> {
    /// Empties it too; its memory stays its own.
    fn wipe(&mut self) {
        self.clear();
        let memory: &mut [MaybeUninit<u8>] = self.spare_capacity_mut();
        // SAFETY: memory of that length is borrowed for writing; what it holds need not be valid.
        unsafe { libc::explicit_bzero(memory.as_mut_ptr().cast(), memory.len()) }
    }
}

impl Wipe for String {
    /// Takes its memory away too.
    fn wipe(&mut self) {
        std::mem::take(self).into_bytes().wipe();
    }
}

/// A value whose memory is overwritten when it is dropped.
///
/// The C library promises that the compiler leaves the writing in (`explicit_bzero`). Copies that
/// were made of the value, and memory that a vector or text has left behind by growing, are not
/// covered: give it its room at the beginning.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Wiped<T: Wipe>(T);

impl<T: Wipe> Wiped<T> {
    /// Takes over `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Wipe> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Wipe> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_memory_is_overwritten_and_none_beside_it() {
        let mut array = [[7; 4], [8; 4]];
        array[0].wipe();
        assert_eq!(array, [[0; 4], [8; 4]]);
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"what was longer once");
        bytes.truncate(4);
        bytes.wipe();
        // SAFETY: the memory is the vector's, and every byte of it was just written.
        unsafe { bytes.set_len(64) };
        assert_eq!(bytes, [0; 64], "behind its end too");
    }

    #[test]
    fn a_value_is_overwritten_where_it_lay_when_it_is_dropped() {
        let mut place = MaybeUninit::new(Wiped::new([7_u8; 32]));
        let memory = place.as_mut_ptr();
        // SAFETY: it was made above, and is not used as a `Wiped` again.
        unsafe { std::ptr::drop_in_place(memory) };
        // SAFETY: the memory of an array of bytes, which lives as long as `place`.
        let left = unsafe { memory.cast::<[u8; 32]>().read() };
        assert_eq!(left, [0; 32]);
    }

    #[test]
    fn nothing_of_it_is_shown_and_texts_are_emptied() {
        let mut text = String::from("secret");
        assert_eq!(format!("{:?}", Wiped::new(text.clone())), "***");
        text.wipe();
        assert_eq!(text, "");
    }
}
