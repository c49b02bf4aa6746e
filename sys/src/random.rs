//! Bytes that nobody can guess.

use std::io;

/// Fills `bytes` from the kernel's generator. Waits only on a machine that has just started.
///
/// # Errors
///
/// The kernel's, which is not expected.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the kernel writes at most as many bytes as `rest` has.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => rest = rest.split_at_mut(count.min(rest.len())).1,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_filled_and_no_two_fillings_are_alike() {
        // More than one call of the kernel fills at once.
        let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        fill(&mut left).unwrap();
        fill(&mut right).unwrap();
        assert_ne!(left, right);
        assert!(left.chunks(32).all(|chunk| chunk != [0; 32]));
        fill(&mut []).unwrap();
    }
}
