//! How many lines strangers may have written.

use std::time::{Duration, Instant};

/// Counts lines together over [`Budget::PERIOD`], and those that are left out.
#[derive(Debug)]
pub struct Budget {
    most: u32,
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Budget {
    /// How long lines are counted together.
    pub const PERIOD: Duration = Duration::from_secs(10);

    /// Room for `most` lines in each period.
    #[must_use]
    pub fn new(most: u32, now: Instant) -> Self {
        Self { most, since: now, told: 0, left_out: 0 }
    }

    /// Whether another line may be written at `now`; and how many were left out, if that is to be
    /// said now.
    pub fn admit(&mut self, now: Instant) -> (bool, Option<u64>) {
        let mut left_out = None;
        if now.saturating_duration_since(self.since) >= Self::PERIOD {
            left_out = Some(std::mem::take(&mut self.left_out)).filter(|count| *count > 0);
            (self.since, self.told) = (now, 0);
        }
        if self.told >= self.most {
            self.left_out += 1;
            return (false, left_out);
        }
        self.told += 1;
        (true, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_limit_is_counted_and_told_later() {
        let (start, most) = (Instant::now(), 20);
        let mut budget = Budget::new(most, start);
        for _ in 0..most {
            assert_eq!(budget.admit(start), (true, None));
        }
        for _ in 0..7 {
            assert_eq!(budget.admit(start + Budget::PERIOD / 2), (false, None));
        }
        assert_eq!(budget.admit(start + Budget::PERIOD), (true, Some(7)));
        assert_eq!(budget.admit(start + Budget::PERIOD * 2), (true, None));
    }
}
