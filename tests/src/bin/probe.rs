//! A program that shuts itself in as a daemon does, and then tries what it has no business with:
//! `probe unix|internet READABLE BINDABLE`. A line each: what, and `works` or the error's name.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "tests: a broken premise ends them")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use daemon::sandbox::{Sandbox, Sockets};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket, socketpair};
use nix::unistd::{Gid, Pid, Uid};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let word = |place: usize| words.get(place).expect("three words");
    let sockets = if word(1) == "unix" { Sockets::Unix } else { Sockets::Internet };
    let (readable, bindable) = (PathBuf::from(word(2)), PathBuf::from(word(3)));
    let log =
        daemon::log::start("text".parse().expect("a format"), "info".parse().expect("a level"));
    let (reads, binds) = ([readable.clone()], [bindable.clone()]);
    let sandbox = Sandbox { sockets, reads: &reads, binds: &binds, has_children: false };
    sandbox.enter(log).expect("the sandbox");
    try_sockets();
    try_files(&readable, &bindable);
    try_calls();
    // Threads that begin later are shut in as well, and can begin.
    std::thread::spawn(|| try_family("thread-netlink", AddressFamily::Netlink))
        .join()
        .expect("the thread");
}

fn tell<T>(what: &str, result: Result<T, Errno>) {
    let said = result.map_or_else(|error| format!("{error:?}"), |_| "works".to_owned());
    println!("{what} {said}");
}

fn tell_io<T>(what: &str, result: std::io::Result<T>) {
    tell(what, result.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))));
}

fn try_family(what: &str, family: AddressFamily) {
    tell(what, socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None));
}

fn try_sockets() {
    for (what, family) in [
        ("unix", AddressFamily::Unix),
        ("inet", AddressFamily::Inet),
        ("inet6", AddressFamily::Inet6),
        ("netlink", AddressFamily::Netlink),
        ("packet", AddressFamily::Packet),
        ("vsock", AddressFamily::Vsock),
        ("alg", AddressFamily::Alg),
    ] {
        try_family(what, family);
    }
    let (family, kind) = (AddressFamily::Unix, SockType::Stream);
    tell("pair", socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC));
}

fn try_files(readable: &std::path::Path, bindable: &std::path::Path) {
    tell_io("read-own", fs::read(readable.join("file")));
    tell_io("write-own", fs::write(readable.join("file"), ""));
    tell_io("read-foreign", fs::read(bindable.with_file_name("foreign")));
    tell_io("write-foreign", fs::write(bindable.with_file_name("foreign"), ""));
    tell_io("bind", UnixListener::bind(bindable.join("socket")));
    tell_io("unbind", fs::remove_file(bindable.join("socket")));
    tell_io("bind-elsewhere", UnixListener::bind(readable.join("socket")));
    tell_io("read-accounts", fs::read("/etc/passwd"));
    tell_io("link", std::os::unix::fs::symlink("/etc/passwd", bindable.join("link")));
    tell_io("write-etc", File::create("/etc/ipcd-probe"));
}

fn try_calls() {
    tell_io("exec", Command::new("/bin/true").status());
    tell("setuid", nix::unistd::setuid(Uid::from_raw(1)));
    tell("setgid", nix::unistd::setgid(Gid::from_raw(1)));
    tell("unshare", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER));
    tell("kill", nix::sys::signal::kill(Pid::parent(), None));
    tell("ptrace", nix::sys::ptrace::attach(Pid::parent()));
    tell("chroot", nix::unistd::chroot("/"));
    let nothing: Option<&str> = None;
    let flags = nix::mount::MsFlags::MS_BIND;
    tell("mount", nix::mount::mount(Some("/"), "/mnt", nothing, flags, nothing));
    tell("hostname", nix::unistd::sethostname("probe"));
    let name = CString::new("probe").expect("a name");
    tell("memory-file", nix::sys::memfd::memfd_create(&*name, nix::sys::memfd::MFdFlags::empty()));
    // What is allowed goes on as it was.
    let mut null = File::open("/dev/null").expect("/dev/null can be read");
    tell_io("seek", null.rewind());
    tell_io("write", std::io::stderr().write_all(b""));
}
