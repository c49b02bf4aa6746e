//! Services of another host by TLS: this project's daemons beside what others use for the same.
//!
//! `cargo run --release -p ipcd-bench --bin ipcd-bench-tls [NAME…] [PART…]`: rounds with every
//! contestant, or those that are named, in every part or those that are named (`one`, `many`,
//! `connections`, `questions`, `idle`; `crowd`, `stuck` and `trips` only if they are named; `trips`
//! takes them all in turns). Each is a pair of relays with TCP on loopback between them: a Unix
//! socket, TLS 1.3 with AES-128-GCM, a Unix socket; a P-256 certificate of a private authority,
//! verified; sessions resumed as each does it. CPU is that of all processes of the pair. Whoever is
//! not installed is left out with a message.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]

use std::error::Error;

use crate::contestant::Contestant;
use crate::measure::{Figures, PARTS, measure};
use crate::place::Place;

mod contestant;
mod crowd;
mod ipcd;
mod measure;
mod others;
mod place;
mod service;
mod stuck;
mod trips;

/// Rounds.
const ROUNDS: usize = 3;

/// Who can take part.
const ALL: [&str; 5] = ["ipcd", "stunnel", "haproxy", "nginx", "hitch"];

fn main() -> Result<(), Box<dyn Error>> {
    let place = Place::new()?;
    service::start(&place.service())?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (parts, wanted): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|word| PARTS.contains(&word.as_str()));
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    if parts == ["trips"] {
        let takes_part = |name: &&str| wanted.is_empty() || wanted.iter().any(|one| one == name);
        let names: Vec<_> = ALL.into_iter().filter(takes_part).collect();
        println!("{}", trips::measure(&place, &names)?);
        return Ok(());
    }
    let mut all: Vec<(&str, Vec<Figures>)> = Vec::new();
    for round in 1..=ROUNDS {
        for name in ALL {
            if !wanted.is_empty() && !wanted.iter().any(|one| one == name) {
                continue;
            }
            let Some(contestant) = Contestant::start(name, &place)? else { continue };
            if !parts.is_empty() && is_wanted("crowd") {
                println!("{name}: {}", crowd::idle(&contestant)?);
            }
            if !parts.is_empty() && is_wanted("stuck") {
                println!("{name}: {}", stuck::measure(&contestant, name)?);
            }
            let figures = measure(&contestant, is_wanted)?;
            println!("round {round}  {name:8} {figures}");
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, rows)) => rows.push(figures),
                None => all.push((name, vec![figures])),
            }
        }
    }
    println!("\nmedians of {ROUNDS} rounds\n{}", Figures::HEAD);
    for (name, rows) in &all {
        println!("| {name} {}", Figures::median(rows).row());
    }
    Ok(())
}
