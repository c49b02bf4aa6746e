//! The speed of others beside connections whose service does not read.
//!
//! Two pairs of the same relays run side by side, one of them with the connections that are stuck.
//! They take turns of a fraction of a second, so that what else the machine does falls on both
//! alike. First they do so without anything that is stuck: that is what the figures are worth.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::contestant::Contestant;
use crate::crowd::hold;
use crate::measure::{bulk, memory, nanoseconds, share};
use crate::place::Place;
use crate::service;

/// Connections whose service does not read, and what each is offered.
const STUCK: usize = 1000;
const OFFERED_BYTES: usize = 1 << 30;

/// Rounds in which nothing is taken, until nothing will be.
const QUIET_ROUNDS: usize = 200;

/// Turns of both, and bytes of each.
const TURNS: usize = 60;
const TURN_BYTES: usize = 64 << 20;

/// How many connections are measured at once.
const ACTIVE: [usize; 2] = [1, 8];

/// A pair with stuck connections, compared with one without, turn by turn.
#[derive(Debug, Default)]
struct Ratios {
    speed: Vec<f64>,
    cpu: Vec<f64>,
}

/// The median of the turns, and half of them lie in the brackets.
struct Spread<'r>(&'r [f64]);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let index = sorted.len() * quarter / 4;
            sorted.get(index).copied().unwrap_or(f64::NAN) * 100.0
        };
        write!(f, "{:.0} % [{:.0}-{:.0}]", at(2), at(1), at(3))
    }
}

/// A thousand connections whose service reads nothing: memory of each, and what others have of
/// their speed beside them.
pub(crate) fn measure(contestant: &Contestant, name: &str) -> Result<String, Box<dyn Error>> {
    let place = Place::new()?;
    service::start(&place.service())?;
    let Some(other) = Contestant::start(name, &place)? else { return Err("it was there".into()) };
    let mut told = String::new();
    compare("two without any", [contestant, &other], &mut told)?;
    let before = memory(contestant)?;
    let mut held = hold(&contestant.entry(), STUCK)?;
    let taken = offer(&mut held)? / STUCK / 1024;
    let each = (memory(contestant)? - before) / share(STUCK);
    writeln!(
        told,
        "{STUCK} whose service does not read, offered 1 GiB each ({taken} KiB taken): {each:.1} KiB \
         PSS each (both sides); the kernel has {}",
        kernel()?
    )?;
    compare("with them to without", [contestant, &other], &mut told)?;
    drop(held);
    service::release();
    Ok(told)
}

/// What the kernel holds for TCP, and whether it is short of memory for that.
fn kernel() -> Result<String, Box<dyn Error>> {
    let all = fs::read_to_string("/proc/net/protocols")?;
    let line = all.lines().find(|line| line.starts_with("TCP ")).unwrap_or_default();
    let mut fields = line.split_whitespace().skip(3);
    let pages: usize = fields.next().unwrap_or_default().parse()?;
    let is_short = fields.next() == Some("yes");
    let short = if is_short { "is short of memory for it" } else { "is not short of memory" };
    Ok(format!("{} MiB in TCP and {short}", pages * 4 / 1024))
}

fn compare(
    what: &str,
    [first, second]: [&Contestant; 2],
    told: &mut String,
) -> Result<(), Box<dyn Error>> {
    for count in ACTIVE {
        let mut ratios = Ratios::default();
        for turn in 0..TURNS {
            // Each goes first as often as the other.
            let ((time, cpu), (other_time, other_cpu)) = if turn % 2 == 0 {
                let one = take(first, count)?;
                (one, take(second, count)?)
            } else {
                let other = take(second, count)?;
                (take(first, count)?, other)
            };
            ratios.speed.push(other_time / time);
            ratios.cpu.push(cpu / other_cpu);
        }
        let Ratios { speed, cpu } = ratios;
        let (speed, cpu) = (Spread(&speed), Spread(&cpu));
        writeln!(told, "  {what}, {count} at work: {speed} of the speed, {cpu} of the CPU")?;
    }
    Ok(())
}

/// Seconds, and nanoseconds of CPU.
fn take(contestant: &Contestant, connections: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let (start, before) = (Instant::now(), nanoseconds(contestant)?);
    bulk(&contestant.entry(), connections, TURN_BYTES)?;
    Ok((start.elapsed().as_secs_f64(), nanoseconds(contestant)? - before))
}

/// Writes to all of them until nothing more is taken; how many bytes that was.
fn offer(held: &mut [UnixStream]) -> Result<usize, Box<dyn Error>> {
    let piece = vec![7; 64 * 1024];
    let mut counts = vec![0; held.len()];
    let mut quiet = 0;
    for stream in held.iter() {
        stream.set_nonblocking(true)?;
    }
    while quiet < QUIET_ROUNDS {
        let before: usize = counts.iter().sum();
        for (stream, count) in held.iter_mut().zip(&mut counts) {
            match stream.write(&piece) {
                Ok(length) if *count < OFFERED_BYTES => *count += length,
                Ok(_) => return Err("all of it was taken: nobody is stuck".into()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if counts.iter().sum::<usize>() == before {
            quiet += 1;
            std::thread::park_timeout(Duration::from_millis(2));
        } else {
            quiet = 0;
        }
    }
    Ok(counts.iter().sum())
}
