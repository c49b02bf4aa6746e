//! `ipc bench`: how many messages a service that echoes answers.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use libipc::session::{ClientOptions, Session, SessionError};
use libipc::{Channel, Patience};
use serde::Serialize;

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
    messages_per_second: f64,
    bytes_per_second: f64,
}

pub(crate) fn run(bench: &Bench, format: Format) -> Result<ExitCode, Report> {
    let options = ClientOptions { timeout: bench.timeout, ..ClientOptions::new(&[bench.channel]) };
    let mut session = bench.at.session(&options)?;
    let start = Instant::now();
    let mut times =
        measure(bench, &mut session).map_err(|error| failed(&bench.at.address, &error))?;
    let seconds = start.elapsed().as_secs_f64();
    leave(session);
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    let (count, size) = (f64::from(bench.count), f64::from(bench.size));
    let figures = Figures {
        size: bench.size,
        count: bench.count,
        median_us: at(50),
        p99_us: at(99),
        messages_per_second: count / seconds,
        bytes_per_second: count * size / seconds,
    };
    let heading = format!("{}: {} messages of {} bytes", bench.at.address, bench.count, bench.size);
    let mut listing = Listing::new(heading);
    listing.add("there and back", format!("{:.1} us", figures.median_us));
    listing.add("99 of 100", format!("{:.1} us", figures.p99_us));
    listing.add("a second", format!("{:.0} messages", figures.messages_per_second));
    format::print(format, &figures, &listing)
}

/// Microseconds of each way there and back.
fn measure(bench: &Bench, session: &mut Session) -> Result<Vec<f64>, SessionError> {
    let payload = vec![b'x'; bench.size as usize];
    let mut times = Vec::with_capacity(bench.count as usize);
    for _ in 0..bench.count {
        let patience = Patience::within(bench.timeout);
        let start = Instant::now();
        session.send_within(bench.channel, &payload, &[], patience)?;
        session.receive_on(bench.channel, patience)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
