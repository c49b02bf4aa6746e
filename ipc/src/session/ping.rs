//! `ipc ping`: how long the way to a service and back takes.

use std::process::ExitCode;
use std::time::Duration;

use libipc::Patience;
use libipc::session::ClientOptions;
use nix::poll::{PollTimeout, poll};
use serde::Serialize;

use super::spans::Spans;
use super::{Where, failed, leave};
use crate::format::{self, Format, Listing};
use crate::report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    pub(crate) at: Where,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
    /// How long to wait between them, as 1s or 10ms
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = super::span)]
    pub(crate) interval: Duration,
    /// How long to wait for the service and for each answer, as 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = super::span)]
    pub(crate) timeout: Duration,
}

#[derive(Serialize)]
struct Times {
    count: u32,
    least_us: f64,
    median_us: f64,
    most_us: f64,
}

pub(crate) fn run(ping: &Ping, format: Format) -> Result<ExitCode, Report> {
    let options = ClientOptions { timeout: ping.timeout, ..ClientOptions::default() };
    let mut session = ping.at.session(&options)?;
    let mut times = Vec::new();
    for number in 0..ping.count {
        if number > 0 {
            let pause = PollTimeout::try_from(ping.interval).unwrap_or(PollTimeout::MAX);
            let _interrupted = poll(&mut [], pause).is_err();
        }
        let time = session
            .ping(Patience::within(ping.timeout))
            .map_err(|error| failed(&ping.at.address, &error))?;
        times.push(time);
    }
    leave(session);
    let times = Spans::of(times);
    let times = Times {
        count: ping.count,
        least_us: times.least_us(),
        median_us: times.median_us(),
        most_us: times.most_us(),
    };
    let mut listing = Listing::new(format!("{}: {} answers", ping.at.address, times.count));
    listing.add("least", format!("{:.1} us", times.least_us));
    listing.add("median", format!("{:.1} us", times.median_us));
    listing.add("most", format!("{:.1} us", times.most_us));
    format::print(format, &times, &listing)
}
