//! `cargo xtask arch`: the arrows between crates, and what the sources must not contain.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::{Failed, examples, words};

/// Who may use whom: all arrows between our crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("ipcd-sys", &[]),
    ("libipc", &["ipcd-sys"]),
    ("ipcd-settings", &["ipcd-sys"]),
    ("ipcd-policy", &["libipc", "ipcd-settings"]),
    ("ipcd-daemon", &["libipc", "ipcd-settings", "ipcd-sys"]),
    ("ipcd-relay", &["ipcd-daemon", "libipc", "ipcd-settings", "ipcd-sys"]),
    ("ipcd", &["ipcd-daemon", "libipc", "ipcd-policy", "ipcd-settings", "ipcd-sys"]),
    ("ipcd-tcpd", &["ipcd-daemon", "libipc", "ipcd-relay", "ipcd-settings", "ipcd-sys"]),
    ("ipcd-tlsd", &["ipcd-daemon", "libipc", "ipcd-relay", "ipcd-settings", "ipcd-sys"]),
    ("ipcd-authd", &["ipcd-daemon", "libipc", "ipcd-settings", "ipcd-sys"]),
    ("pongd", &["libipc"]),
    ("ipc", &["libipc", "ipcd-policy", "ipcd-settings", "ipcd-sys"]),
];

/// Crates that no program ships.
const TOOLS: [&str; 3] = ["ipcd-tests", "ipcd-bench", "xtask"];

/// Names of files in which things without a home gather.
const HOMELESS: [&str; 6] = ["util", "utils", "helpers", "common", "misc", "shared"];

/// Patterns that no source may match, as `git grep -E` reads them, with what they stand for.
const BANNED: &[(&str, &str)] = &[
    (r"//.*\b(now uses|previously|refactored|as requested)\b", "history belongs in git"),
    (r"\b(TO[D]O|FIX[M]E|XX[X])\b", "open ends belong in an issue"),
    (
        r"\b(fn|struct|enum|trait|mod) \w*(_v[0-9]|_old|_new|Manager|Handler|Processor|Util)\b",
        "a name that says nothing",
    ),
    (r"thread::sleep", "wait for the event"),
];

pub(crate) fn run() -> Result<(), Failed> {
    let mut problems = arrows()?;
    problems.extend(library_packages()?);
    problems.extend(examples::problems()?);
    for (pattern, why) in BANNED {
        problems.extend(grep(&["-E", pattern, "--", "*.rs", ":!xtask/src/arch.rs"], why)?);
    }
    let text_errors = [
        "-E",
        r"Result<[^>]*, *String>|Box<dyn (std::error::)?Error",
        "--",
        "libipc",
        "relay",
        "sys",
    ];
    problems.extend(grep(&text_errors, "errors are types")?);
    let unsafe_code =
        ["-lE", r"\bunsafe\b *(\{|fn|impl|extern)", "--", "*.rs", ":!sys", ":!xtask/src/arch.rs"];
    problems.extend(grep(&unsafe_code, "unsafe outside sys")?);
    problems.extend(homeless_files()?);
    problems.extend(words::problems()?);
    if problems.is_empty() {
        println!("arch: as drawn");
        return Ok(());
    }
    Err(Failed(format!("arch:\n{}", problems.join("\n"))))
}

/// Arrows that are not drawn, and drawn ones that are not there.
fn arrows() -> Result<Vec<String>, Failed> {
    let output =
        Command::new("cargo").args(["metadata", "--format-version", "1", "--no-deps"]).output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| Failed(error.to_string()))?;
    let packages = metadata.get("packages").and_then(|all| all.as_array()).cloned();
    let packages = packages.unwrap_or_default();
    let text = |value: &serde_json::Value, key: &str| {
        value.get(key).and_then(|text| text.as_str()).unwrap_or_default().to_owned()
    };
    let ours: BTreeSet<String> = packages.iter().map(|package| text(package, "name")).collect();
    let mut problems = Vec::new();
    for package in &packages {
        let name = text(package, "name");
        if TOOLS.contains(&name.as_str()) {
            continue;
        }
        let dependencies = package.get("dependencies").and_then(|all| all.as_array()).cloned();
        let used: BTreeSet<String> = dependencies
            .unwrap_or_default()
            .iter()
            .filter(|one| one.get("kind").is_none_or(serde_json::Value::is_null))
            .map(|one| text(one, "name"))
            .filter(|one| ours.contains(one))
            .collect();
        let drawn = ARROWS.iter().find(|(known, _)| *known == name).map(|(_, to)| *to);
        let drawn: BTreeSet<String> =
            drawn.unwrap_or_default().iter().map(|one| (*one).to_owned()).collect();
        if used != drawn {
            problems.push(format!("{name} uses {used:?}, drawn is {drawn:?}"));
        }
    }
    Ok(problems)
}

/// Packages of others in a program that links libipc without features, at most.
const LIBRARY_PACKAGES_MOST: usize = 12;

/// What a program links with libipc: neither what is ours nor what only the compiler runs.
fn library_packages() -> Result<Vec<String>, Failed> {
    let arguments = ["tree", "--package", "libipc", "--no-default-features", "--prefix", "none"];
    let edges = ["--edges", "normal,no-proc-macro", "--format", "{p}"];
    let output = Command::new("cargo").args(arguments).args(edges).output()?;
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let others: BTreeSet<&str> =
        tree.lines().filter(|line| !line.contains(" (/")).map(name_of_line).collect();
    let are_known = output.status.success() && others.contains("nix");
    Ok(match others.len() {
        0..=LIBRARY_PACKAGES_MOST if are_known => Vec::new(),
        count => vec![format!(
            "libipc depends on {count} packages, {LIBRARY_PACKAGES_MOST} at most: {others:?}"
        )],
    })
}

/// The package of a line of the tree: name, version, and a star if it was shown before.
fn name_of_line(line: &str) -> &str {
    line.split(' ').next().unwrap_or(line)
}

fn homeless_files() -> Result<Vec<String>, Failed> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).output()?;
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_homeless = |file: &&str| {
        let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
        stem.is_some_and(|stem| HOMELESS.contains(&stem) || stem == "mod")
    };
    let homeless = files.lines().filter(is_homeless);
    Ok(homeless.map(|file| format!("{file}: a file is named after its noun")).collect())
}

fn grep(arguments: &[&str], why: &str) -> Result<Vec<String>, Failed> {
    let output = Command::new("git").arg("grep").arg("-n").args(arguments).output()?;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(found.lines().map(|line| format!("{line}   ({why})")).collect())
}
