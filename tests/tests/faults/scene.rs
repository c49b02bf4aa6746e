//! What a daemon that meets a fault has to go through, and what it owes.

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cut::Count;
use crate::matrix::{FATAL, Fault, Ill};
use crate::stage::Stage;

/// How long a daemon may take to start, to answer again, and to end.
///
/// A little more than what a daemon gives the broker to decide about a peer.
const RECOVERY: Duration = Duration::from_secs(13);

/// Where the tracer writes down which calls it had fail.
const INJECTED: &str = "injected";

/// What a fault has led to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Outcome {
    /// The daemon went on, and was well afterwards.
    WentOn,
    /// It did not start, and said why.
    NotStarted,
    /// It ended, and said why.
    Ended,
    /// It was well, and did not come to the call.
    NotMet,
}

/// How a scene is played.
#[derive(Clone, Copy, Default)]
struct Scene<'a> {
    program: &'static str,
    /// The words before the program's.
    before: &'a [String],
    /// How many descriptors it has at most when all is over.
    descriptors: Option<usize>,
    /// Nothing that happens to it is an error: nobody may notice.
    is_harmless: bool,
}

impl Stage {
    /// The calls that `program` makes where nothing fails.
    pub(crate) fn calls(&self, program: &'static str) -> Vec<String> {
        let trace = self.place.path().join("trace");
        let tracer = ["strace", "-D", "-f", "-qq", "-o", &trace.display().to_string()];
        let before = tracer.map(str::to_owned);
        let (outcome, _) =
            self.play(&Scene { program, before: &before, ..Scene::default() }).unwrap();
        assert_eq!(outcome, Outcome::WentOn);
        let text = fs::read_to_string(trace).unwrap();
        let name = |line: &str| {
            let (_, rest) = line.split_once(' ')?;
            let call = rest.trim_start().split_once('(')?.0;
            (!call.contains(' ')).then(|| call.to_owned())
        };
        text.lines().filter_map(name).collect()
    }

    /// What `program` moves with its calls where nothing fails.
    pub(crate) fn counts(&self, program: &'static str) -> Vec<Count> {
        let before = self.cutter.words(None);
        let scene = Scene { program, before: &before, is_harmless: true, ..Scene::default() };
        let (outcome, _) = self.play(&scene).unwrap();
        assert_eq!(outcome, Outcome::WentOn);
        self.cutter.counts()
    }

    /// How many descriptors `program` has when all is over, where nothing fails.
    pub(crate) fn descriptors(&self, program: &'static str) -> usize {
        let scene = Scene { program, is_harmless: true, ..Scene::default() };
        self.play(&scene).unwrap().1
    }

    /// Has something happen to a call; what is wrong with what follows.
    pub(crate) fn meet(&self, fault: &Fault, descriptors: usize) -> Result<Outcome, String> {
        let Fault { program, call, ill, .. } = *fault;
        let before = match ill {
            Ill::Error(error) => self.tracer(fault, error),
            Ill::Short(_) | Ill::End => self.cutter.words(Some(fault)),
        };
        // What was to be closed and was not is open, and a peer that was not told of the end waits
        // for it: that is the fault itself.
        let descriptors = (!["close", "shutdown"].contains(&call)).then_some(descriptors);
        let is_harmless = matches!(ill, Ill::Short(_));
        let met = self.play(&Scene { program, before: &before, descriptors, is_harmless });
        let said = self.said(program);
        // Even the language's own beginning needs memory.
        if said.contains("panicked") && !FATAL.contains(&call) {
            return Err(format!("it panics: {said}"));
        }
        match met {
            Ok((Outcome::NotStarted | Outcome::Ended, _)) if is_harmless => {
                Err(format!("{}: {said}", Wrong::Noticed))
            }
            Ok((Outcome::WentOn, _)) if !matches!(ill, Ill::Error(_)) && !self.cutter.has_met() => {
                Ok(Outcome::NotMet)
            }
            Ok((outcome, _)) => Ok(outcome),
            Err(Wrong::Killed(Signal::SIGABRT | Signal::SIGSEGV) | Wrong::Code(Some(101)))
                if FATAL.contains(&call) =>
            {
                Ok(Outcome::Ended)
            }
            Err(why) => Err(format!("{why}: {said}")),
        }
    }

    /// From the start of the daemon to its end.
    fn play(&self, scene: &Scene<'_>) -> Result<(Outcome, usize), Wrong> {
        let program = scene.program;
        let mut daemon = Ending(self.start(program, scene.before));
        let start = Instant::now();
        while !self.answers(program) {
            if let Some(status) = daemon.status() {
                return self.ended(program, status).map(|()| (Outcome::NotStarted, 0));
            }
            self.release(program, &daemon);
            Wrong::Stuck("start").after(start)?;
        }
        let again = |daemon: &mut Ending| -> Result<Option<Outcome>, Wrong> {
            let status = daemon.status();
            status.map(|status| self.ended(program, status).map(|()| Outcome::Ended)).transpose()
        };
        if !self.round()? && scene.is_harmless {
            return Err(Wrong::Noticed);
        }
        if let Some(outcome) = again(&mut daemon)? {
            return Ok((outcome, 0));
        }
        self.release(program, &daemon);
        if program != "pongd" {
            daemon.signal(Signal::SIGHUP);
        }
        let start = Instant::now();
        while !self.round()? {
            if scene.is_harmless {
                return Err(Wrong::Noticed);
            }
            if let Some(outcome) = again(&mut daemon)? {
                return Ok((outcome, 0));
            }
            self.release(program, &daemon);
            Wrong::Stuck("answering again").after(start)?;
        }
        let start = Instant::now();
        let mut open = daemon.descriptors();
        while scene.descriptors.is_some_and(|most| open > most) {
            Wrong::Leaks(daemon.listed()).after(start)?;
            open = daemon.descriptors();
        }
        self.end(scene, &mut daemon).map(|()| (Outcome::WentOn, open))
    }

    /// Ends a daemon, as a service manager does.
    fn end(&self, scene: &Scene<'_>, daemon: &mut Ending) -> Result<(), Wrong> {
        daemon.signal(Signal::SIGTERM);
        let start = Instant::now();
        loop {
            match daemon.status() {
                // It has nothing to finish, and says nothing of signals.
                Some(status) if status.signal() == Some(15) && scene.program == "pongd" => {
                    return Ok(());
                }
                Some(status) => return self.ended(scene.program, status),
                None => Wrong::Stuck("end").after(start)?,
            }
            if scene.descriptors.is_none() {
                // Who is connected to what could not be closed is not waited for.
                daemon.signal(Signal::SIGTERM);
            }
        }
    }

    /// The words that have a call fail.
    fn tracer(&self, fault: &Fault, error: &str) -> Vec<String> {
        let Fault { program, call, turn, .. } = fault;
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:error={error}:when={turn}");
        let output = self.file(INJECTED);
        fs::write(&output, "").unwrap();
        let mut words = vec!["strace", "-D", "-f", "-qq", "-o", &output];
        // What is traced by a filter fails for ever once nobody traces it.
        let how: &[_] = if is_released(program) { &["-I", "2"] } else { &["--seccomp-bpf"] };
        words.extend(how);
        words.extend(["-e", &trace, "-e", &inject]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// Ends the tracer once the fault has been met.
    fn release(&self, program: &str, daemon: &Ending) {
        let is_met = || {
            fs::read_to_string(self.file(INJECTED)).is_ok_and(|text| text.contains("(INJECTED)"))
        };
        if is_released(program) && is_met() {
            daemon.end_tracer();
        }
    }

    /// A daemon that ends says why, by its code and in words.
    fn ended(&self, program: &str, status: ExitStatus) -> Result<(), Wrong> {
        if let Some(signal) = status.signal() {
            return Err(Wrong::Killed(Signal::try_from(signal).unwrap()));
        }
        let says_why = !self.said(program).is_empty();
        match status.code() {
            Some(0) => Ok(()),
            // 127: the loader has no memory or no libraries.
            Some(64 | 71 | 78 | 127) if says_why => Ok(()),
            code => Err(Wrong::Code(code)),
        }
    }
}

/// Whether a program has a thread for each client: the tracer counts the calls of each thread, and
/// would have those of every client fail.
fn is_released(program: &str) -> bool {
    ["authd", "pongd"].contains(&program)
}

/// What a fault must not lead to.
#[derive(Debug)]
pub(crate) enum Wrong {
    Stuck(&'static str),
    Allowed(&'static str),
    Bytes(usize),
    Noticed,
    Killed(Signal),
    Code(Option<i32>),
    Leaks(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(what) => write!(f, "it takes too long: {what}"),
            Self::Allowed(name) => write!(f, "it allows what is denied: {name}"),
            Self::Bytes(place) => write!(f, "what comes back differs from byte {place} on"),
            Self::Noticed => f.write_str("a request fails, though nothing has"),
            Self::Killed(signal) => write!(f, "it crashes: {signal}"),
            Self::Code(code) => write!(f, "it ends with {code:?}, or says nothing"),
            Self::Leaks(all) => write!(f, "something is left open of {all}"),
        }
    }
}
impl Wrong {
    /// This, if it has taken too long.
    fn after(self, start: Instant) -> Result<(), Self> {
        if start.elapsed() > RECOVERY {
            return Err(self);
        }
        std::thread::park_timeout(Duration::from_millis(2));
        Ok(())
    }
}

/// A daemon that ends with its scene.
struct Ending(Child);

impl Ending {
    fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    fn signal(&self, signal: Signal) {
        // It may have ended just now.
        let _gone = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).is_err();
    }

    fn end_tracer(&self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        match tracer.and_then(|number| number.trim().parse().ok()) {
            None | Some(0) => {}
            // It may have ended just now.
            Some(pid) => drop(kill(Pid::from_raw(pid), Signal::SIGTERM)),
        }
    }

    fn listed(&self) -> String {
        let all = fs::read_dir(format!("/proc/{}/fd", self.0.id())).into_iter().flatten();
        let all = all.flatten().filter_map(|one| fs::read_link(one.path()).ok());
        all.map(|one| one.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Its descriptors but for pipes, of which a few are kept for the next relay, and for what
    /// stands in for a call that the kernel does not have.
    fn descriptors(&self) -> usize {
        let is_kept = |one: &&str| one.starts_with("pipe:") || *one == "/dev/urandom";
        self.listed().split(' ').filter(|one| !is_kept(one)).count()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_err();
        let _status = self.0.wait().is_ok();
    }
}
