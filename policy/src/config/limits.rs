//! `[limits]`: how much of what there may be.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use settings::Section;

/// Bytes of the longest request; not to be configured, since client libraries rely on it.
pub const REQUEST_BYTES_MOST: usize = 64 * 1024;

/// What a number in a file becomes.
trait Limit {
    fn of(number: u64) -> Self;
}

impl Limit for usize {
    fn of(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Limit for Duration {
    /// Keys of times end in `-ms`.
    fn of(number: u64) -> Self {
        Self::from_millis(number)
    }
}

/// One table of all limits: what they mean, their key, their default and their range.
macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $kind:ty, $key:literal, $default:literal, $range:expr;)*) => {
        /// How much of what there may be, so that a client that reaches a limit hurts itself alone.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct Limits { $($(#[$doc])* pub $field: $kind,)* }

        /// The keys of `[limits]`, each with its default and its range.
        const KEYS: &[(&str, u64, RangeInclusive<u64>)] = &[$(($key, $default, $range),)*];

        impl From<&Written> for Limits {
            fn from(written: &Written) -> Self {
                Self { $($field: <$kind>::of(written.0.get($key).copied().unwrap_or($default)),)* }
            }
        }
    };
}

limits! {
    /// Connections of clients at any one time.
    clients: usize, "clients", 16_384, 1..=1_000_000;
    /// Connections of clients of one user.
    clients_per_user: usize, "clients-per-user", 1_024, 1..=1_000_000;
    /// How long a request that has begun may take to arrive.
    request_timeout: Duration, "request-timeout-ms", 1_000, 10..=600_000;
    /// How long a request may take from its arrival to its answer; a client may want less.
    timeout: Duration, "timeout-ms", 10_000, 10..=3_600_000;
    /// Connections to other hosts that are being made.
    dials: usize, "dials", 4_096, 1..=1_000_000;
    /// Connections to other hosts that are being made for one user; further ones wait.
    dials_per_user: usize, "dials-per-user", 64, 1..=1_000_000;
    /// Requests of one user that wait for their turn to be dialled.
    queue_per_user: usize, "queue-per-user", 256, 0..=1_000_000;
    /// Clients that a registered service was given and has not taken up.
    uncollected_per_service: usize, "uncollected-per-service", 64, 1..=4_096;
    /// Places on other hosts that one user may be led to for the first time, in ten seconds.
    new_targets_per_user: usize, "new-targets-per-user", 20, 1..=1_000_000;
    /// How long a client may leave what was handed to it uncollected.
    collect_timeout: Duration, "collect-timeout-ms", 2_000, 10..=600_000;
    /// Connections that are listed after they were handed over, in all. At the limit the oldest of
    /// whoever has most is no longer listed; relays are always.
    connections_listed: usize, "connections-listed", 16_384, 1..=1_000_000;
    /// Those of clients of one user.
    connections_listed_per_user: usize, "connections-listed-per-user", 4_096, 1..=1_000_000;
    /// Administrators' connections that are told of every decision.
    monitors: usize, "monitors", 64, 1..=10_000;
    /// Logins that are being verified.
    logins: usize, "logins", 64, 1..=100_000;
    /// How long a login may take to be verified.
    login_timeout: Duration, "login-timeout-ms", 5_000, 10..=60_000;
    /// Lines about decisions in the log, per second; what is left out is counted.
    log_lines_per_second: usize, "log-lines-per-second", 50, 1..=100_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Written::default())
    }
}

/// The keys of all limits, each with its default.
pub(crate) fn defaults() -> impl Iterator<Item = (&'static str, u64)> {
    KEYS.iter().map(|(key, default, _)| (*key, *default))
}

/// The keys of all limits.
#[cfg(test)]
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _, _)| *key)
}

/// The limits of one file, as they are written there.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(BTreeMap<&'static str, u64>);

impl Written {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let read = |(key, _, range): &(&'static str, u64, RangeInclusive<u64>)| {
            Some((*key, section.integer(key, range.clone())?))
        };
        Self(KEYS.iter().filter_map(read).collect())
    }

    /// Takes from `less`, a file of less weight, what is not written here.
    pub(super) fn fill(&mut self, less: &Self) {
        for (key, number) in &less.0 {
            self.0.entry(key).or_insert(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_taken_at_both_ends_of_its_range_and_no_further() {
        for (key, default, range) in KEYS {
            assert!(range.contains(default), "{key}");
            for (number, fits) in
                [(*range.start(), true), (*range.end(), true), (range.end() + 1, false)]
            {
                let text = format!("{key} = {number}");
                let read = settings::read("x.toml", &text, |mut root| Written::read(&mut root));
                assert_eq!(read.is_ok(), fits, "{text}");
                if let Ok(written) = read {
                    assert_eq!(written.0.get(key), Some(&number));
                }
            }
        }
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        let limits = Limits::default();
        assert_eq!((limits.clients, limits.clients_per_user), (16_384, 1_024));
        assert_eq!(limits.timeout, Duration::from_secs(10));
    }

    #[test]
    fn the_file_of_more_weight_decides_key_by_key() {
        let read = |text| settings::read("x", text, |mut root| Written::read(&mut root)).unwrap();
        let mut first = read("clients = 1");
        first.fill(&read("clients = 2\ndials = 3"));
        let limits = Limits::from(&first);
        assert_eq!((limits.clients, limits.dials, limits.clients_per_user), (1, 3, 1_024));
    }
}
