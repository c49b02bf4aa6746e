//! Which calls of the kernel can fail in which ways, after attacks that others have met.

use crate::cut::Count;

/// A call, and what it is made to answer.
///
/// Only what a kernel can answer: where something is there to read, that is never `EAGAIN`.
pub(crate) const MATRIX: &[(&str, &[&str])] = &[
    ("accept4", &["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ECONNABORTED", "EINTR", "EPERM"]),
    ("socket", &["EMFILE", "ENFILE", "ENOMEM", "EACCES"]),
    ("socketpair", &["EMFILE", "ENFILE", "ENOMEM", "EACCES"]),
    ("pipe2", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("eventfd2", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("signalfd4", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("memfd_create", &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    ("timerfd_create", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("bind", &["EADDRINUSE", "EACCES", "EROFS", "ENOSPC"]),
    ("listen", &["EADDRINUSE", "EACCES", "ENOBUFS"]),
    ("fchmod", &["EACCES", "EROFS", "EPERM"]),
    ("chmod", &["EACCES", "EROFS", "ENOENT"]),
    ("fchmodat", &["EACCES", "EROFS", "ENOENT"]),
    ("unlink", &["EACCES", "EROFS", "ENOENT"]),
    ("mkdir", &["EACCES", "EROFS", "ENOSPC", "ENOENT"]),
    ("flock", &["EINTR", "ENOLCK", "EAGAIN"]),
    (
        "connect",
        &[
            "EAGAIN",
            "ECONNREFUSED",
            "ENOENT",
            "EACCES",
            "ETIMEDOUT",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "EADDRNOTAVAIL",
            "EINTR",
        ],
    ),
    (
        "sendmsg",
        &[
            "EAGAIN",
            "EINTR",
            "EPIPE",
            "ECONNRESET",
            "ENOBUFS",
            "ETOOMANYREFS",
            "EMSGSIZE",
            "ENOMEM",
            "EPERM",
        ],
    ),
    ("sendto", &["EAGAIN", "EINTR", "EPIPE", "ECONNRESET", "ENOBUFS", "ENOMEM"]),
    ("write", &["EAGAIN", "EINTR", "EPIPE", "ENOSPC", "EIO"]),
    ("writev", &["EAGAIN", "EINTR", "EPIPE", "ECONNRESET"]),
    ("recvmsg", &["EINTR", "ECONNRESET", "ENOMEM"]),
    ("recvfrom", &["EINTR", "ECONNRESET", "ENOMEM"]),
    ("read", &["EINTR", "ECONNRESET", "EIO", "EISDIR"]),
    ("getsockopt", &["ENOTCONN", "ENOPROTOOPT", "ESRCH", "EINVAL", "ENODATA", "ERANGE"]),
    ("setsockopt", &["ENOPROTOOPT", "EPERM", "EINVAL"]),
    ("getsockname", &["ENOBUFS", "EINVAL"]),
    ("getpeername", &["ENOTCONN", "ENOBUFS"]),
    ("epoll_ctl", &["ENOSPC", "ENOMEM", "EEXIST", "ENOENT"]),
    ("epoll_wait", &["EINTR"]),
    ("poll", &["EINTR", "ENOMEM"]),
    ("openat", &["ENOENT", "EACCES", "EISDIR", "EIO", "EINTR", "EMFILE", "ENOSYS"]),
    ("openat2", &["ENOENT", "EACCES", "EINTR", "EMFILE", "ENOSYS", "EAGAIN"]),
    ("newfstatat", &["ENOENT", "EACCES", "EIO"]),
    ("fstat", &["EIO", "EACCES"]),
    ("statx", &["EIO", "ENOSYS"]),
    ("getdents64", &["EIO", "ENOENT"]),
    ("readlink", &["ENOENT", "EACCES"]),
    ("clone3", &["EAGAIN", "ENOMEM", "ENOSYS"]),
    ("clone", &["EAGAIN", "ENOMEM"]),
    ("pidfd_open", &["EMFILE", "ESRCH", "ENOSYS"]),
    ("mmap", &["ENOMEM"]),
    ("mprotect", &["ENOMEM"]),
    ("brk", &["ENOMEM"]),
    ("getrandom", &["EINTR", "EAGAIN", "ENOSYS"]),
    ("fcntl", &["EPERM", "EINVAL", "EBUSY"]),
    ("ftruncate", &["EPERM", "EINVAL"]),
    ("ioctl", &["ENOTTY", "EINVAL"]),
    ("splice", &["EAGAIN", "EINTR", "EPIPE", "ENOMEM"]),
    ("landlock_create_ruleset", &["ENOSYS", "EOPNOTSUPP"]),
    ("landlock_add_rule", &["EPERM", "ENOMEM"]),
    ("landlock_restrict_self", &["EPERM", "E2BIG"]),
    ("seccomp", &["ENOSYS", "EINVAL", "EPERM"]),
    ("prctl", &["ENOSYS", "EPERM", "EINVAL"]),
    ("prlimit64", &["EPERM", "EINVAL"]),
    ("shutdown", &["ENOTCONN"]),
    ("close", &["EIO", "EINTR"]),
];

/// Calls whose failure may end a program at once, before its first line or later: without memory,
/// or random numbers for its tables, there is nothing to go on with.
pub(crate) const FATAL: [&str; 4] = ["mmap", "mprotect", "brk", "getrandom"];

/// How often one call is made to fail at most, each time later: a loop makes the same call again
/// and again, for the same reasons.
pub(crate) const POSITIONS_MOST: usize = 60;

/// Calls that read, and so can find that their peer has ended.
const READING: [&str; 6] = ["read", "readv", "recv", "recvfrom", "recvmsg", "splice"];

/// Bytes that a call moves at most which is cut: the fewest, and an odd few.
const LENGTHS: [usize; 2] = [1, 7];

/// One call to which something happens once.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The program that makes it.
    pub(crate) program: &'static str,
    /// The call.
    pub(crate) call: &'static str,
    /// What happens to it.
    pub(crate) ill: Ill,
    /// Which of its calls by that name.
    pub(crate) turn: usize,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ill {
    /// It is not made, and answers this.
    Error(&'static str),
    /// It moves no more bytes than that.
    Short(usize),
    /// Its peer has ended, and so has the file that it reads.
    End,
}

/// All errors of a program that made these calls.
pub(crate) fn errors(program: &'static str, calls: &[String]) -> Vec<Fault> {
    let mut all = Vec::new();
    for (call, errors) in MATRIX {
        let count = calls.iter().filter(|made| made == call).count();
        for turn in 1..=count.min(POSITIONS_MOST) {
            let ills = errors.iter().map(|error| Ill::Error(error));
            all.extend(ills.map(|ill| Fault { program, call, ill, turn }));
        }
    }
    all
}

/// All ways in which calls of a program that made so many do less than they were asked to.
pub(crate) fn cuts(program: &'static str, counts: &[Count]) -> Vec<Fault> {
    let mut all = Vec::new();
    for Count { call, moved, could_end } in counts {
        for turn in 1..=(*moved).min(POSITIONS_MOST) {
            let ills = LENGTHS.map(Ill::Short);
            all.extend(ills.map(|ill| Fault { program, call, ill, turn }));
        }
        let ends = if READING.contains(call) { *could_end } else { 0 };
        let ends = 1..=ends.min(POSITIONS_MOST);
        all.extend(ends.map(|turn| Fault { program, call, ill: Ill::End, turn }));
    }
    all
}
