//! Many connections at once: idle ones, and ones whose service does not read.

use std::error::Error;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Entry, PATIENCE};
use crate::measure::{bulk, cpu, memory, questions};
use crate::service::{HOLD, release};

/// Idle connections, and how long they are watched.
const IDLE: usize = 9900;
const WATCHED: Duration = Duration::from_secs(5);

/// Connections whose service does not read, and what each is offered.
const STUCK: usize = 1000;
const OFFERED_BYTES: usize = 1 << 30;

/// Rounds in which nothing is taken, until nothing will be.
const QUIET_ROUNDS: usize = 200;

/// Nine thousand nine hundred idle connections: memory of each, CPU, and what a question takes
/// meanwhile.
pub(crate) fn idle(contestant: &Contestant) -> Result<String, Box<dyn Error>> {
    let entry = contestant.entry();
    let (alone, before) = (questions(&entry)?, memory(contestant)?);
    let start = Instant::now();
    let held = hold(&entry, IDLE)?;
    let made = start.elapsed().as_secs_f64();
    let each = (memory(contestant)? - before) / 9900.0;
    let used = cpu(contestant)?;
    // Not to wait for an event, but for nothing to happen.
    std::thread::park_timeout(WATCHED);
    let used = (cpu(contestant)? - used) / WATCHED.as_secs_f64() * 100.0;
    let among = questions(&entry)?;
    drop(held);
    release();
    Ok(format!(
        "{IDLE} idle, made in {made:.1} s: {each:.1} KiB PSS each (both sides), {used:.1} % of a \
         processor, a question takes {among:.0} us (alone {alone:.0} us)"
    ))
}

/// A thousand connections whose service reads nothing: memory of each, and the speed of another
/// one beside them.
pub(crate) fn stuck(contestant: &Contestant) -> Result<String, Box<dyn Error>> {
    let entry = contestant.entry();
    let speed = || -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        bulk(&entry, 1)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let best = |rounds: usize| -> Result<f64, Box<dyn Error>> {
        (0..rounds).try_fold(f64::INFINITY, |best, _| Ok(best.min(speed()?)))
    };
    let alone = best(5)?;
    let mut held = hold(&entry, STUCK)?;
    let before = memory(contestant)?;
    let taken = offer(&mut held)? / STUCK / 1024;
    let each = (memory(contestant)? - before) / 1000.0;
    let among = best(5)?;
    drop(held);
    release();
    Ok(format!(
        "{STUCK} whose service does not read, offered 1 GiB each ({taken} KiB taken): {each:.1} \
         KiB PSS each (both sides), another one has {:.0} % of its speed",
        alone / among * 100.0
    ))
}

fn hold(entry: &Entry, count: usize) -> Result<Vec<UnixStream>, Box<dyn Error>> {
    let one = || -> Result<UnixStream, Box<dyn Error>> {
        let mut stream = entry.connect()?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&[HOLD])?;
        Ok(stream)
    };
    (0..count).map(|_| one()).collect()
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
