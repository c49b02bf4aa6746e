//! What libipc has beside a raw stream, interprocess, ipc-channel, iceoryx2 and ZeroMQ, in one run.
//!
//! `cargo run --release` in `bench/peers`: five rounds, each with every contestant. A ratio is
//! contestant to reference of the same round, and the median of five is what counts. Two threads
//! stand for two processes. Where both wait in the kernel they share one processor, so that the
//! length of the path is compared and not the scheduler's choice; where one polls, and for bulk,
//! there are two. The processor's time is that of both ends together: on a busy machine it is the
//! one to believe.
#![forbid(unsafe_code)]

mod channels;
mod frames;
mod iceoryx;
mod rings;
mod stopwatch;
mod streams;
mod zeromq;

use std::error::Error;

use stopwatch::Taken;

/// What a contestant answers: what one round trip, or one message, takes.
type Measured = Result<Taken, Box<dyn Error + Send + Sync>>;

/// Rounds; a table has their median.
const ROUNDS: usize = 5;

/// Bytes of a small message, and of a large one.
const SMALL: usize = 64;
const LARGE: usize = 1 << 20;

/// Connections of a contestant in one round.
const BEGINNINGS: u32 = 3_000;

struct Contestant {
    name: &'static str,
    measure: Box<dyn Fn() -> Measured>,
}

/// A contestant by what it does.
fn of(name: &'static str, measure: impl Fn() -> Measured + 'static) -> Contestant {
    Contestant { name, measure: Box::new(measure) }
}

/// A message of that size.
fn payload(size: usize) -> Vec<u8> {
    vec![7; size]
}

/// As many messages of that size as take a contestant about a fifth of a second.
fn count(size: usize) -> u32 {
    if size >= LARGE {
        400
    } else if size > 10_000 {
        5_000
    } else {
        20_000
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    share_processor(true)?;
    for size in [SMALL, 1 << 10, 64 << 10, LARGE] {
        table(&format!("there and back, {size} bytes, all wait, one processor"), &trips(size))?;
    }
    table("connecting and a first answer of 64 bytes, one processor", &beginnings())?;
    share_processor(false)?;
    let polling = [
        of("iceoryx2, polling", || iceoryx::round_trip(SMALL, count(SMALL), false)),
        of("ring, polling", || rings::polling_round_trip(SMALL, count(SMALL))),
    ];
    table("there and back, 64 bytes, both poll, two processors", &polling)?;
    for size in [SMALL, LARGE] {
        table(&format!("one way, {size} bytes, two processors"), &one_way(size))?;
    }
    Ok(())
}

fn trips(size: usize) -> [Contestant; 7] {
    let count = count(size);
    [
        of("raw stream", move || streams::round_trip(size, count)),
        of("frames", move || frames::round_trip(size, count)),
        of("ring", move || rings::round_trip(size, count)),
        of("interprocess", move || streams::interprocess_round_trip(size, count)),
        of("ipc-channel", move || channels::round_trip(size, count)),
        of("iceoryx2, event", move || iceoryx::round_trip(size, count, true)),
        of("zmq", move || zeromq::round_trip(size, count)),
    ]
}

fn beginnings() -> [Contestant; 4] {
    [
        of("raw stream", || streams::beginning(BEGINNINGS)),
        of("session, early", || frames::beginning(BEGINNINGS, true)),
        of("session", || frames::beginning(BEGINNINGS, false)),
        of("interprocess", || streams::interprocess_beginning(BEGINNINGS)),
    ]
}

/// Frames and ZeroMQ gather messages, the others send each by itself.
fn one_way(size: usize) -> [Contestant; 6] {
    let count = if size < LARGE { 200_000 } else { count(size) };
    [
        of("raw stream", move || streams::one_way(size, count)),
        of("frames", move || frames::one_way(size, count)),
        of("ring", move || rings::one_way(size, count)),
        of("ipc-channel", move || channels::one_way(size, count)),
        of("iceoryx2, polling", move || iceoryx::one_way(size, count)),
        of("zmq", move || zeromq::one_way(size, count)),
    ]
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
