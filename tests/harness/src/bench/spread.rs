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
        let at = |percent: usize| {
            let index = (values.len().saturating_sub(1) * percent + 50) / 100;
            values.get(index).copied().unwrap_or_default()
        };
        Self { count: values.len(), p10: at(10), median: at(50), p90: at(90) }
    }

    /// The spread of durations, in milliseconds.
    pub(super) fn millis(values: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(values.into_iter().map(|value| value.as_secs_f64() * 1000.0))
    }
}

impl Display for Spread {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.2} ({:.2}..{:.2})", self.median, self.p10, self.p90)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_a_series_does_not_depend_on_its_order() {
        let spread = Spread::of((0..=100).rev().map(f64::from));
        assert_eq!(spread.to_string(), "50.00 (10.00..90.00)");
        assert_eq!(spread.count, 101);
        assert_eq!(Spread::millis([Duration::from_micros(1500)]).to_string(), "1.50 (1.50..1.50)");
        assert_eq!(Spread::of([]).count, 0);
    }
}
