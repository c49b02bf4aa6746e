//! Who asks: this process.

use libipc::identity::LocalIdentity;
use nix::unistd::{self, User};

/// This process, as the broker sees it. Its unit is the broker's to find.
pub(crate) fn identity() -> LocalIdentity {
    let groups = unistd::getgroups().ok();
    LocalIdentity {
        pid: Some(std::process::id()),
        uid: Some(unistd::geteuid().as_raw()),
        gid: Some(unistd::getegid().as_raw()),
        groups: groups.map(|groups| groups.iter().map(|gid| gid.as_raw()).collect()),
        ..LocalIdentity::default()
    }
}

/// This process for people: `user shop (998), pid 4711`.
pub(crate) fn text() -> String {
    let uid = unistd::geteuid();
    let pid = std::process::id();
    match User::from_uid(uid).ok().flatten() {
        Some(user) => format!("user {} ({uid}), pid {pid}", user.name),
        None => format!("user {uid}, pid {pid}"),
    }
}
