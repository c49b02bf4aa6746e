//! What is measured of a contestant.

use std::error::Error;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::contestant::{Contestant, Entry, PATIENCE};
use crate::service::{BYTES, COUNT, ECHO};

/// Bytes that are sent in all, whatever the number of connections.
const BULK_BYTES: usize = 512 << 20;

/// Bytes of one write.
const WRITE_BYTES: usize = 256 * 1024;

/// Threads that make connections, and what each makes.
const MAKERS: usize = 8;
const CONNECTIONS: usize = 250;

/// Questions on one connection.
const QUESTIONS: usize = 4000;

/// Connections that are held without a word.
const IDLE: usize = 300;

/// What can be measured by itself; the last three only if they are wanted.
pub(crate) const PARTS: [&str; 8] =
    ["one", "many", "connections", "questions", "idle", "crowd", "stuck", "trips"];

/// The figures of one round; not a number, where it was not wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures([f64; 9]);

impl Figures {
    /// The head of a table of [`Figures::row`].
    pub(crate) const HEAD: &str = "| relay | 1 conn GB/s | CPU s/GB | 64 conns GB/s | CPU s/GB | \
        conn/s (8) | CPU µs per conn | RTT 64 B µs | CPU µs per RTT | idle PSS KiB, both sides |\n\
        |---|---|---|---|---|---|---|---|---|---|";

    pub(crate) fn row(&self) -> String {
        let Self([one, one_cpu, many, many_cpu, rate, each, trip, trip_cpu, idle]) = self;
        format!(
            "| {one:.2} | {one_cpu:.2} | {many:.2} | {many_cpu:.2} | {rate:.0} | {each:.0} | \
             {trip:.0} | {trip_cpu:.0} | {idle:.1} |"
        )
    }

    pub(crate) fn median(rows: &[Self]) -> Self {
        let mut middle = Self::default();
        for (index, place) in middle.0.iter_mut().enumerate() {
            let mut column: Vec<_> =
                rows.iter().filter_map(|row| row.0.get(index).copied()).collect();
            column.sort_by(f64::total_cmp);
            *place = column.get(column.len() / 2).copied().unwrap_or_default();
        }
        middle
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.row())
    }
}

/// One question, and its answer.
pub(crate) fn one_question(stream: &mut UnixStream) -> Result<(), Box<dyn Error>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[&[ECHO][..], &[7; BYTES]].concat())?;
    Ok(stream.read_exact(&mut [0; BYTES])?)
}

/// Measures the parts that are wanted.
pub(crate) fn measure(
    contestant: &Contestant,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Figures, Box<dyn Error>> {
    let entry = contestant.entry();
    let part = |name, what: &dyn Fn() -> Result<(), Box<dyn Error>>| {
        if is_wanted(name) { timed(contestant, what) } else { Ok((f64::NAN, f64::NAN)) }
    };
    let (one, one_cpu) = part("one", &|| bulk(&entry, 1, BULK_BYTES))?;
    let (many, many_cpu) = part("many", &|| bulk(&entry, 64, BULK_BYTES))?;
    let (made, made_cpu) = part("connections", &|| make_connections(&entry))?;
    let (asked, asked_cpu) = part("questions", &|| ask(&entry))?;
    let gigabytes = share(BULK_BYTES) / 1e9;
    let connections = share(MAKERS * CONNECTIONS);
    let questions = share(QUESTIONS);
    Ok(Figures([
        gigabytes / one,
        one_cpu / gigabytes,
        gigabytes / many,
        many_cpu / gigabytes,
        connections / made,
        made_cpu / connections * 1e6,
        asked / questions * 1e6,
        asked_cpu / questions * 1e6,
        if is_wanted("idle") { idle(contestant, &entry)? } else { f64::NAN },
    ]))
}

/// A number of things, to divide by.
pub(crate) fn share(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Seconds that something takes, and seconds of CPU of the relays meanwhile.
fn timed(
    contestant: &Contestant,
    what: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<(f64, f64), Box<dyn Error>> {
    let (before, start) = (cpu(contestant)?, Instant::now());
    what()?;
    let time = start.elapsed().as_secs_f64();
    Ok((time, cpu(contestant)? - before))
}

/// Runs it in threads, and waits for them.
fn in_threads(
    count: usize,
    entry: &Entry,
    what: impl Fn(&Entry) -> Result<(), Box<dyn Error>> + Sync,
) -> Result<(), Box<dyn Error>> {
    std::thread::scope(|scope| {
        let run = || what(entry).map_err(|error| error.to_string());
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread broke")??;
        }
        Ok(())
    })
}

/// Sends so many bytes over so many connections.
pub(crate) fn bulk(entry: &Entry, connections: usize, bytes: usize) -> Result<(), Box<dyn Error>> {
    let blocks = bytes / connections / WRITE_BYTES;
    let share = u64::try_from(blocks * WRITE_BYTES)?;
    in_threads(connections, entry, |entry| {
        let mut stream = entry.connect()?;
        stream.write_all(&[COUNT])?;
        stream.write_all(&share.to_be_bytes())?;
        let block = vec![7; WRITE_BYTES];
        for _ in 0..blocks {
            stream.write_all(&block)?;
        }
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        let counted = u64::from_be_bytes(answer);
        if counted == share {
            return Ok(());
        }
        Err(format!("only {counted} bytes arrived").into())
    })
}

fn make_connections(entry: &Entry) -> Result<(), Box<dyn Error>> {
    in_threads(MAKERS, entry, |entry| {
        for _ in 0..CONNECTIONS {
            one_question(&mut entry.connect()?)?;
        }
        Ok(())
    })
}

/// Microseconds that a question and its answer take.
pub(crate) fn questions(entry: &Entry) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    ask(entry)?;
    Ok(start.elapsed().as_secs_f64() / share(QUESTIONS) * 1e6)
}

fn ask(entry: &Entry) -> Result<(), Box<dyn Error>> {
    let mut stream = entry.connect()?;
    stream.write_all(&[ECHO])?;
    let mut buffer = [7; BYTES];
    for _ in 0..QUESTIONS {
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
    }
    Ok(())
}

/// KiB of memory per idle connection, both sides together.
fn idle(contestant: &Contestant, entry: &Entry) -> Result<f64, Box<dyn Error>> {
    let before = memory(contestant)?;
    let mut held = Vec::new();
    for _ in 0..IDLE {
        let mut stream = entry.connect()?;
        one_question(&mut stream)?;
        held.push(stream);
    }
    let after = memory(contestant)?;
    Ok((after - before) / share(IDLE))
}

/// The processes of a contestant, with those that they started.
fn processes(contestant: &Contestant) -> Vec<u32> {
    let mut all: Vec<_> = contestant.processes.iter().map(std::process::Child::id).collect();
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    all
}

/// Seconds of CPU so far, threads that have ended included (`proc(5)`: fields 14 and 15, in
/// hundredths).
pub(crate) fn cpu(contestant: &Contestant) -> Result<f64, Box<dyn Error>> {
    let mut hundredths = 0.0;
    for pid in processes(contestant) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may have blanks in it; the third field follows.
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        hundredths += fields.take(2).filter_map(|one| one.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(hundredths / 100.0)
}

/// Nanoseconds of CPU so far of all threads there are, from the scheduler's own books: exact
/// enough for some hundred questions.
pub(crate) fn nanoseconds(contestant: &Contestant) -> Result<f64, Box<dyn Error>> {
    let mut total = 0.0;
    for pid in processes(contestant) {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            // One that has ended by now has done nothing for the connection that is measured.
            let text = std::fs::read_to_string(thread?.path().join("schedstat"));
            let text = text.unwrap_or_default();
            let first = text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok());
            total += first.unwrap_or_default();
        }
    }
    Ok(total)
}

/// KiB of proportional memory.
pub(crate) fn memory(contestant: &Contestant) -> Result<f64, Box<dyn Error>> {
    let mut total = 0.0;
    for pid in processes(contestant) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
        total += kib.unwrap_or_default();
    }
    Ok(total)
}
