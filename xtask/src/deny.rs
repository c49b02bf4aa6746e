//! `cargo xtask deny`: licences, banned crates and sources of what we depend on, and what is known to
//! be unsafe of it. The tool is built where there is none, which takes some minutes: last in `ci`.

use std::process::{Command, Stdio};

use crate::{Failed, run};

/// Where the tool is put, and looked for beside PATH.
const TOOLS: &str = "target/tools";

/// The database of what is known to be unsafe.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

pub(crate) fn check() -> Result<(), Failed> {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("PATH={path}:{}/{TOOLS}/bin", std::env::current_dir()?.display());
    if !is_well("env", &[&path, "cargo-deny", "--version"])? {
        let install = ["install", "--quiet", "--locked", "cargo-deny", "--root", TOOLS];
        run("cargo", &install)?;
    }
    let check = [path.as_str(), "cargo", "deny", "--log-level", "error", "check"];
    run("env", &[&check[..], &["licenses", "bans", "sources"]].concat())?;
    if is_well("timeout", &["30", "git", "ls-remote", "--quiet", ADVISORIES, "HEAD"])? {
        return run("env", &[&check[..], &["advisories"]].concat());
    }
    println!("advisories: not checked, their database cannot be reached");
    Ok(())
}

/// Whether a program is there, and succeeds.
fn is_well(program: &str, arguments: &[&str]) -> Result<bool, Failed> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}
