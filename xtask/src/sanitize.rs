//! `cargo xtask sanitize`: the tests of all unsafe code, and of the library around it, built so that
//! every access to memory that was not ours to touch, and memory that nobody gives back, ends them.
//! It is no part of `ci`: it takes a nightly compiler, and builds everything once more.

use std::process::{Command, Stdio};

use crate::{Failed, run};

/// Where the one unsafe crate is, and the crate that uses it most: shared memory, rings, messages.
const TESTED: [&str; 4] = ["--package", "ipcd-sys", "--package", "libipc"];

const FEATURES: &str = "libipc/schema,libipc/cbor,libipc/rendezvous,libipc/tokio";

pub(crate) fn check() -> Result<(), Failed> {
    let mut version = Command::new("cargo");
    version.args(["+nightly", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status()?.success() {
        return Err(Failed(
            "no nightly compiler is installed: rustup toolchain install nightly".to_owned(),
        ));
    }
    let settings = [
        "RUSTFLAGS=-Zsanitizer=address",
        "ASAN_OPTIONS=detect_leaks=1",
        "CARGO_TARGET_DIR=target/sanitize",
    ];
    // Named, so that what only runs while something is built is built as always.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let test = ["cargo", "+nightly", "test", "--target", &target, "--lib", "--features", FEATURES];
    run("env", &[&settings[..], &test, &TESTED].concat())
}
