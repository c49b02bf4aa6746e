//! Calls of the kernel that no daemon has business with, for threads of daemons that run.

use std::fs;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

use crate::puppet::Puppet;

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
enum Argument {
    Number(c_int),
    /// Where these words are.
    Text(&'static str),
    /// A page of memory that can be written to, and how long it is.
    Page,
    PageLength,
    /// A process that is not the daemon's.
    Stranger,
}

use Argument::{Number, Page, PageLength, Stranger, Text};

/// A call that a daemon has no business with, with arguments that do no harm where it is not refused.
#[derive(Debug)]
pub struct Canary {
    /// What is tried.
    pub what: &'static str,
    call: c_long,
    arguments: &'static [Argument],
    /// How it is refused by a daemon that has shut itself in.
    pub refused: Errno,
}

const fn refused(what: &'static str, call: c_long, arguments: &'static [Argument]) -> Canary {
    Canary { what, call, arguments, refused: Errno::EPERM }
}

const fn family(what: &'static str, arguments: &'static [Argument]) -> Canary {
    Canary { what, call: libc::SYS_socket, arguments, refused: Errno::EAFNOSUPPORT }
}

const fn file(what: &'static str, arguments: &'static [Argument]) -> Canary {
    Canary { what, call: libc::SYS_openat, arguments, refused: Errno::EACCES }
}

const CREATE_WRITE: c_int = libc::O_TMPFILE | libc::O_WRONLY;
const READ_EXEC: c_int = libc::PROT_READ | libc::PROT_EXEC;
const ALL: c_int = READ_EXEC | libc::PROT_WRITE;
const ANONYMOUS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
/// `KEYCTL_GET_KEYRING_ID` of the process's own, which it does not have.
const OWN_KEYRING: &[Argument] = &[Number(0), Number(-2), Number(0)];
const USER_FAULTS_ONLY: c_int = 1;

/// What nobody may.
pub const CANARIES: &[Canary] = &[
    refused("execve", libc::SYS_execve, &[Text("/nowhere"), Number(0), Number(0)]),
    refused(
        "execveat",
        libc::SYS_execveat,
        &[Number(-1), Text(""), Number(0), Number(0), Number(libc::AT_EMPTY_PATH)],
    ),
    refused("memfd_create", libc::SYS_memfd_create, &[Text("canary"), Number(0)]),
    refused("ptrace", libc::SYS_ptrace, &[Number(1), Number(-1), Number(0), Number(0)]),
    refused("process_vm_readv", libc::SYS_process_vm_readv, &[Stranger]),
    refused("kill", libc::SYS_kill, &[Stranger, Number(0)]),
    refused("mount", libc::SYS_mount, &[]),
    refused("unshare", libc::SYS_unshare, &[Number(libc::CLONE_NEWUTS)]),
    refused("setns", libc::SYS_setns, &[Number(-1), Number(0)]),
    refused("chroot", libc::SYS_chroot, &[Text("/nowhere")]),
    refused("setuid", libc::SYS_setuid, &[Number(0)]),
    refused("setgid", libc::SYS_setgid, &[Number(0)]),
    refused("bpf", libc::SYS_bpf, &[]),
    refused("io_uring_setup", libc::SYS_io_uring_setup, &[]),
    refused("userfaultfd", libc::SYS_userfaultfd, &[Number(USER_FAULTS_ONLY)]),
    refused("perf_event_open", libc::SYS_perf_event_open, &[]),
    refused("keyctl", libc::SYS_keyctl, OWN_KEYRING),
    refused("mprotect", libc::SYS_mprotect, &[Page, PageLength, Number(READ_EXEC)]),
    refused(
        "mmap",
        libc::SYS_mmap,
        &[Number(0), PageLength, Number(ALL), Number(ANONYMOUS), Number(-1), Number(0)],
    ),
    Canary { what: "clone3", call: libc::SYS_clone3, arguments: &[], refused: Errno::ENOSYS },
    family("netlink", &[Number(libc::AF_NETLINK), Number(libc::SOCK_RAW)]),
    family("packet", &[Number(libc::AF_PACKET), Number(libc::SOCK_RAW)]),
    family("vsock", &[Number(libc::AF_VSOCK), Number(libc::SOCK_STREAM)]),
    file(
        "a file of its own making",
        &[Number(libc::AT_FDCWD), Text("/"), Number(CREATE_WRITE), Number(0o600)],
    ),
];

/// What every daemon but that of TLS may not: where keys are is for the administrator to say, so that
/// one may read all that its account may.
pub const FOREIGN: Canary = file(
    "a directory of root's",
    &[Number(libc::AT_FDCWD), Text("/root"), Number(libc::O_RDONLY | libc::O_DIRECTORY)],
);

/// What no account of a daemon may.
pub const SECRETS: Canary =
    file("secrets", &[Number(libc::AT_FDCWD), Text("/etc/shadow"), Number(libc::O_RDONLY)]);

/// What the daemon of the network alone may.
pub const INTERNET: &[Canary] = &[
    family("inet", &[Number(libc::AF_INET), Number(libc::SOCK_STREAM)]),
    family("inet6", &[Number(libc::AF_INET6), Number(libc::SOCK_STREAM)]),
];

impl Canary {
    /// What the kernel answers to a thread that tries it.
    #[must_use]
    pub fn tried_by(&self, puppet: &Puppet) -> Option<Errno> {
        let mut arguments = [0; 6];
        for (place, argument) in arguments.iter_mut().zip(self.arguments) {
            *place = match *argument {
                Number(number) => i64::from(number).cast_unsigned(),
                Text(words) => puppet.text(words),
                Page => puppet.memory(),
                PageLength => 4096,
                Stranger => std::process::id().into(),
            };
        }
        let answer = puppet.call(self.call, arguments);
        if let (Ok(descriptor), libc::SYS_socket) = (answer, self.call) {
            puppet.call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]).expect("it is open");
        }
        answer.err()
    }
}

/// The threads of a process.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    let all = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let number = |one: fs::DirEntry| one.file_name().to_str()?.parse().ok();
    all.map(|one| number(one.expect("a thread")).expect("a number")).collect()
}
