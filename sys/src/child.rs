//! What a child process starts with.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use crate::credentials::check;

/// Has `command` start with no signal blocked. A child inherits what its parent blocks, and a
/// program that finds SIGTERM blocked cannot be asked to end.
pub fn with_no_signal_blocked(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec the closure makes two calls that are async-signal-safe, and
    // touches nothing but its own stack.
    unsafe { command.pre_exec(block_nothing) }
}

/// Has the program that `command` starts receive SIGTERM when the thread that starts it ends,
/// however that ends. A program with raised rights is out of its reach.
pub fn ending_with_its_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: between fork and exec the closure makes two calls that are async-signal-safe, and
    // touches nothing but its own stack.
    unsafe { command.pre_exec(move || end_with(parent)) }
}

fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers alone.
    let answer = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    check(answer)?;
    // A parent that ended before the call sends nothing any more.
    if std::os::unix::process::parent_id() == parent {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::ESRCH))
}

fn block_nothing() -> io::Result<()> {
    let mut nothing = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to memory of that size; the call fills it.
    unsafe { libc::sigemptyset(nothing.as_mut_ptr()) };
    // SAFETY: the set was filled above; the old mask is not asked for.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, nothing.as_ptr(), ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signals that a child finds blocked, as a mask, where this thread blocks SIGTERM.
    fn blocked(prepare: fn(&mut Command) -> &mut Command) -> u64 {
        let thread = std::thread::spawn(move || {
            let mut set = MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: as in `block_nothing`.
            unsafe { libc::sigemptyset(set.as_mut_ptr()) };
            // SAFETY: the set was filled above.
            unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM) };
            // SAFETY: as above; this thread ends with its mask.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
            let mut command = Command::new("grep");
            prepare(command.args(["SigBlk", "/proc/self/status"])).output().unwrap()
        });
        let said = String::from_utf8(thread.join().unwrap().stdout).unwrap();
        u64::from_str_radix(said.trim_start_matches("SigBlk:").trim(), 16).unwrap()
    }

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let thread = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            ending_with_its_parent(command.arg("60")).spawn().unwrap()
        });
        let mut child = thread.join().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM));
    }

    #[test]
    fn a_child_has_no_signal_blocked_though_its_parent_has() {
        assert_eq!(blocked(with_no_signal_blocked), 0);
        // What std does by itself, and why this exists.
        assert_ne!(blocked(|command| command), 0);
    }
}
