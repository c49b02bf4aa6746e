//! Files that live in memory, and the seals that make them safe to map.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

/// A new file of `length` zero bytes, close-on-exec, that can be sealed. Memory is taken when
/// bytes are written.
///
/// # Errors
///
/// The kernel's: no descriptors, or a length past what a file can have.
pub fn create(length: usize) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag that keeps it from being executed.
    let file = match memfd_create("ipc", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL))
    {
        Err(nix::Error::EINVAL) => memfd_create("ipc", flags)?,
        result => result?,
    };
    let length = i64::try_from(length).map_err(|_| nix::Error::EFBIG)?;
    nix::unistd::ftruncate(&file, length)?;
    Ok(file)
}

/// Fixes the length for ever: nobody can shorten, lengthen or unseal the file.
///
/// # Errors
///
/// The kernel's: `EPERM` if other seals were fixed before.
pub fn fix_length(file: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(file, FcntlArg::F_ADD_SEALS(fixed() | SealFlag::F_SEAL_SEAL))?;
    Ok(())
}

fn fixed() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW
}

/// The length of a file in memory whose length is fixed for ever; `None` for any other file.
///
/// With a fixed length no access to a mapping of it can end in SIGBUS or wait for anybody: a file
/// of a disk, of the network or of another process's making (FUSE) has no seals, and one of huge
/// pages, which can run out, is refused for its file system.
///
/// # Errors
///
/// The kernel's, which is not expected.
pub fn fixed_length(file: BorrowedFd<'_>) -> io::Result<Option<usize>> {
    let seals = match fcntl(file.as_fd(), FcntlArg::F_GET_SEALS) {
        Ok(seals) => SealFlag::from_bits_retain(seals),
        // No seals at all: no such file, or a descriptor that opens nothing (O_PATH).
        Err(nix::Error::EINVAL | nix::Error::EBADF) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !seals.contains(fixed()) || fstatfs(file)?.filesystem_type() != TMPFS_MAGIC {
        return Ok(None);
    }
    Ok(usize::try_from(fstat(file)?.st_size).ok())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_fixed_length_stays() {
        let file = create(100).unwrap();
        assert_eq!(fixed_length(file.as_fd()).unwrap(), None);
        fix_length(file.as_fd()).unwrap();
        assert_eq!(fixed_length(file.as_fd()).unwrap(), Some(100));
        for length in [0, 99, 101] {
            assert_eq!(nix::unistd::ftruncate(&file, length), Err(nix::Error::EPERM));
        }
        let seal = fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
        assert_eq!(seal, Err(nix::Error::EPERM));
    }

    #[test]
    fn other_files_have_no_fixed_length() {
        let place = tempfile::tempdir().unwrap();
        let regular = File::create(place.path().join("file")).unwrap();
        let zero = File::open("/dev/zero").unwrap();
        let (pipe, _other) = crate::splice::pipe(4096).unwrap();
        for file in [regular.as_fd(), zero.as_fd(), pipe.as_fd()] {
            assert_eq!(fixed_length(file).unwrap(), None);
        }
    }

    #[test]
    fn a_length_that_no_file_can_have_is_an_error() {
        assert!(create(usize::MAX).is_err());
        assert!(create(1 << 63).is_err());
    }

    #[test]
    fn a_new_file_is_close_on_exec() {
        let flags = fcntl(create(1).unwrap(), FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
    }
}
