//! Programs of several users: root starts them, `setpriv` makes them somebody else's.

use std::os::fd::OwnedFd;
use std::process::Command;

use crate::{has, installed, is_root};

/// Whether this test may start programs as other users. In CI it has to.
#[must_use]
pub fn has_users() -> bool {
    has("root and setpriv", is_root() && installed("setpriv").is_some())
}

/// A command that goes on as the user and group of that number, with those further groups and no
/// others. It is the process that is started: what follows is executed in its place.
#[must_use]
pub fn as_user(id: u32, groups: &[u32]) -> Command {
    let mut command = Command::new(installed("setpriv").expect("util-linux"));
    command.args([format!("--reuid={id}"), format!("--regid={id}")]);
    let groups = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    command.arg(if groups.is_empty() {
        "--clear-groups".to_owned()
    } else {
        format!("--groups={groups}")
    });
    command
}

/// Has what follows in `command` start with a broker's socket as its descriptor 3, and
/// `IPC_BROKER_FD` that says so. It is still the process that is started.
pub fn inherit(command: &mut Command, broker: OwnedFd) {
    command.args(["sh", "-c", "exec 3<&0 </dev/null; exec \"$@\"", "sh"]);
    command.env_remove("IPC_RUNDIR").env("IPC_BROKER_FD", "3").stdin(broker);
}
