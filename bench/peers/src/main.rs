//! The ring beside a raw stream, iceoryx2 and interprocess, in one run.
//!
//! `cargo run --release` in `bench/peers`: five rounds, each with every contestant. A ratio is
//! contestant to reference of the same round, and the median of five is what counts. Two threads
//! stand for two processes. Where both wait in the kernel they share one processor, so that the
//! length of the path is compared and not the scheduler's choice; where one polls, and for bulk,
//! there are two. The processor's time is that of both ends together: on a busy machine it is the
//! one to believe.
#![forbid(unsafe_code)]

mod iceoryx;
mod rings;
mod stopwatch;
mod streams;

use std::error::Error;

use stopwatch::Taken;

/// What a contestant answers: what one round trip, or one message, takes.
type Measured = Result<Taken, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 5;

/// Bytes of a small message, and of a large one.
const SMALL: usize = 64;
const LARGE: usize = 1 << 20;

/// Round trips of a contestant in one round, and large messages.
const TRIPS: u32 = 20_000;
const LARGE_ONES: u32 = 400;

struct Contestant {
    name: &'static str,
    measure: fn() -> Measured,
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let round_trips = [
        Contestant { name: "raw stream", measure: || streams::round_trip(TRIPS) },
        Contestant { name: "interprocess", measure: || streams::interprocess_round_trip(TRIPS) },
        Contestant { name: "iceoryx2, event", measure: || iceoryx::round_trip(TRIPS, true) },
        Contestant { name: "ring", measure: || rings::round_trip(TRIPS) },
    ];
    let polling = [
        Contestant { name: "iceoryx2, polling", measure: || iceoryx::round_trip(TRIPS, false) },
        Contestant { name: "ring, polling", measure: || rings::polling_round_trip(TRIPS) },
    ];
    let bulk = [
        Contestant { name: "raw stream", measure: || streams::bulk(LARGE_ONES) },
        Contestant { name: "iceoryx2", measure: || iceoryx::bulk(LARGE_ONES) },
        Contestant { name: "ring", measure: || rings::bulk(LARGE_ONES) },
    ];
    share_processor(true)?;
    table("round trip of 64 bytes, both wait, one processor", &round_trips)?;
    share_processor(false)?;
    table("round trip of 64 bytes, both poll, two processors", &polling)?;
    table("one message of 1 MiB, copied in and out, two processors", &bulk)
}

/// Has everything from now on run on the first processor, or on all of them.
fn share_processor(one: bool) -> nix::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    let count = if one { 1 } else { nix::sched::CpuSet::count() };
    for processor in 0..count {
        set.set(processor)?;
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
}

fn table(title: &str, contestants: &[Contestant]) -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("\n{title}");
    let mut taken = vec![Vec::new(); contestants.len()];
    for _ in 0..ROUNDS {
        for (taken, contestant) in taken.iter_mut().zip(contestants) {
            taken.push((contestant.measure)()?);
        }
    }
    let Some(reference) = taken.first().cloned() else { return Ok(()) };
    for (contestant, taken) in contestants.iter().zip(taken) {
        let column = |of: fn(&Taken) -> f64| {
            let ratios = taken.iter().zip(&reference).map(|(one, other)| of(one) / of(other));
            let (least, middle, most) = spread(ratios.collect());
            let time = spread(taken.iter().map(of).collect()).1;
            format!("{time:9.2} us  x{middle:.2} [{least:.2}-{most:.2}]")
        };
        let (elapsed, processor) = (column(Taken::elapsed_us), column(Taken::processor_us));
        println!("  {:18} {elapsed:32} processor {processor}", contestant.name);
    }
    Ok(())
}

/// Least, median, most.
fn spread(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(numbers.len() / 2), at(numbers.len().saturating_sub(1)))
}
