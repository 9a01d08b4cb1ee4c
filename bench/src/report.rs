//! The results of all runs of a comparison.

use serde_json::Value;

use crate::plot::Row;

/// The outcome of one comparison.
pub(crate) trait Report {
    /// A few lines for people.
    fn text(&self) -> String;
    /// All of it.
    fn json(&self) -> Value;
    /// All runs, to be drawn.
    fn rows(&self) -> Vec<Row>;
    /// Messages lost or out of order, in all runs.
    fn faults(&self) -> u64;
    /// The costs that exceed their bars, if any do.
    fn excess(&self) -> Option<String>;
}

/// The middle one, or what lies between the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few_runs() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
