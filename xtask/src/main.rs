//! The project's own tasks: see [`USAGE`].
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what these tasks print is what they are for")]

use std::fmt;
use std::process::{Command, ExitCode};

mod always_deny;
mod arch;
mod ci;
mod demo;
mod deny;
mod endurance;
mod examples;
mod fuzz;
mod limits;
mod man;
mod miri;
mod musl;
mod package;
mod ring_model;
mod sanitize;
mod size;
mod words;

const USAGE: &str = "usage: cargo xtask TASK
  demo [--without PART]  two hosts, a service reached by name
  ci                     every check
  always-deny [FILE…]    no path goes around policy
  arch                   the arrows between crates
  faults|kills [COUNT]   calls of the kernel that fail or do little, daemons that are killed
  crowd [PART]           every table of the broker full at once, or a part of that
  soak|flood [SECONDS]   all that goes on for long, one user against the others
  fuzz [TARGET] [SECONDS | FILE]  every parser against made-up input
  limits                 docs/limits.md is what the code has
  size                   files that get long
  deny                   licences and known faults of what we depend on
  loom                   every order in which two threads may use a ring
  miri                   codecs and states, under an interpreter (nightly)
  sanitize               unsafe code, with every access to memory looked at (nightly)
  man [--check]          manual pages, from what the programs say of themselves
  deb                    Debian packages
  static                 programs that need no library of the machine
";

/// Why a task failed, for the person who called it.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    // Everything here is meant from the workspace's root.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("xtask: {root}: {error}");
        return ExitCode::FAILURE;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo::run(None),
        ["demo", "--without", part] => demo::run(Some(part)),
        ["always-deny", files @ ..] => always_deny::run(files),
        ["arch"] => arch::run(),
        [task @ ("faults" | "kills" | "crowd" | "soak" | "flood"), words @ ..] => {
            endurance::run(task, words)
        }
        ["fuzz", words @ ..] => fuzz::run(words),
        ["limits"] => limits::run(),
        ["size"] => size::run(),
        ["loom"] => ring_model::check(),
        ["deny"] => deny::check(),
        ["miri"] => miri::check(),
        ["sanitize"] => sanitize::check(),
        ["ci"] => ci::run_all(),
        ["man"] => man::run(man::Task::Write),
        ["man", "--check"] => man::run(man::Task::Check),
        ["static"] => musl::build(),
        ["deb", words @ ..] => package::deb(words),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command, and fails with its words if it does.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), Failed> {
    let status = Command::new(program).args(arguments).status()?;
    if status.success() {
        return Ok(());
    }
    Err(Failed(format!("{program} {} failed: {status}", arguments.join(" "))))
}
