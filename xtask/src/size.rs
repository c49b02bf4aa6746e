//! `cargo xtask size`: files that are getting long, their tests not counted.

use std::fs;
use std::process::Command;

use crate::Failed;

/// Lines of a file past which it wants a second one.
const LINES_LISTED: usize = 400;

/// Lines of a file past which this fails.
const LINES_MOST: usize = 450;

pub(crate) fn run() -> Result<(), Failed> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).output()?;
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut too_long = Vec::new();
    for file in
        files.lines().filter(|file| !file.starts_with("tests/") && !file.ends_with("tests.rs"))
    {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > LINES_LISTED {
            println!("{lines:5} {file}");
        }
        if lines > LINES_MOST {
            too_long.push(file.to_owned());
        }
    }
    if too_long.is_empty() {
        return Ok(());
    }
    Err(Failed(format!("longer than {LINES_MOST} lines: {}", too_long.join(", "))))
}
