//! The program beside which the proxy runs: its signals and its end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::libc::{SI_KERNEL, signalfd_siginfo};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// What is passed on to the program.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals of this process, blocked in this thread and all that it starts, and read here.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn block() -> io::Result<Self> {
        let mut set = SigSet::from_iter(PASSED_ON);
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for the next one.
    fn next(&self) -> io::Result<signalfd_siginfo> {
        loop {
            match self.0.read_signal() {
                Ok(Some(facts)) => return Ok(facts),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Runs the program to its end. Its exit code, or 128 and the signal's number as shells have it.
pub(super) fn run(command: &mut Command, signals: &Signals) -> io::Result<ExitCode> {
    sys::child::with_no_signal_blocked(command);
    // Without the proxy it could only fail.
    sys::child::ending_with_its_parent(command);
    let mut program = command.spawn()?;
    loop {
        if let Some(status) = program.try_wait()? {
            return Ok(code(status));
        }
        pass_on(&signals.next()?, &program);
    }
}

/// What somebody has sent to this process alone. What the terminal sends has reached the program
/// already.
fn pass_on(facts: &signalfd_siginfo, program: &Child) {
    let signal = i32::try_from(facts.ssi_signo).ok().and_then(|number| number.try_into().ok());
    let Some(signal) = signal.filter(|signal| PASSED_ON.contains(signal)) else { return };
    if let Ok(pid) = i32::try_from(program.id())
        && facts.ssi_code != SI_KERNEL
    {
        // One that has just ended needs none. Not reaped yet, its number is its own.
        let _ended = kill(Pid::from_raw(pid), signal).is_err();
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_program_is_told_as_shells_do() {
        for (raw, expected) in [(0, 0), (7 << 8, 7), (15, 143), (9, 137)] {
            assert_eq!(code(ExitStatus::from_raw(raw)), ExitCode::from(expected));
        }
    }
}
