//! The catalogue of events, its page and the sources are one.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use daemon::event::EVENTS;

/// Crates that log.
const CRATES: [&str; 8] =
    ["daemon", "ipcd", "pongd", "relay", "tcpd", "tlsd", "authd", "websocketd"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(directory: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The rows of the page's table of events: name, number, level.
fn rows() -> Vec<[String; 3]> {
    let page = fs::read_to_string(root().join("docs/events.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| event | `MESSAGE_ID` |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        [cells[0].trim_matches('`'), cells[1], cells[2]].map(str::to_owned)
    };
    rows.map(cells).collect()
}

#[test]
fn the_page_has_every_event_with_its_number_and_no_other() {
    let catalogue: BTreeSet<[&str; 2]> = EVENTS.iter().map(|one| [one.name, one.id]).collect();
    assert_eq!(catalogue.len(), EVENTS.len());
    let rows = rows();
    let page: BTreeSet<[&str; 2]> = rows.iter().map(|[name, id, _]| [&**name, &**id]).collect();
    assert_eq!(page, catalogue);
    let numbers: BTreeSet<&str> = EVENTS.iter().map(|one| one.id).collect();
    assert_eq!(numbers.len(), EVENTS.len(), "a number is one event's");
    let is_number = |id: &&str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(numbers.iter().all(is_number));
}

#[test]
fn every_event_of_the_sources_is_in_the_catalogue_with_its_level_and_none_is_there_in_vain() {
    let mut all = Vec::new();
    for name in CRATES {
        sources(&root().join(name).join("src"), &mut all);
    }
    let rows = rows();
    let mut used: BTreeSet<&str> =
        EVENTS.iter().filter(|one| one.is_decision).map(|one| one.name).collect();
    for source in &all {
        for (place, _) in source.match_indices("event = \"") {
            let (before, rest) = source.split_at(place);
            let name = rest.split('"').nth(1).unwrap();
            let row = rows.iter().find(|[known, ..]| known == name);
            let [known, _, level] = row.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
            let said = before.rsplit("tracing::").next().unwrap().split('!').next().unwrap();
            assert_eq!(said, level, "{name}");
            used.insert(known);
        }
    }
    // Written by the log itself.
    used.insert("log-lost");
    let catalogue: BTreeSet<&str> = EVENTS.iter().map(|one| one.name).collect();
    assert_eq!(used, catalogue);
}
