//! `ipc bench`: how many messages a service that echoes answers.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use libipc::session::{ClientOptions, Session, SessionError};
use libipc::{Channel, Patience};
use serde::Serialize;

use super::spans::Spans;
use super::{Where, failed, leave};
use crate::format::{self, Format, Listing};
use crate::report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) at: Where,
    /// The channel
    #[arg(short, long, value_name = "N", default_value = "2", value_parser = super::channel)]
    pub(crate) channel: Channel,
    /// Bytes of each message
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(..=16_777_216))]
    pub(crate) size: u32,
    /// How many messages
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) count: u32,
    /// How long to wait for the service and for each answer, as 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = super::span)]
    pub(crate) timeout: Duration,
}

#[derive(Serialize)]
struct Figures {
    size: u32,
    count: u32,
    median_us: f64,
    p99_us: f64,
    messages_per_second: u64,
    bytes_per_second: u64,
}

pub(crate) fn run(bench: &Bench, format: Format) -> Result<ExitCode, Report> {
    let options = ClientOptions { timeout: bench.timeout, ..ClientOptions::new(&[bench.channel]) };
    let mut session = bench.at.session(&options)?;
    let start = Instant::now();
    let times = measure(bench, &mut session).map_err(|error| failed(&bench.at.address, &error))?;
    let took = start.elapsed();
    leave(session);
    let times = Spans::of(times);
    let figures = Figures {
        size: bench.size,
        count: bench.count,
        median_us: times.median_us(),
        p99_us: times.p99_us(),
        messages_per_second: per_second(bench.count.into(), took),
        bytes_per_second: per_second(u64::from(bench.count) * u64::from(bench.size), took),
    };
    let heading = format!("{}: {} messages of {} bytes", bench.at.address, bench.count, bench.size);
    let mut listing = Listing::new(heading);
    listing.add("there and back", format!("{:.1} us", figures.median_us));
    listing.add("99 of 100", format!("{:.1} us", figures.p99_us));
    listing.add("a second", format!("{} messages", figures.messages_per_second));
    format::print(format, &figures, &listing)
}

/// How many that is in a second.
fn per_second(count: u64, took: Duration) -> u64 {
    let nanoseconds = took.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

/// How long each way there and back took.
fn measure(bench: &Bench, session: &mut Session) -> Result<Vec<Duration>, SessionError> {
    let payload = vec![b'x'; bench.size as usize];
    let mut times = Vec::with_capacity(bench.count as usize);
    for _ in 0..bench.count {
        let patience = Patience::within(bench.timeout);
        let start = Instant::now();
        session.send_within(bench.channel, &payload, &[], patience)?;
        session.receive_on(bench.channel, patience)?;
        times.push(start.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_a_whole_second_however_long_it_took() {
        assert_eq!(per_second(3, Duration::from_millis(500)), 6);
        assert_eq!(per_second(10, Duration::from_secs(4)), 2);
        assert_eq!(per_second(u64::MAX, Duration::ZERO), u64::MAX);
    }
}
