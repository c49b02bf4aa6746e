//! `cargo xtask fuzz`: every parser against input that libFuzzer makes up, guided by coverage.
//!
//! The coverage comes from compiler options of the stable compiler, so that this needs nothing but
//! a C++ compiler for libFuzzer itself. The kept inputs of `fuzz/corpus` are where it begins; what
//! it finds further is kept under `target/fuzz`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Failed;

/// Seconds per target, where nothing else is said: enough to run each seed and its neighbours.
const SECONDS: u32 = 5;

/// What libFuzzer needs to see: counters of edges, what is compared, and where.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Bounds of one input: bytes, seconds, and memory of the process in MiB.
const BOUNDS: [&str; 3] = ["-max_len=16384", "-timeout=10", "-rss_limit_mb=1024"];

/// `cargo xtask fuzz [TARGET] [SECONDS]`, or `cargo xtask fuzz TARGET FILE` to see one input again.
pub(crate) fn run(words: &[&str]) -> Result<(), Failed> {
    let host = host()?;
    build(&host)?;
    match words {
        [] => all(&host, SECONDS),
        [target, file] if Path::new(file).is_file() => one(&host, target, &[file]),
        [word] => match word.parse() {
            Ok(seconds) => all(&host, seconds),
            Err(_) => for_a_time(&host, word, SECONDS),
        },
        [target, seconds] => match seconds.parse() {
            Ok(seconds) => for_a_time(&host, target, seconds),
            Err(_) => Err(Failed(format!("{seconds} is no number of seconds, and no file"))),
        },
        _ => Err(Failed("fuzz [TARGET] [SECONDS] | fuzz TARGET FILE".to_owned())),
    }
}

fn all(host: &str, seconds: u32) -> Result<(), Failed> {
    targets()?.iter().try_for_each(|target| for_a_time(host, target, seconds))
}

/// One target, from its kept inputs on.
fn for_a_time(host: &str, target: &str, seconds: u32) -> Result<(), Failed> {
    if !targets()?.iter().any(|known| known == target) {
        return Err(Failed(format!("there is no target {target}: {}", targets()?.join(", "))));
    }
    let found = format!("target/fuzz/corpus/{target}");
    let failed = format!("target/fuzz/failed/{target}/");
    let kept = format!("fuzz/corpus/{target}");
    for directory in [&found, &failed] {
        fs::create_dir_all(directory)?;
    }
    let time = format!("-max_total_time={seconds}");
    let artifacts = format!("-artifact_prefix={failed}");
    one(host, target, &[&time, &artifacts, "-print_final_stats=1", &found, &kept])
}

/// Runs a target, and tells how many inputs it had and how much of the code they reached.
fn one(host: &str, target: &str, arguments: &[&str]) -> Result<(), Failed> {
    let program = format!("target/fuzz/{host}/release/{target}");
    let output = Command::new(program).args(BOUNDS).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failed(format!(
            "{target} failed; again with: cargo xtask fuzz {target} FILE\n{said}"
        )));
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let edges = said.lines().rev().find_map(|line| line.split("cov: ").nth(1)?.split(' ').next());
    println!(
        "{target}: {} inputs, {} edges of its code, nothing wrong",
        runs.unwrap_or("1").trim(),
        edges.unwrap_or("some")
    );
    Ok(())
}

fn build(host: &str) -> Result<(), Failed> {
    let arguments = ["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml"];
    // Named, so that the flags are for the targets alone and not for build scripts.
    let place = ["--target", host, "--target-dir", "target/fuzz"];
    let mut command = Command::new("cargo");
    let status = command.args(arguments).args(place).env("RUSTFLAGS", FLAGS).status()?;
    if status.success() {
        return Ok(());
    }
    Err(Failed(
        "the targets cannot be built; libFuzzer itself needs a C++ compiler (g++)".to_owned(),
    ))
}

/// The targets, by their files.
fn targets() -> Result<Vec<String>, Failed> {
    let mut targets = Vec::new();
    for entry in fs::read_dir("fuzz/fuzz_targets")? {
        let path = entry?.path();
        targets.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

/// What the compiler calls this machine.
fn host() -> Result<String, Failed> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failed("rustc does not tell its host".to_owned()))
}
