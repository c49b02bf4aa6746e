//! A process that is made to make calls of the kernel which its own code never would.

use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The instruction by which a call is made.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// A thread that stands still in a call, and makes others when told to. When it is dropped, it goes
/// on with its own as if nothing had been.
#[derive(Debug)]
pub struct Puppet {
    thread: Pid,
    own: user_regs_struct,
    page: u64,
}

/// Bytes of the memory that a puppet has for arguments.
const PAGE: u64 = 4096;

impl Puppet {
    /// Takes hold of a thread, in the next call that it makes if it is in none. It needs the right
    /// to trace it.
    #[must_use]
    pub fn of(thread: u32) -> Self {
        let thread = Pid::from_raw(i32::try_from(thread).expect("a thread's number"));
        let mut puppet = Self { thread, own: take_hold(thread), page: 0 };
        puppet.page = puppet.more_memory();
        puppet
    }

    fn more_memory(&self) -> u64 {
        let protection = number(libc::PROT_READ | libc::PROT_WRITE);
        let flags = number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let nowhere = u64::MAX;
        self.call(libc::SYS_mmap, [0, PAGE, protection, flags, nowhere, 0]).expect("memory")
    }

    /// Makes a call, and hears what the kernel answers.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn call(&self, call: c_long, arguments: [u64; 6]) -> Result<u64, Errno> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let rax = u64::try_from(call).expect("a call's number");
        // In no call now: there is none that the kernel would make again.
        let orig_rax = u64::MAX;
        let rip = self.own.rip - 2;
        let told = user_regs_struct { rax, orig_rax, rip, rdi, rsi, rdx, r10, r8, r9, ..self.own };
        ptrace::setregs(self.thread, told).expect("it stands");
        ptrace::step(self.thread, None).expect("it stands");
        assert_eq!(stands(self.thread), Signal::SIGTRAP, "a step");
        let answer = ptrace::getregs(self.thread).expect("it stands").rax.cast_signed();
        match i32::try_from(answer) {
            Ok(error @ -4095..=-1) => Err(Errno::from_raw(-error)),
            _ => Ok(answer.cast_unsigned()),
        }
    }

    /// Memory of its own that it may write to, a page long.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.page
    }

    /// Writes words for a call into that memory; where they are.
    #[must_use]
    pub fn text(&self, words: &str) -> u64 {
        let mut bytes = words.as_bytes().to_vec();
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        assert!(bytes.len() <= address(PAGE), "longer than the memory for it");
        for (place, word) in bytes.chunks_exact(8).enumerate() {
            let word = c_long::from_le_bytes(word.try_into().expect("eight bytes"));
            let to = ptr::with_exposed_provenance_mut(address(self.page) + 8 * place);
            ptrace::write(self.thread, to, word).expect("its memory");
        }
        self.page
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would end all tests without a word about the first.
            let _let_go = ptrace::setregs(self.thread, self.own).is_ok()
                && ptrace::detach(self.thread, None).is_ok();
            return;
        }
        let _given_back = self.call(libc::SYS_munmap, [self.page, PAGE, 0, 0, 0, 0]).is_err();
        // The call that it was in is made again, or has been interrupted.
        ptrace::setregs(self.thread, self.own).expect("it stands");
        ptrace::detach(self.thread, None).expect("it stands");
    }
}

/// Has a thread stand still in a call.
fn take_hold(thread: Pid) -> user_regs_struct {
    ptrace::attach(thread).expect("the right to trace it");
    loop {
        // One that has just begun a program tells of that first.
        while stands(thread) != Signal::SIGSTOP {
            ptrace::cont(thread, None).expect("it stands");
        }
        let own = ptrace::getregs(thread).expect("it stands");
        let before = ptr::with_exposed_provenance_mut(address(own.rip - 2));
        let word = ptrace::read(thread, before).expect("its own code");
        if own.orig_rax != u64::MAX && word.to_le_bytes().starts_with(&SYSCALL) {
            return own;
        }
        // On to where its next call begins, which is stopped as the first one would have been.
        let mut signal = None;
        while signal != Some(Signal::SIGTRAP) {
            ptrace::syscall(thread, signal).expect("it stands");
            signal = Some(stands(thread));
        }
        ptrace::cont(thread, Signal::SIGSTOP).expect("it stands");
    }
}

/// Waits until a thread that is traced stands still; the signal that it does so for.
fn stands(thread: Pid) -> Signal {
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Stopped(_, signal)) => return signal,
            other => unreachable!("thread {thread} does not stand: {other:?}"),
        }
    }
}

fn number(value: libc::c_int) -> u64 {
    value.unsigned_abs().into()
}

fn address(value: u64) -> usize {
    usize::try_from(value).expect("64 bits")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_thread_that_never_waits_is_taken_hold_of_and_goes_on() {
        if !crate::has("root, to trace programs", crate::is_root()) {
            return;
        }
        let endless = ["-c", "while :; do kill -0 $$; done"];
        let mut busy = Command::new("sh").args(endless).spawn().expect("a shell");
        for _ in 0..200 {
            let puppet = Puppet::of(busy.id());
            assert_eq!(puppet.call(libc::SYS_getpid, [0; 6]), Ok(busy.id().into()));
        }
        assert_eq!(busy.try_wait().expect("a child").map(|status| status.code()), None);
        busy.kill().expect("it runs");
        busy.wait().expect("a child");
    }
}
