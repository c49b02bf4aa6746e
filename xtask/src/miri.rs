//! `cargo xtask miri`: the parts of the library that call no kernel, under an interpreter that sees
//! every access to memory that the language does not allow. It is no part of `ci`: its component
//! comes with some of the nightly compilers only.

use std::process::{Command, Stdio};

use crate::{Failed, run};

/// Tests that need neither a file, a socket nor another process: codecs, the state of sessions, the
/// ring's records, and the meeting of two processes.
const PURE: [&str; 16] = [
    "decoder::",
    "frame::",
    "length_frame::",
    "channel::",
    "name::",
    "network::",
    "varlink::",
    "secret::",
    "typed::",
    "ring::record::",
    "session::control::",
    "session::conversation::",
    "session::hello::",
    "session::inbox::",
    "session::requests::",
    "rendezvous::exchange::",
];

/// Inputs of a property; an interpreter is a thousand times slower.
const CASES: &str = "PROPTEST_CASES=4";

/// What the interpreter is told: the seeds of properties come from outside.
const FLAGS: &str = "MIRIFLAGS=-Zmiri-disable-isolation";

pub(crate) fn check() -> Result<(), Failed> {
    let mut version = Command::new("cargo");
    version.args(["+nightly", "miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status()?.success() {
        return Err(Failed(
            "miri is not installed: rustup toolchain install nightly --component miri,rust-src"
                .to_owned(),
        ));
    }
    let program = [CASES, FLAGS, "CARGO_TARGET_DIR=target/miri", "cargo", "+nightly", "miri"];
    let tests = ["test", "--package", "libipc", "--features", "cbor,rendezvous", "--lib", "--"];
    run("env", &[&program[..], &tests, &PURE].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_is_looked_at_has_tests() {
        for part in PURE {
            let place = part.trim_end_matches("::").replace("::", "/");
            let file =
                |end: &str| format!("{}/../libipc/src/{place}{end}", env!("CARGO_MANIFEST_DIR"));
            let is_tested = [file(".rs"), file("/tests.rs")].iter().any(|file| {
                std::fs::read_to_string(file).is_ok_and(|text| text.contains("#[test]"))
            });
            assert!(is_tested, "{part}");
        }
    }
}
