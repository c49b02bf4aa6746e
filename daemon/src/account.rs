//! The account that a daemon runs as.

use std::io;

use nix::unistd::{Gid, Uid, User, initgroups, setresgid, setresuid};

/// The account that the system's broker runs as.
pub const BROKER: &str = "ipcd";

/// Gives up root for the account `name`, for good. False if there is no such account, and then
/// nothing has changed.
///
/// # Errors
///
/// The kernel's; nothing may go on then. [`io::ErrorKind::PermissionDenied`] if root could be
/// taken back.
pub fn switch_to(name: &str) -> io::Result<bool> {
    let Some(user) = User::from_name(name)? else { return Ok(false) };
    let name = std::ffi::CString::new(name)?;
    initgroups(&name, user.gid)?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    if setresuid(root.0, root.0, root.0).is_ok() || setresgid(root.1, root.1, root.1).is_ok() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_does_not_exist_changes_nothing() {
        let before = nix::unistd::geteuid();
        assert!(!switch_to("ipcd-no-such-account").unwrap());
        assert_eq!(nix::unistd::geteuid(), before);
    }
}
