//! Guarantees in figures, such as latencies and rates. Their cases run alone.

mod load;
mod local;
mod return_of_redis;

use crate::case::{FaultCase, Form};

pub(crate) fn cases(form: &Form) -> Vec<FaultCase> {
    let cases = [
        FaultCase::new("10,000 channels", return_of_redis::ten_thousand_channels()),
        FaultCase::new("delivery without Redis", local::delivery_without_redis(form.clone())),
        FaultCase::new("full load", load::slow_nodes_stay_alive(form.clone())),
    ];
    // The last case takes ten minutes.
    let count = form.pick(2, 3);
    cases.into_iter().take(count).map(FaultCase::alone).filter(|case| form.wants(case)).collect()
}
