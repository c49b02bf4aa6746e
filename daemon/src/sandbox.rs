//! What a daemon gives up once it has opened everything: rights, files, and calls of the kernel.
//!
//! The service manager's sandbox is the first layer. This one holds without it too: in a terminal,
//! in a container, under another service manager. A kernel that lacks a part of it is told of in
//! one line, and the daemon goes on; so is a sandbox around it that forbids it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use caps::{CapSet, Capability, CapsHashSet};

use crate::exit::Failure;
use crate::log::Log;

mod calls;
mod files;

/// What a daemon still needs.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox<'a> {
    /// Which sockets it may make.
    pub sockets: Sockets,
    /// Files and directories that it reads, besides the system's own. Of one that does not exist
    /// yet, the nearest directory above that does.
    pub reads: &'a [PathBuf],
    /// Directories in which it makes and removes sockets.
    pub binds: &'a [PathBuf],
    /// Whether it started programs that it has to end.
    pub has_children: bool,
}

/// Which sockets a daemon may make. Those that it is given can be of any kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sockets {
    /// Those of this host alone.
    Unix,
    /// Those of the internet too.
    Internet,
}

/// A part of the sandbox that cannot be had here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Missing {
    Files,
    Calls,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => {
                "all files that the account may use can still be used (no landlock here)"
            }
            Self::Calls => "all calls of the kernel can still be made (no seccomp here)",
        })
    }
}

impl Sandbox<'_> {
    /// Shuts this process in, for good, and has the log written from then on.
    ///
    /// Call it from the only thread, when everything is open and root is given up. Threads that
    /// are started later are shut in too.
    ///
    /// # Errors
    ///
    /// [`Failure::System`] if a part of it could be had and failed; nothing may go on then.
    pub fn enter(&self, log: Log) -> Result<(), Failure> {
        let failed = |error| Failure::system("the sandbox", &error);
        drop_rights(self.sockets).map_err(failed)?;
        nix::sys::prctl::set_no_new_privs().map_err(|error| failed(error.into()))?;
        let mut missing = Vec::new();
        if !files::restrict(self).map_err(failed)? {
            missing.push(Missing::Files);
        }
        // Its thread is not to have rights that this one lacks; and no thread is started later
        // where calls forbid that.
        log.write().map_err(|error| Failure::system("the log", &error))?;
        if !calls::restrict(self).map_err(failed)? {
            missing.push(Missing::Calls);
        }
        for missing in missing {
            tracing::warn!(event = "sandbox-incomplete", %missing);
        }
        Ok(())
    }
}

/// Gives up every capability, and the way to get any. What there is not is not given up, for a
/// service manager that took it may forbid the very call.
///
/// One may stay: that of marking connections, for a daemon with the network, if the service manager
/// has given it on purpose. All else that it is good for takes calls that are forbidden.
fn drop_rights(sockets: Sockets) -> io::Result<()> {
    let read = |set| caps::read(None, set).map_err(io::Error::other);
    let given = sockets == Sockets::Internet && read(CapSet::Ambient)?.contains(&MARKING);
    let kept: CapsHashSet = given.then_some(MARKING).into_iter().collect();
    if read(CapSet::Permitted)?.contains(&Capability::CAP_SETPCAP) {
        caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP)
            .and_then(|()| caps::clear(None, CapSet::Bounding))
            .map_err(io::Error::other)?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let kept = match set {
            CapSet::Ambient => CapsHashSet::new(),
            // What could be inherited is by nobody: no program is started from here.
            _ => kept.clone(),
        };
        if read(set)? != kept {
            caps::set(None, set, &kept).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// What `SO_MARK` takes.
const MARKING: Capability = Capability::CAP_NET_ADMIN;
