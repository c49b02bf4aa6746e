//! Calls that do less than they were asked to, by a library that is preloaded into a daemon: see
//! `cut.c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::matrix::{Fault, Ill};

/// The calls that the library stands in for, in the order of its board.
pub(crate) const CALLS: [&str; 11] = [
    "read", "readv", "recv", "recvfrom", "recvmsg", "write", "writev", "send", "sendto", "sendmsg",
    "splice",
];

/// The library, with what it counts.
pub(crate) struct Cutter {
    library: PathBuf,
    board: PathBuf,
}

/// How often a call moved more than one byte, and how often it could have found an end.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) call: &'static str,
    pub(crate) moved: usize,
    pub(crate) could_end: usize,
}

impl Cutter {
    /// Builds the library in that directory.
    pub(crate) fn new(place: &Path) -> Self {
        let this = Self { library: place.join("cut.so"), board: place.join("board") };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/cut.c");
        let mut build = Command::new("cc");
        build.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        assert!(build.arg(&this.library).arg(source).status().unwrap().success());
        this
    }

    /// The words before a program that is only counted, or that meets a fault.
    pub(crate) fn words(&self, fault: Option<&Fault>) -> Vec<String> {
        let board = [0; 4 * (2 * CALLS.len() + 1)];
        fs::write(&self.board, board).unwrap();
        let mut words = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("CUT_BOARD={}", self.board.display()),
        ];
        if let Some(Fault { call, ill, turn, .. }) = fault {
            let length = if let Ill::Short(length) = ill { *length } else { 0 };
            words.push(format!("CUT_CALL={call}"));
            words.push(format!("CUT_TURN={turn}"));
            words.push(format!("CUT_LENGTH={length}"));
        }
        words
    }

    fn board(&self) -> Vec<usize> {
        let board = fs::read(&self.board).unwrap();
        let number = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().unwrap());
        board.chunks_exact(4).map(|bytes| usize::try_from(number(bytes)).unwrap()).collect()
    }

    /// What has been counted.
    pub(crate) fn counts(&self) -> Vec<Count> {
        let board = self.board();
        let (moved, rest) = board.split_at(CALLS.len());
        let counts = CALLS.iter().zip(moved).zip(rest);
        counts
            .map(|((call, moved), could_end)| Count { call, moved: *moved, could_end: *could_end })
            .collect()
    }

    /// Whether the fault has been met.
    pub(crate) fn has_met(&self) -> bool {
        self.board().last() == Some(&1)
    }
}
