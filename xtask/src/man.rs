//! `cargo xtask man`: manual pages, from what the programs print with `--help`, so that no page
//! says what its program does not. What help has no room for stands in `docs/man/NAME.N.more`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failed;
use crate::man::help::{Help, Section};

mod help;

/// One page.
struct Page {
    /// Its name, which is also that of its file.
    name: &'static str,
    /// Its section.
    section: u8,
    /// The program that it is about.
    program: &'static str,
}

/// All pages.
const PAGES: [Page; 5] = [
    Page { name: "ipcd", section: 8, program: "ipcd" },
    Page { name: "ipcd-tcpd", section: 8, program: "tcpd" },
    Page { name: "ipcd-tlsd", section: 8, program: "tlsd" },
    Page { name: "ipcd-authd", section: 8, program: "authd" },
    Page { name: "ipc", section: 1, program: "ipc" },
];

/// Where the pages are.
const PLACE: &str = "docs/man";

/// What to do with the pages.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Task {
    /// Write them.
    Write,
    /// See that they are what would be written.
    Check,
}

pub(crate) fn run(task: Task) -> Result<(), Failed> {
    let packages = ["ipcd", "ipcd-tcpd", "ipcd-tlsd", "ipcd-authd", "ipc"].map(|name| ["-p", name]);
    crate::run("cargo", &[&["build", "--quiet"], packages.concat().as_slice()].concat())?;
    let programs = std::env::current_exe()?;
    let mut stale = Vec::new();
    for page in &PAGES {
        let path = Path::new(PLACE).join(format!("{}.{}", page.name, page.section));
        let text = page.text(&programs.with_file_name(page.program), &path)?;
        match task {
            Task::Write => fs::write(&path, text)?,
            Task::Check if fs::read_to_string(&path).is_ok_and(|old| old == text) => {}
            Task::Check => stale.push(path.display().to_string()),
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(Failed(format!("cargo xtask man would change {}", stale.join(", "))))
}

impl Page {
    fn text(&self, program: &Path, path: &Path) -> Result<String, Failed> {
        let help = Help::parse(&printed(program, &[])?);
        let (name, section) = (self.name, self.section);
        let mut page = format!(
            ".\\\" Written by `cargo xtask man`.\n.TH {} {section} \"\" \"ipcd {}\"\n\
             .SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n.SH DESCRIPTION\n{}\n",
            name.to_uppercase(),
            env!("CARGO_PKG_VERSION"),
            roff(name),
            roff(help.title()),
            bold(&help.usage),
            paragraphs(&help.about),
        );
        let commands = help.commands();
        for section in &help.sections {
            if section.title != "Commands" {
                page.push_str(&of_section(section, ".SH", &section.title.to_uppercase()));
            }
        }
        if !commands.is_empty() {
            page.push_str(".SH COMMANDS\n");
        }
        for command in commands {
            page.push_str(&of_command(&command, &Help::parse(&printed(program, &[&command])?)));
        }
        let mut more = path.to_owned().into_os_string();
        more.push(".more");
        page.push_str(&fs::read_to_string(PathBuf::from(more)).unwrap_or_default());
        Ok(page)
    }
}

fn printed(program: &Path, words: &[&str]) -> Result<String, Failed> {
    let output = Command::new(program).args(words).arg("--help").output()?;
    if !output.status.success() {
        return Err(Failed(format!("{} --help failed", program.display())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of_command(name: &str, help: &Help) -> String {
    let mut text = format!(".SS {}\n{}\n.PP\n", roff(name), bold(&help.usage));
    text.push_str(&paragraphs(&help.about));
    text.push('\n');
    for section in &help.sections {
        text.push_str(&of_section(section, ".PP", &section.title));
    }
    text
}

/// A section with its entries, under a title in that manner.
fn of_section(section: &Section, manner: &str, title: &str) -> String {
    let mut text = match manner {
        ".SH" => format!(".SH {}\n", roff(title)),
        _ => format!("{manner}\n\\fI{}\\fR\n", roff(title)),
    };
    for entry in &section.entries {
        // What is the same for every command is said once, above.
        if manner == ".PP" && ["--format <FORMAT>", "--json", "-h, --help"].contains(&&*entry.term)
        {
            continue;
        }
        let _written = writeln!(text, ".TP\n{}\n{}", bold(&entry.term), paragraphs(&entry.about));
    }
    if !section.plain.is_empty() {
        let plain = section.plain.iter().map(|line| roff(line)).collect::<Vec<_>>().join("\n");
        let _written = writeln!(text, ".PP\n.nf\n{plain}\n.fi");
    }
    text
}

/// Lines as running text; an empty one ends a paragraph, and an item of a list has its own line.
fn paragraphs(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        match line.trim() {
            "" => text.push_str(".sp\n"),
            item if item.starts_with("- ") => {
                let _written = writeln!(text, ".br\n{}", roff(item));
            }
            line => {
                let _written = writeln!(text, "{}", roff(line));
            }
        }
    }
    text.trim_end().to_owned()
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", roff(text))
}

/// Text in which nothing means something to the formatter.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.chars().next() {
        Some('.' | '\'') => format!("\\&{text}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_page_says_what_its_program_prints_and_what_help_has_no_room_for() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("p");
        let help = "Does a thing\n\nUsage: p [OPTIONS]\n\nCommands:\n  go    Goes\n\nOptions:\n  \
                    -q, --quiet  Says nothing\n\nExit codes: 0 done";
        let go = "Goes there\n\nUsage: p go <WHERE>\n\nArguments:\n  <WHERE>  The place";
        let script = format!("#!/bin/sh\n[ $1 = go ] && echo '{go}' || echo '{help}'\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let page = place.path().join("p.8");
        fs::write(place.path().join("p.8.more"), ".SH FILES\n").unwrap();
        let text = Page { name: "p", section: 8, program: "p" }.text(&program, &page).unwrap();
        let expected = [
            ".SH NAME\np \\- Does a thing\n",
            ".SH SYNOPSIS\n\\fBp [OPTIONS]\\fR\n",
            ".SH OPTIONS\n.TP\n\\fB\\-q, \\-\\-quiet\\fR\nSays nothing\n",
            ".SH EXIT CODES\n.PP\n.nf\n0 done\n.fi\n",
            ".SH COMMANDS\n.SS go\n\\fBp go <WHERE>\\fR\n.PP\nGoes there\n",
            "\\fB<WHERE>\\fR\nThe place\n",
            ".SH FILES\n",
        ];
        for part in expected {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn text_is_never_taken_for_a_request() {
        assert_eq!(roff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(roff("'a'"), "\\&'a'");
        assert_eq!(roff("a\\b -x"), "a\\eb \\-x");
    }
}
