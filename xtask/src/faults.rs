//! `cargo xtask faults`: calls of the kernel that fail, one at a time, in every daemon.

use std::process::Command;

use crate::Failed;

/// Faults that are met where nobody says how many.
const USUAL: usize = 5_000;

/// `cargo xtask faults [COUNT] [PROGRAM]`: so many faults, evenly spread over all that there are.
pub(crate) fn run(words: &[&str]) -> Result<(), Failed> {
    let (count, program) = match words {
        [] => (USUAL, None),
        [count] => (number(count)?, None),
        [count, program] => (number(count)?, Some(*program)),
        _ => return Err(Failed("faults [COUNT] [ipcd|tcpd|tlsd]".to_owned())),
    };
    let mut test = Command::new("cargo");
    test.args(["test", "-p", "ipcd-tests", "--test", "faults", "--", "--nocapture"]);
    test.env("IPCD_FAULTS", count.to_string()).env("CI", "1");
    if let Some(program) = program {
        test.env("IPCD_FAULTS_IN", program);
    }
    let status = test.status()?;
    if status.success() { Ok(()) } else { Err(Failed("a fault was not survived".to_owned())) }
}

fn number(text: &str) -> Result<usize, Failed> {
    text.parse().map_err(|_| Failed(format!("{text} is no number")))
}
