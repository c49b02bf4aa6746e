//! Many connections at once that nobody uses.

use std::error::Error;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Entry, PATIENCE};
use crate::measure::{cpu, memory, questions};
use crate::service::{HOLD, release};

/// Idle connections, and how long they are watched.
const IDLE: usize = 9900;
const WATCHED: Duration = Duration::from_secs(5);

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

/// So many connections that the service holds.
pub(crate) fn hold(entry: &Entry, count: usize) -> Result<Vec<UnixStream>, Box<dyn Error>> {
    let one = || -> Result<UnixStream, Box<dyn Error>> {
        let mut stream = entry.connect()?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&[HOLD])?;
        Ok(stream)
    };
    (0..count).map(|_| one()).collect()
}
