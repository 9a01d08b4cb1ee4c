//! The measured values of one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load::Latency;

/// One run of a scenario against a server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Sample {
    /// The round of the run: ratios are those of one round.
    pub(crate) round: usize,
    /// The main quantity of the scenario.
    pub(crate) figure: f64,
    /// The number of messages or connections.
    pub(crate) count: u64,
    /// The measured time, in seconds.
    pub(crate) seconds: f64,
    /// CPU time of the server in that time, in seconds: all of it, and its part in user mode.
    pub(crate) cpu: f64,
    pub(crate) user: f64,
    pub(crate) latency: Option<Latency>,
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    /// Resident memory of the server at the end, and its peak, in bytes.
    pub(crate) rss: u64,
    pub(crate) peak_rss: u64,
    /// Further quantities by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) further: BTreeMap<String, f64>,
}
