//! How long each of many things took, in figures for people: microseconds with one decimal.

use std::time::Duration;

/// Spans of time, the shortest first.
pub(super) struct Spans(Vec<Duration>);

impl Spans {
    pub(super) fn of(mut spans: Vec<Duration>) -> Self {
        spans.sort();
        Self(spans)
    }

    fn at(&self, place: usize) -> Duration {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// The shortest.
    pub(super) fn least_us(&self) -> f64 {
        microseconds(self.at(0))
    }

    /// The one in the middle; of an even number the mean of the two that are.
    pub(super) fn median_us(&self) -> f64 {
        let (upper, count) = (self.0.len() / 2, self.0.len());
        let lower = if count.is_multiple_of(2) { upper.saturating_sub(1) } else { upper };
        microseconds((self.at(lower) + self.at(upper)) / 2)
    }

    /// The one that 99 of 100 do not exceed.
    pub(super) fn p99_us(&self) -> f64 {
        microseconds(self.at((self.0.len() * 99).div_ceil(100).saturating_sub(1)))
    }

    /// The longest.
    pub(super) fn most_us(&self) -> f64 {
        microseconds(self.at(self.0.len().saturating_sub(1)))
    }
}

fn microseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e7).round() / 10.0
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "rounded to what is compared with")]
mod tests {
    use super::*;

    fn of(microseconds: impl IntoIterator<Item = u64>) -> Spans {
        Spans::of(microseconds.into_iter().map(Duration::from_micros).collect())
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(of([9, 1, 2]).median_us(), 2.0);
        assert_eq!(of([9, 1, 2, 3]).median_us(), 2.5);
        assert_eq!(of([7]).median_us(), 7.0);
        assert_eq!(of([]).median_us(), 0.0);
    }

    #[test]
    fn the_others_are_at_the_ends_and_99_of_100_are_no_longer_than_the_last_but_one() {
        let spans = of((1..=100).rev());
        assert_eq!((spans.least_us(), spans.p99_us(), spans.most_us()), (1.0, 99.0, 100.0));
        let spans = of([5]);
        assert_eq!((spans.least_us(), spans.p99_us(), spans.most_us()), (5.0, 5.0, 5.0));
    }

    #[test]
    fn a_figure_has_one_decimal() {
        assert_eq!(microseconds(Duration::from_nanos(12_345)), 12.3);
        assert_eq!(microseconds(Duration::from_nanos(12_351)).to_string(), "12.4");
    }
}
