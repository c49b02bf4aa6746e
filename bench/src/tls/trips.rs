//! Questions and their answers, by all contestants in turns, beside no relay at all.
//!
//! All of them run at once, and whoever is not asked has nothing to do: so one turn of everybody
//! takes less than a second, and what else the machine does falls on all alike.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::contestant::{Contestant, PATIENCE};
use crate::measure::{nanoseconds, share};
use crate::place::Place;
use crate::service::{BYTES, ECHO};

/// Turns of everybody, and questions in each.
const TURNS: usize = 31;
const QUESTIONS: usize = 600;

/// Who the others are compared with.
const RIVAL: &str = "haproxy";

/// A contestant with its kept connection, and what each turn brought.
struct Asked {
    name: &'static str,
    contestant: Contestant,
    stream: UnixStream,
    turns: Vec<Trip>,
}

/// Microseconds of a turn.
#[derive(Clone, Copy, Debug)]
struct Trip {
    median: f64,
    cpu: f64,
}

/// A table of what a question takes through each of them.
pub(crate) fn measure(place: &Place, names: &[&'static str]) -> Result<String, Box<dyn Error>> {
    let mut all = Vec::new();
    for name in ["direct"].iter().chain(names) {
        let Some(contestant) = Contestant::start(name, place)? else { continue };
        let mut stream = contestant.entry().connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[ECHO])?;
        all.push(Asked { name, contestant, stream, turns: Vec::new() });
    }
    for _ in 0..TURNS {
        for asked in &mut all {
            let trip = ask(asked)?;
            asked.turns.push(trip);
        }
    }
    table(&all)
}

fn ask(asked: &mut Asked) -> Result<Trip, Box<dyn Error>> {
    let before = nanoseconds(&asked.contestant)?;
    let mut times = Vec::with_capacity(QUESTIONS);
    let mut buffer = [7; BYTES];
    for _ in 0..QUESTIONS {
        let start = Instant::now();
        asked.stream.write_all(&buffer)?;
        asked.stream.read_exact(&mut buffer)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let cpu = (nanoseconds(&asked.contestant)? - before) / share(QUESTIONS) / 1e3;
    Ok(Trip { median: median(times), cpu })
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(all: &[Asked]) -> Result<String, Box<dyn Error>> {
    let direct = all.iter().find(|one| one.name == "direct").ok_or("nothing to compare with")?;
    let added = |one: &Asked| -> Vec<f64> {
        let pairs = one.turns.iter().zip(&direct.turns);
        pairs.map(|(trip, bare)| trip.median - bare.median).collect()
    };
    let rival = all.iter().find(|one| one.name == RIVAL);
    let mut text = format!(
        "medians of {TURNS} turns of {QUESTIONS} questions\n\
         | relay | RTT 64 B us | added us | to {RIVAL}'s, by turns | CPU us per RTT | to {RIVAL}'s |\n\
         |---|---|---|---|---|---|\n"
    );
    for one in all {
        let trip = median(one.turns.iter().map(|trip| trip.median).collect());
        let cpu = median(one.turns.iter().map(|trip| trip.cpu).collect());
        let more = median(added(one));
        let (time, work) = rival.map_or((f64::NAN, f64::NAN), |rival| {
            let ratio = added(one).into_iter().zip(added(rival)).map(|(ours, its)| ours / its);
            let work = one.turns.iter().zip(&rival.turns).map(|(ours, its)| ours.cpu / its.cpu);
            (median(ratio.collect()), median(work.collect()))
        });
        writeln!(
            text,
            "| {} | {trip:.0} | {more:.0} | {time:.2} | {cpu:.0} | {work:.2} |",
            one.name
        )?;
    }
    Ok(text)
}
