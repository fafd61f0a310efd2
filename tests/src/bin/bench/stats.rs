//! Medians, quartiles and percentiles.

use std::fmt;

/// The middle half of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
    /// Size of the sample.
    pub(crate) count: usize,
}

impl Quartiles {
    pub(crate) fn of(mut sample: Vec<f64>) -> Self {
        sample.sort_by(f64::total_cmp);
        Self {
            low: at(&sample, 0.25),
            median: at(&sample, 0.5),
            high: at(&sample, 0.75),
            count: sample.len(),
        }
    }
}

impl Quartiles {
    /// Half the width of the interval that has the true median with a probability of 95 %: 1.82 quartile ranges by the
    /// root of the sample's size, for a sample like the normal distribution.
    pub(crate) fn uncertainty(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { 1.82 * (self.high - self.low) / (self.count as f64).sqrt() }
    }
}

/// Median, and the quartiles in brackets.
impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        write!(f, "{:.digits$} ({:.digits$} .. {:.digits$})", self.median, self.low, self.high)
    }
}

/// The value below which the given share of the sample lies.
pub(crate) fn percentile(sample: &mut [f64], share: f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    at(sample, share)
}

fn at(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    sorted[(last as f64 * share).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_do_not_depend_on_the_order() {
        let quartiles = Quartiles::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(quartiles, Quartiles { low: 2.0, median: 3.0, high: 4.0, count: 5 });
        assert_eq!(format!("{quartiles:.1}"), "3.0 (2.0 .. 4.0)");
    }

    #[test]
    fn more_samples_make_the_median_more_certain() {
        let few = Quartiles::of((0..100).map(f64::from).collect());
        let many = Quartiles::of((0..10_000).map(|idx| f64::from(idx) / 100.0).collect());
        assert!((few.uncertainty() / many.uncertainty() - 10.0).abs() < 0.2, "{few:?} {many:?}");
    }

    #[test]
    fn nothing_measured_is_not_a_number() {
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }
}
