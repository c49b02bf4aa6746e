//! `cargo xtask always-deny`: no path goes around policy.
//!
//! Builds everything with an evaluator that denies whatever it is asked, and runs the whole-system
//! tests. Each test that expects a connection has to fail then; one that passes has found a way
//! around the evaluator, or expects no connection and is written down in [`LIST`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::Failed;

/// The tests that expect no connection.
const LIST: &str = "tests/no-connection.txt";

/// Where this build lies, beside the ordinary one; the tests build the daemons from their own
/// directory.
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/always-deny");

/// How long the tests of one file may take, in seconds.
const SECONDS: &str = "240";

/// Which tests passed.
type Outcomes = BTreeMap<String, bool>;

/// The files of tests whose programs come out of packages, which are built apart.
const PACKAGED: &str = "systemd";

/// The files that every run of the checks goes through: every way to a connection, in a few minutes.
pub(crate) const QUICK: [&str; 10] = [
    "adopted",
    "canary",
    "few_descriptors",
    "hostile",
    "local",
    "lookup",
    "named",
    "narrowed",
    "remote",
    "rogue",
];

/// Runs the tests of these files, or of all.
pub(crate) fn run(files: &[&str]) -> Result<(), Failed> {
    build()?;
    let mut outcomes = Outcomes::new();
    let is_wanted = |file: &String| files.is_empty() || files.contains(&file.as_str());
    for target in targets()?.into_iter().filter(is_wanted) {
        let new = outcomes_of(&target)?;
        let failed = new.values().filter(|passed| !**passed).count();
        println!("{target}: {failed} of {} tests failed", new.len());
        outcomes.extend(new);
    }
    let mut listed = listed(&fs::read_to_string(LIST)?);
    listed.retain(|test| test.split("::").next().is_some_and(|file| is_wanted(&file.to_owned())));
    let problems = judge(&outcomes, &listed);
    if problems.is_empty() {
        let failed = outcomes.values().filter(|passed| !**passed).count();
        println!("always-deny: {failed} tests expect a connection, and none got one");
        return Ok(());
    }
    Err(Failed(problems.join("\n")))
}

/// What is wrong with what was seen.
fn judge(outcomes: &Outcomes, listed: &BTreeSet<String>) -> Vec<String> {
    let passed = outcomes.iter().filter(|(test, passed)| **passed && !listed.contains(*test));
    let around = passed.map(|(test, _)| {
        format!("{test} passed with everything denied; is it skipped without root, or in {LIST}?")
    });
    let stale = listed.iter().filter(|test| outcomes.get(*test) != Some(&true));
    let stale = stale.map(|test| format!("{test} is in {LIST}, and failed or is no more"));
    around.chain(stale).collect()
}

/// The names in the list: one per line, `#` before a comment.
fn listed(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.split('#').next());
    names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The files of whole-system tests.
fn targets() -> Result<Vec<String>, Failed> {
    let mut targets = Vec::new();
    for entry in fs::read_dir("tests/tests")? {
        let path = entry?.path();
        let is_target =
            path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").exists();
        let name = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_target);
        targets.extend(name.filter(|name| *name != PACKAGED).map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

/// Builds the tests and, by running some of them, what they test: so that the time that is measured
/// later is their own.
fn build() -> Result<(), Failed> {
    let output = denying(&mut Command::new("cargo")).args(TEST).arg("readme").output()?;
    if String::from_utf8_lossy(&output.stdout).contains(RESULT) {
        return Ok(());
    }
    Err(Failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Runs the tests of one file.
fn outcomes_of(target: &str) -> Result<Outcomes, Failed> {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", SECONDS, "cargo"]).args(TEST).arg(target);
    let output = denying(&mut command).args(["--", "--format=pretty"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains(RESULT) {
        return Ok(read(target, &text));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failed(format!("{target} did not come to its end in {SECONDS} s:\n{text}{said}")))
}

const TEST: [&str; 6] = ["test", "--quiet", "--no-fail-fast", "-p", "ipcd-tests", "--test"];

/// What stands below the tests of a file, however they ended.
const RESULT: &str = "\ntest result: ";

/// A command in the build that denies everything. A test that is left out for want of something
/// passes there, and is told of.
fn denying(command: &mut Command) -> &mut Command {
    command.env("CARGO_TARGET_DIR", BUILD).env("IPCD_TESTS_FEATURE", "always-deny");
    command.env_remove("CI")
}

/// Reads `test NAME ... ok` and `test NAME ... FAILED`.
fn read(target: &str, text: &str) -> Outcomes {
    let tests = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let outcome = |(name, end): (&str, &str)| {
        let passed = match end {
            "ok" => true,
            "FAILED" => false,
            _ => return None,
        };
        Some((format!("{target}::{name}"), passed))
    };
    tests.filter_map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_passes_and_one_that_is_listed_wrongly_are_told_of() {
        let text = "test around ... ok\ntest denied ... FAILED\ntest mere ... ok\n\
                    test other ... ignored\ntest result: FAILED. 2 passed\n";
        let outcomes = read("x", text);
        let listed = listed("# why\nx::mere  # expects an error\nx::gone\nx::denied\n");
        let problems = judge(&outcomes, &listed);
        let told = |test: &str| problems.iter().filter(|one| one.starts_with(test)).count();
        assert_eq!((told("x::around"), told("x::gone"), told("x::denied")), (1, 1, 1));
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
