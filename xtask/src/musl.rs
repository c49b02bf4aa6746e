//! `cargo xtask static`: the programs linked with musl, which need no library of the machine that
//! they run on.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failed, package, run};

pub(crate) mod elf;

/// What is linked without libraries of the machine.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-musl"
};

/// Builds all programs for release, and looks at each.
pub(crate) fn build() -> Result<(), Failed> {
    with_cargo(&["build", "--release"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let directory = PathBuf::from(target).join(TARGET).join("release");
    for program in package::programs() {
        let path = directory.join(program).display().to_string();
        if !elf::is_static(&std::fs::read(&path)?) {
            return Err(Failed(format!("{path} needs libraries of the machine that it runs on")));
        }
        println!("{path}");
    }
    Ok(())
}

/// That all of it compiles, where there is a standard library to compile it with.
pub(crate) fn check() -> Result<(), Failed> {
    if is_installed() {
        return with_cargo(&["check"]);
    }
    println!("not checked: {}", missing().0);
    Ok(())
}

fn with_cargo(words: &[&str]) -> Result<(), Failed> {
    let packages = package::crates();
    let packages = packages.iter().flat_map(|name| ["-p", name]);
    let words: Vec<_> = words.iter().copied().chain(["--target", TARGET]).chain(packages).collect();
    // What cargo says of a library that is not there is a hundred lines long.
    run("cargo", &words).map_err(|failed| if is_installed() { failed } else { missing() })
}

fn missing() -> Failed {
    Failed(format!("there is no standard library for {TARGET}: rustup target add {TARGET}"))
}

/// Whether the compiler has a standard library for the target.
fn is_installed() -> bool {
    let words = ["--print", "target-libdir", "--target", TARGET];
    let asked = Command::new("rustc").args(words).output();
    let place = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    place.is_ok_and(|place| Path::new(&place).is_dir())
}
