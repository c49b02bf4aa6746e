//! Calls of the kernel that fail, or do less than they were asked to, one at a time, in each daemon:
//! no crash, no hang, no leak, no wrong verdict, and all is well afterwards.
//!
//! A sample of all faults; `cargo xtask faults` has thousands of them met.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipcd_tests::{has, installed, is_root};

use crate::matrix::Fault;
use crate::scene::Outcome;
use crate::stage::{PROGRAMS, Stage};

mod cut;
mod matrix;
mod scene;
mod stage;

/// Faults that are met where nobody says how many.
const USUAL: usize = 60;

/// Stages on which they are met at the same time.
const STAGES: usize = 2;

/// All faults of one kind that a program can meet on a stage.
type Faults = fn(&Stage, &'static str) -> Vec<Fault>;

#[test]
fn a_call_that_fails_once_ends_nothing_leaks_nothing_and_allows_nothing() {
    if has("root and strace", is_root() && installed("strace").is_some()) {
        meet_all(|stage, program| matrix::errors(program, &stage.calls(program)));
    }
}

#[test]
fn a_call_that_moves_little_is_noticed_by_nobody_and_an_end_harms_nobody_else() {
    if has("root and cc", is_root() && installed("cc").is_some()) {
        meet_all(|stage, program| matrix::cuts(program, &stage.counts(program)));
    }
}

fn meet_all(faults: Faults) {
    let wanted = std::env::var("IPCD_FAULTS").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(USUAL);
    let only = std::env::var("IPCD_FAULTS_IN").ok();
    let programs = PROGRAMS.iter().filter(|name| only.as_deref().is_none_or(|only| only == **name));
    let programs: Vec<_> = programs.collect();
    let problems: Vec<_> = programs
        .iter()
        .flat_map(|program| meet(program, wanted / programs.len(), faults))
        .collect();
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

/// Has a program meet so many faults, spread evenly over all that there are.
fn meet(program: &'static str, wanted: usize, faults: Faults) -> Vec<String> {
    let stages: Vec<_> = (0..STAGES).map(|_| Stage::new(program)).collect();
    let all = faults(&stages[0], program);
    assert!(!all.is_empty(), "{program} cannot be made to fail: a static program takes no library");
    let step = (all.len() / wanted.max(1)).max(1);
    // Another sample at another step: not always the first error of each call.
    let chosen: Vec<&Fault> = all.iter().skip(step / 2).step_by(step).collect();
    let descriptors = stages[0].descriptors(program);
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for stage in &stages {
            scope.spawn(|| {
                while let Some(fault) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match stage.meet(fault, descriptors) {
                        Ok(outcome) => {
                            let mut outcomes = outcomes.lock().unwrap();
                            *outcomes.entry((outcome, fault.call)).or_insert(0) += 1;
                        }
                        Err(why) => problems.lock().unwrap().push(format!("{fault:?}: {why}")),
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let count = |wanted: Outcome| -> usize {
        outcomes.iter().filter(|((outcome, _), _)| *outcome == wanted).map(|(_, count)| count).sum()
    };
    let of = |wanted: Outcome| -> Vec<String> {
        let those = outcomes.iter().filter(|((outcome, _), _)| *outcome == wanted);
        those.map(|((_, call), count)| format!("{call} {count}")).collect()
    };
    eprintln!(
        "{program}: {} faults of {}: it went on after {}, did not start after {} ({}), ended after {} ({}), \
         did not come to {} ({})",
        chosen.len(),
        all.len(),
        count(Outcome::WentOn),
        count(Outcome::NotStarted),
        of(Outcome::NotStarted).join(", "),
        count(Outcome::Ended),
        of(Outcome::Ended).join(", "),
        count(Outcome::NotMet),
        of(Outcome::NotMet).join(", "),
    );
    problems.into_inner().unwrap()
}
