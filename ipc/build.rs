//! What `ipc envinfo` tells of how this program was made.

use std::path::Path;
use std::process::Command;

/// Packages whose versions are told.
const TOLD: [&str; 2] = ["clap", "jsonschema"];

fn main() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let compiler = Command::new(variable("RUSTC")).arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let compiler = compiler.unwrap_or_default().split(' ').nth(1).unwrap_or("unknown").to_owned();
    let lock = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let versions = std::fs::read_to_string(&lock).unwrap_or_default();
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-env-changed=GIT_HASH");
    println!("cargo::rustc-env=IPC_RUSTC={compiler}");
    println!("cargo::rustc-env=IPC_TARGET={}", variable("TARGET"));
    for name in TOLD {
        let version = version(&versions, name).unwrap_or("unknown");
        println!("cargo::rustc-env=IPC_{}={version}", name.to_uppercase());
    }
}

/// The version of a package in a lock file.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}
