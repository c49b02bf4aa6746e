//! Which calls of the kernel can be made, by seccomp(2).
//!
//! Three filters, of which the strictest answer counts: sockets of other families answer
//! `EAFNOSUPPORT`, calls whose arguments cannot be seen by a filter `ENOSYS`, so that libraries
//! take the older one, and every call that is not in the list `EPERM`.

use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::sandbox::{Sandbox, Sockets};

/// A condition of one argument: its place, how it is compared, and with what.
type Condition = (u8, SeccompCmpOp, u64);

/// A call, and when it is meant: if all conditions of one of these hold, or always.
type Call = (libc::c_long, Vec<Vec<Condition>>);

/// Restricts all threads of this process. False if the kernel knows nothing of it, or a sandbox
/// around this process forbids it.
pub(super) fn restrict(sandbox: &Sandbox<'_>) -> io::Result<bool> {
    let filters = [
        (families(sandbox.sockets), SeccompAction::Allow, errno(libc::EAFNOSUPPORT)),
        (opaque(), SeccompAction::Allow, errno(libc::ENOSYS)),
        (needed(sandbox), errno(libc::EPERM), SeccompAction::Allow),
    ];
    for (calls, otherwise, matched) in filters {
        let program = compiled(calls, otherwise, matched).map_err(io::Error::other)?;
        match apply_filter_all_threads(&program) {
            Ok(()) => {}
            Err(Error::Seccomp(error)) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(true)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM)
    )
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn compiled(
    calls: Vec<Call>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules = calls.into_iter().map(|(number, cases)| {
        let cases: Result<Vec<_>, _> = cases.into_iter().map(rule).collect();
        Ok((number, cases?))
    });
    let rules = rules.collect::<Result<_, seccompiler::BackendError>>()?;
    SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
}

fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.into_iter().map(|(place, comparison, value)| {
        SeccompCondition::new(place, SeccompCmpArgLen::Dword, comparison, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

fn number(value: libc::c_int) -> u64 {
    value.unsigned_abs().into()
}

/// Sockets of families that the daemon has no business with.
fn families(sockets: Sockets) -> Vec<Call> {
    let own: &[_] = match sockets {
        Sockets::Unix => &[libc::AF_UNIX],
        Sockets::Internet => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6],
    };
    let foreign: Vec<_> = own.iter().map(|family| (0, SeccompCmpOp::Ne, number(*family))).collect();
    vec![
        (libc::SYS_socket, vec![foreign]),
        (libc::SYS_socketpair, vec![vec![(0, SeccompCmpOp::Ne, number(libc::AF_UNIX))]]),
    ]
}

/// Calls with what matters in memory. Threads are made by `clone` then.
fn opaque() -> Vec<Call> {
    [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new())).into()
}

/// What is left.
fn needed(sandbox: &Sandbox<'_>) -> Vec<Call> {
    let mut calls: Vec<Call> = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    calls.extend(OLDER.iter().map(|call| (*call, Vec::new())));
    // Answered by the other filter.
    calls.extend(opaque());
    let never_both = |place| {
        let both = number(libc::PROT_WRITE | libc::PROT_EXEC);
        let one = |bits: libc::c_int| vec![(place, SeccompCmpOp::MaskedEq(both), number(bits))];
        vec![one(0), one(libc::PROT_WRITE), one(libc::PROT_EXEC)]
    };
    let executable = number(libc::PROT_EXEC);
    calls.push((libc::SYS_mmap, never_both(2)));
    calls.push((libc::SYS_mprotect, vec![vec![(2, SeccompCmpOp::MaskedEq(executable), 0)]]));
    calls.push((libc::SYS_clone, vec![vec![(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)]]));
    let named = [libc::PR_SET_NAME, libc::PR_SET_VMA, libc::PR_SET_DUMPABLE]
        .map(|what| vec![(0, SeccompCmpOp::Eq, number(what))]);
    calls.push((libc::SYS_prctl, named.into()));
    let asked = [libc::TCGETS, libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TIOCOUTQ];
    calls.push((libc::SYS_ioctl, asked.map(|what| vec![(1, SeccompCmpOp::Eq, what as _)]).into()));
    if sandbox.has_children {
        calls.push((libc::SYS_kill, Vec::new()));
    }
    calls
}

/// What makes `clone` make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

/// Calls that every daemon makes, with whatever arguments.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_listen,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mkdirat,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_tee,
    libc::SYS_tgkill,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Calls that architectures younger than x86-64 do not have any more.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_name_nothing_twice() {
        let unix = Sandbox { sockets: Sockets::Unix, reads: &[], binds: &[], has_children: true };
        let mut numbers: Vec<_> = needed(&unix).into_iter().map(|(call, _)| call).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }

    #[test]
    fn namespaces_are_all_that_clone_can_make() {
        let all = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ];
        assert_eq!(all.into_iter().fold(0, |sum, flag| sum | number(flag)), NAMESPACES);
    }
}
