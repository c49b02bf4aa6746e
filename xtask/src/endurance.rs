//! `cargo xtask faults`, `kills`, `crowd`, `soak` and `flood`: what the tests do a little of, at length.

use std::process::Command;

use crate::Failed;

/// A test that does as much as it is told to.
struct Endurance {
    task: &'static str,
    /// The programs of tests that it is in.
    tests: &'static [&'static str],
    /// Which of its functions; all, if that is empty.
    only: &'static str,
    variable: &'static str,
    /// How much, where nobody says.
    usual: usize,
}

const ALL: [Endurance; 5] = [
    Endurance {
        task: "faults",
        tests: &["faults"],
        only: "",
        variable: "IPCD_FAULTS",
        // By each of two tests: of about 11,000 calls that fail, and of about 1,080 that do little,
        // which are all.
        usual: 5_000,
    },
    Endurance { task: "crowd", tests: &["crowd"], only: "", variable: "IPCD_PART", usual: 1 },
    Endurance {
        task: "kills",
        tests: &["kills", "logins"],
        only: "killed_at_any_moment",
        variable: "IPCD_KILLS",
        usual: 1_000,
    },
    Endurance {
        task: "soak",
        tests: &["endurance"],
        only: "what_goes_on",
        variable: "IPCD_SECONDS",
        usual: 600,
    },
    Endurance {
        task: "flood",
        tests: &["endurance"],
        only: "a_user_who_floods",
        variable: "IPCD_SECONDS",
        usual: 60,
    },
];

/// `cargo xtask faults|kills [COUNT]`, `cargo xtask crowd [PART]`, `cargo xtask soak|flood [SECONDS]`.
pub(crate) fn run(task: &str, words: &[&str]) -> Result<(), Failed> {
    let Some(found) = ALL.iter().find(|one| one.task == task) else {
        return Err(Failed(format!("there is no task {task}")));
    };
    let count = match words {
        [] => found.usual,
        [count] => count.parse().map_err(|_| Failed(format!("{count} is no number")))?,
        _ => return Err(Failed(format!("{task} [COUNT]"))),
    };
    let mut test = Command::new("cargo");
    test.args(["test", "-p", "ipcd-tests"]);
    test.args(found.tests.iter().flat_map(|name| ["--test", *name]));
    test.args(["--", "--nocapture", found.only]);
    // What cannot run is a failure.
    let status = test.env(found.variable, count.to_string()).env("CI", "1").status()?;
    if status.success() { Ok(()) } else { Err(Failed(format!("{task}: not survived"))) }
}
