//! `docs/policy.md`: the files that it shows are those of `config/examples`, and its commands print
//! what it says they do.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::run;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples")
}

/// The blocks of the guide that begin with `fence`, each with the line before it.
fn blocks(fence: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut before = String::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if line == fence {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((before.clone(), block.join("\n") + "\n"));
        }
        if !line.is_empty() {
            line.clone_into(&mut before);
        }
    }
    blocks
}

/// The words of a command line, where `'` keeps words together.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(ToOwned::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn the_files_that_the_guide_shows_are_the_examples() {
    let shown = blocks("```toml");
    assert!(shown.len() >= 5, "{}", shown.len());
    for (before, text) in shown {
        let name = before.trim_matches(['`', ':']).strip_prefix("config/examples/").unwrap();
        assert_eq!(std::fs::read_to_string(examples().join(name)).unwrap(), text, "{name}");
    }
}

#[test]
fn the_commands_of_the_guide_print_what_it_says() {
    let commands = blocks("```console");
    assert!(commands.len() >= 9, "{}", commands.len());
    for (_, block) in commands {
        let (command, expected) = block.split_once('\n').unwrap();
        let words = words(command.strip_prefix("$ ipc ").unwrap());
        let mut ipc = Command::new(env!("CARGO_BIN_EXE_ipc"));
        // As on a terminal.
        ipc.args(words).args(["--format", "table"]).current_dir(examples());
        ipc.env_remove("IPC_NETWORK").env_remove("IPC_NETWORK_FILE");
        ipc.env("IPC_RUNDIR", "/nonexistent");
        let (code, said, errors) = run(&mut ipc, b"");
        assert_eq!(errors, "", "{command}");
        // Where the page leaves the rest out.
        match expected.strip_suffix("…\n") {
            Some(begin) => assert!(said.starts_with(begin), "{command}: {said}"),
            None => assert_eq!(said, expected, "{command}"),
        }
        let denied = expected.lines().any(|line| line.starts_with("  verdict   denied"));
        let allowed = expected.lines().any(|line| line.starts_with("  verdict   allowed"));
        assert_eq!(code, if denied && !allowed { 50 } else { 0 }, "{command}");
    }
}

/// Every example is good on its own, with its tests.
#[test]
fn every_example_is_good() {
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let mut ipc = Command::new(env!("CARGO_BIN_EXE_ipc"));
        ipc.args(["check", "--format", "table", "--config"]).arg(&path);
        let (code, said, errors) = run(&mut ipc, b"");
        assert_eq!((code, errors.as_str()), (0, ""), "{}: {said}", path.display());
        assert!(!path.is_dir() || said.ends_with(" tests pass\n"), "{said}");
    }
}
