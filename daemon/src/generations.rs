//! A daemon through which connections go, and which is to be replaced without cutting them: each
//! generation is a process of its own, the newest serves, those before it finish.
//!
//! The first process has neither keys nor configuration, and hears nobody but signals: it starts
//! the others, and holds the sockets that the service manager opened. `SIGHUP` starts a generation,
//! with the program and the files of that moment; once it answers, the one before is told to
//! finish. One that cannot be started changes nothing.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::exit::Failure;
use crate::log::Log;
use crate::notify::Notifier;

/// What a generation writes to its standard output when it could serve. It does so as soon as it
/// hears `SIGUSR1`; when it hears that again, it leaves its place to the next.
pub const READY: &[u8] = b"ready\n";

/// What it writes when it has left.
pub const LEFT: &[u8] = b"left.\n";

/// What it writes as long as it serves and its loop turns, if the service manager wants to know.
pub const BEAT: &[u8] = b"beat.\n";

/// The option that tells a process which generation it is.
pub const OPTION: &str = "--generation";

/// How long after a crash the next one is started.
const REST: Duration = Duration::from_millis(100);

/// How long after one that could not be started, where others still finish.
const RETRY: Duration = Duration::from_secs(1);

/// How long a generation may take until it could serve: it reads its configuration, and all
/// certificates that this names.
const START_MOST: Duration = Duration::from_secs(60);

/// How long one may take to leave its place: its loop has to turn once.
const LEAVE_MOST: Duration = Duration::from_secs(10);

/// Where one generation is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Starting,
    /// The one before has not left yet.
    Ready,
    Serving,
    Leaving,
    Finishing,
}

#[derive(Debug)]
struct Generation {
    number: u64,
    stage: Stage,
    /// When it hangs, if it is in that stage still.
    until: Option<Instant>,
    process: Child,
}

impl Generation {
    fn enter(&mut self, stage: Stage, until: Option<Instant>) {
        (self.stage, self.until) = (stage, until);
    }

    /// Where it says how far it is.
    fn output(&self) -> Option<&ChildStdout> {
        self.process.stdout.as_ref()
    }
}

/// All generations that live.
#[derive(Debug)]
struct Generations {
    program: PathBuf,
    arguments: Vec<OsString>,
    all: Vec<Generation>,
    last: u64,
    /// Where it is told that this process turns, and the one that serves.
    notifier: Notifier,
    /// When one is to be started.
    due: Option<Instant>,
    is_stopping: bool,
}

/// Runs the program at `program` with `arguments` as generations, until told to stop; the exit code
/// of the first one, if that does not get as far as to answer. The `log` is written from now on.
///
/// # Errors
///
/// [`Failure::System`]: signals cannot be read.
pub fn run(program: PathBuf, arguments: Vec<OsString>, log: Log) -> Result<ExitCode, Failure> {
    let failed = |error: nix::Error| Failure::system("signals", &error);
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        set.add(signal);
    }
    set.thread_block().map_err(failed)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&set, flags).map_err(failed)?;
    // Its thread is to leave signals to this one.
    log.write().map_err(|error| Failure::system("the log", &error))?;
    let due = Some(Instant::now());
    let notifier = Notifier::of_process(Instant::now());
    let mut all = Generations {
        program,
        arguments,
        all: Vec::new(),
        last: 0,
        notifier,
        due,
        is_stopping: false,
    };
    loop {
        all.start_if_due(Instant::now());
        all.wait(signals.as_fd());
        while let Ok(Some(signal)) = signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGHUP) if !all.is_stopping => all.due = Some(Instant::now()),
                Ok(Signal::SIGTERM | Signal::SIGINT) => all.stop(),
                _ => {}
            }
        }
        all.end_what_hangs(Instant::now());
        if let Some(code) = all.reap(Instant::now()) {
            return Ok(code);
        }
        if !all.is_vouched_for() {
            all.notifier.beat(Instant::now());
        }
    }
}

impl Generations {
    fn start_if_due(&mut self, now: Instant) {
        // One at a time: what changes while it starts is for the next.
        let is_busy =
            self.all.iter().any(|one| !matches!(one.stage, Stage::Serving | Stage::Finishing));
        if is_busy || self.is_stopping || self.due.is_none_or(|when| now < when) {
            return;
        }
        self.due = None;
        self.last += 1;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(OPTION).arg(self.last.to_string());
        // It is another process than the one that the service manager watches.
        command.env_remove("WATCHDOG_PID").stdin(Stdio::null()).stdout(Stdio::piped());
        sys::child::with_no_signal_blocked(&mut command);
        sys::child::ending_with_its_parent(&mut command);
        match command.spawn() {
            Ok(process) => {
                tracing::info!(event = "generation", number = self.last, pid = process.id());
                let (number, stage, until) = (self.last, Stage::Starting, Some(now + START_MOST));
                self.all.push(Generation { number, stage, until, process });
            }
            Err(error) => {
                tracing::info!(event = "generation-over", number = self.last, %error);
                self.due = Some(now + REST);
            }
        }
    }

    /// Whether one serves, which is to show that it does.
    fn is_vouched_for(&self) -> bool {
        self.all.iter().any(|one| one.stage == Stage::Serving)
    }

    /// Waits for a signal, for a generation that answers, or until one is due.
    fn wait(&mut self, signals: BorrowedFd<'_>) {
        let now = Instant::now();
        let beat = self.notifier.next_beat().filter(|_| !self.is_vouched_for());
        let hanging = self.all.iter().filter_map(|one| one.until);
        let left = self.due.into_iter().chain(beat).chain(hanging).min();
        let left = left.map(|when| when.saturating_duration_since(now));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            // A little late rather than a little early, and then at once again.
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = vec![PollFd::new(signals, PollFlags::POLLIN)];
        let outputs = self.all.iter().filter_map(|one| Some((one.number, one.output()?)));
        let (numbers, outputs): (Vec<_>, Vec<_>) = outputs.unzip();
        sources.extend(outputs.iter().map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN)));
        // Interrupted is early, and early is harmless.
        let _interrupted = poll(&mut sources, timeout).is_err();
        let ready = sources.iter().skip(1).map(|one| one.any().unwrap_or(false));
        let heard: Vec<_> =
            numbers.into_iter().zip(ready).filter(|(_, is_ready)| *is_ready).collect();
        for (number, _) in heard {
            self.hear(number);
        }
    }

    /// A generation says how far it is, or has closed its output and ends.
    fn hear(&mut self, number: u64) {
        let Some(one) = self.all.iter_mut().find(|one| one.number == number) else { return };
        let mut said = [0; READY.len()];
        let output = one.process.stdout.as_mut();
        if output.is_none_or(|output| output.read_exact(&mut said).is_err()) {
            one.process.stdout = None;
        } else if said == READY {
            one.enter(Stage::Ready, None);
        } else if said == LEFT {
            one.enter(Stage::Finishing, None);
        } else if said == BEAT {
            self.notifier.beat_now(Instant::now());
        }
        self.hand_over();
    }

    /// Has the one that serves leave for one that is ready; and that one serve, once nobody does.
    fn hand_over(&mut self) {
        if !self.all.iter().any(|one| one.stage == Stage::Ready) || self.is_stopping {
            return;
        }
        let has_place =
            |one: &&mut Generation| matches!(one.stage, Stage::Serving | Stage::Leaving);
        let place = match self.all.iter_mut().find(has_place) {
            Some(one) if one.stage == Stage::Leaving => return,
            Some(one) => {
                one.enter(Stage::Leaving, Some(Instant::now() + LEAVE_MOST));
                one
            }
            None => match self.all.iter_mut().find(|one| one.stage == Stage::Ready) {
                Some(one) => {
                    one.enter(Stage::Serving, None);
                    one
                }
                None => return,
            },
        };
        tell(&place.process, Signal::SIGUSR1);
    }

    /// Kills what hangs: nobody else would, for as long as one leaves this process shows alone that
    /// the daemon lives, and what came after it would never serve.
    fn end_what_hangs(&mut self, now: Instant) {
        for one in self.all.iter_mut().filter(|one| one.until.is_some_and(|until| until <= now)) {
            one.until = None;
            tracing::warn!(event = "generation-hangs", number = one.number);
            tell(&one.process, Signal::SIGKILL);
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.due = None;
        for one in &self.all {
            tell(&one.process, Signal::SIGTERM);
        }
    }

    /// Takes note of those that have ended. The exit code, if none is left and none is to come.
    fn reap(&mut self, now: Instant) -> Option<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        let mut has_crashed = false;
        let has_older = self.is_vouched_for();
        self.all.retain_mut(|one| {
            let Ok(Some(status)) = one.process.try_wait() else { return true };
            tracing::info!(event = "generation-over", number = one.number, %status);
            if one.stage == Stage::Starting && has_older {
                tracing::error!(
                    event = "not-reloaded",
                    why = "the new one could not be started, and has said why",
                    "the one of before goes on"
                );
            }
            has_crashed |= matches!(one.stage, Stage::Serving | Stage::Ready);
            let number = status.code().and_then(|code| u8::try_from(code).ok());
            code = ExitCode::from(number.unwrap_or(SOFTWARE));
            false
        });
        // The one that was to leave may have crashed.
        self.hand_over();
        if self.is_stopping {
            return self.all.is_empty().then_some(ExitCode::SUCCESS);
        }
        if has_crashed {
            self.due = Some(now + REST);
        }
        let serves = |one: &Generation| one.stage != Stage::Finishing;
        if !self.all.is_empty() && !self.all.iter().any(serves) && self.due.is_none() {
            // Those that finish are not to be cut: it is tried again from here.
            self.due = Some(now + RETRY);
        }
        // The first one, that has never answered: its code says whether trying again can help.
        (self.all.is_empty() && self.due.is_none()).then_some(code)
    }
}

/// Of a process that was killed.
const SOFTWARE: u8 = 70;

fn tell(process: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(process.id()) {
        // One that has just ended needs no telling. Not reaped yet, its number is its own.
        let _ended = kill(Pid::from_raw(pid), signal).is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// Generations of a program that could serve, and does nothing, whatever it is told.
    fn of_idlers() -> Generations {
        let words = ["-c", "trap '' USR1; echo ready; exec sleep 600"].map(Into::into);
        Generations {
            program: "sh".into(),
            arguments: words.into(),
            all: Vec::new(),
            last: 0,
            notifier: Notifier::default(),
            due: Some(Instant::now()),
            is_stopping: false,
        }
    }

    /// Whether it has not been killed by then, or what killed it.
    fn killed(one: &mut Generation) -> Option<i32> {
        one.until.is_none().then(|| one.process.wait().unwrap().signal()).flatten()
    }

    #[test]
    fn a_generation_that_is_not_ready_in_a_minute_is_killed() {
        let (mut all, now) = (of_idlers(), Instant::now());
        all.start_if_due(now);
        all.end_what_hangs(now + START_MOST.mul_f32(0.999));
        assert!(all.all[0].until.is_some());
        all.end_what_hangs(now + START_MOST);
        assert_eq!(killed(&mut all.all[0]), Some(9));
        assert_eq!(all.reap(now), Some(ExitCode::from(SOFTWARE)));
    }

    #[test]
    fn a_generation_that_does_not_leave_in_ten_seconds_is_killed_and_the_next_serves() {
        let (mut all, now) = (of_idlers(), Instant::now());
        all.start_if_due(now);
        all.hear(1);
        assert_eq!(all.all[0].stage, Stage::Serving);
        all.due = Some(now);
        all.start_if_due(now);
        all.hear(2);
        assert_eq!([all.all[0].stage, all.all[1].stage], [Stage::Leaving, Stage::Ready]);
        // That takes until, from a little later than `now`.
        all.end_what_hangs(now + LEAVE_MOST.mul_f32(0.9));
        assert!(all.all[0].until.is_some());
        all.end_what_hangs(now + LEAVE_MOST + Duration::from_secs(1));
        assert_eq!(killed(&mut all.all[0]), Some(9));
        assert_eq!(all.reap(now), None);
        assert_eq!(all.all[0].stage, Stage::Serving);
        let mut last = all.all.remove(0);
        last.process.kill().unwrap();
        last.process.wait().unwrap();
    }
}
