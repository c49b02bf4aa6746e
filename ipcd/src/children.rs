//! Daemons that run as our children: `--with tcpd`.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use libipc::rundir::RunDirectory;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The children that live. Dropping this ends them, and waits for them.
#[derive(Debug, Default)]
pub(crate) struct Children(Vec<Running>);

#[derive(Debug)]
struct Running {
    name: String,
    process: Child,
}

impl Children {
    /// Starts the named programs, which lie where an installation or a build has them.
    ///
    /// # Errors
    ///
    /// The kernel's; those started before are ended.
    pub(crate) fn start(names: &[String], directory: &RunDirectory) -> io::Result<Self> {
        let mut children = Self::default();
        for name in names {
            let mut command = Command::new(program(name));
            command.arg("--rundir").arg(directory.path()).process_group(0);
            // The service manager watches the broker, and passed its sockets to the broker.
            for name in
                ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"]
            {
                command.env_remove(name);
            }
            // What this process reads as signals is not to be blocked in one that does not.
            sys::child::with_no_signal_blocked(&mut command);
            // However this ends. It starts them on its main thread, which lasts as long as it does.
            sys::child::ending_with_its_parent(&mut command);
            let process = command
                .spawn()
                .map_err(|error| io::Error::new(error.kind(), told(name, &error)))?;
            tracing::info!(event = "child-started", name = ?name, pid = process.id());
            children.0.push(Running { name: name.clone(), process });
        }
        Ok(children)
    }

    /// Takes note of those that have ended. They are not started again: by now this process may
    /// start nothing, and whoever wants that has a service manager.
    pub(crate) fn take_note(&mut self) {
        self.0.retain_mut(|Running { name, process }| {
            let Ok(Some(status)) = process.try_wait() else { return true };
            tracing::error!(event = "child-ended", name = ?name, pid = process.id(), %status);
            false
        });
    }
}

fn told(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "no program {name} is beside ipcd or where packages put it; the daemons are tcpd and tlsd"
            )
        }
        _ => format!("{name}: {error}"),
    }
}

/// The program of that name beside ours, where a build has it, or where the packages put it. Never
/// PATH's: there is another tcpd in Debian.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name(name);
    // /usr/bin/ipcd and /usr/libexec/ipcd/tcpd, below whatever prefix.
    let prefix = own.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let installed = prefix.join("libexec/ipcd").join(name);
    if beside.exists() { beside } else { installed }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.0 {
            if let Ok(pid) = i32::try_from(child.process.id()) {
                // One that has ended already needs no signal. Not waited for, its number is its own.
                let _ended = kill(Pid::from_raw(pid), Signal::SIGTERM).is_err();
            }
        }
        for child in &mut self.0 {
            let _status = child.process.wait().is_ok();
        }
    }
}
