//! Many measurements of one thing, as three numbers: the median and how far the others lie from it.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// The 10th, 50th and 90th percentile of a series.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) p10: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

impl Spread {
    /// The spread of a series in whatever order.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let percentile = |percent: usize| at((values.len().saturating_sub(1) * percent + 50) / 100);
        // Of an even number the mean of the two in the middle: of two rounds neither is more true than the other.
        let middle = values.len().saturating_sub(1);
        let median = f64::midpoint(at(middle / 2), at(middle.div_ceil(2)));
        Self { count: values.len(), p10: percentile(10), median, p90: percentile(90) }
    }

    /// The spread of durations, in milliseconds.
    pub(super) fn millis(values: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(values.into_iter().map(|value| value.as_secs_f64() * 1000.0))
    }
}

impl Display for Spread {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(2);
        let shown = |value: f64| format!("{value:.digits$}");
        let (p10, median, p90) = (shown(self.p10), shown(self.median), shown(self.p90));
        if p10 == median && median == p90 {
            formatter.write_str(&median)
        } else {
            write!(formatter, "{median} ({p10}..{p90})")
        }
    }
}

/// A count as it is calculated with.
#[allow(clippy::cast_precision_loss, reason = "what is counted here is far below 2^52")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_a_series_does_not_depend_on_its_order() {
        let spread = Spread::of((0..=100).rev().map(f64::from));
        assert_eq!(spread.to_string(), "50.00 (10.00..90.00)");
        assert_eq!(spread.count, 101);
        assert_eq!(format!("{spread:.0}"), "50 (10..90)");
        assert_eq!(Spread::millis([Duration::from_micros(1500)]).to_string(), "1.50");
        assert_eq!(format!("{:.1}", Spread::of([2.0, 1.0])), "1.5 (1.0..2.0)");
        assert_eq!(Spread::of([]).count, 0);
    }
}
