//! Time that passes, and time that processors work for us.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Runs since it was made.
pub struct Stopwatch {
    started: Instant,
    worked: Duration,
}

/// What one of many took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    elapsed: Duration,
    processor: Duration,
}

impl Stopwatch {
    pub fn start() -> nix::Result<Self> {
        Ok(Self { started: Instant::now(), worked: worked()? })
    }

    /// What each of `count` took since the start.
    pub fn each_of(&self, count: u32) -> nix::Result<Taken> {
        let elapsed = self.started.elapsed() / count;
        Ok(Taken { elapsed, processor: (worked()? - self.worked) / count })
    }
}

/// What all threads of this process have worked so far, in the kernel too.
fn worked() -> nix::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)))
}

impl Taken {
    pub fn elapsed_us(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e6
    }

    pub fn processor_us(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6
    }
}
