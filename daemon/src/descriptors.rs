//! How many descriptors a daemon may have.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of this process to what its service manager allows; how many that is. The
/// usual 1024 are kept low for programs that use `select`, and no daemon of ours does.
///
/// # Errors
///
/// The kernel's; the daemon can go on with fewer.
pub fn raise_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn afterwards_all_that_is_allowed_may_be_used() {
        let most = raise_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (most, most));
    }
}
