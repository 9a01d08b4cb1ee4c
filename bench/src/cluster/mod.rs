//! The cost of a message from a client of one node to a client of another, beside two processes that use the client library
//! of Redis and nothing else; and the cost of a bus for messages within one node.

mod fixture;
mod frame;
mod load;
mod report;

use anyhow::Result;

pub(crate) use fixture::{BusForm, Fixture};
use frame::BusFrame;
pub(crate) use load::{ClusterLoad, Measurement};
pub(crate) use report::Comparison;

use crate::plan::Plan;

/// Runs both sides under this load, one after the other.
pub(crate) fn measure(load: ClusterLoad, form: BusForm, plan: &Plan) -> Result<Comparison> {
    let (contract, core) = (&plan.programs.contract, plan.core);
    let frame = BusFrame::of_nodes(contract, form)?;
    let runs = plan.interleave(&format!("{load:?}"), load.sides(), |side| {
        let fixture = match (load, side) {
            (ClusterLoad::Local, 0) => Fixture::single(contract, core),
            (ClusterLoad::Local, _) => Fixture::without_bus(contract, core),
            (_, 0) => Fixture::ours(contract, core, form),
            (_, _) => Fixture::bare_with(&plan.programs.bare, core, &frame),
        };
        load.run(fixture?, plan.lasting)
    })?;
    Ok(Comparison::new(load, frame.size(), &runs))
}

impl ClusterLoad {
    /// The two sides that are compared: ours, and the reference.
    fn sides(self) -> [&'static str; 2] {
        if self == ClusterLoad::Local { ["bus", "none"] } else { ["ours", "bare"] }
    }

    /// The programs that both sides have, and what ours may cost at the most as a ratio to the other's.
    ///
    /// Only a steady load has bars. Under the others each read and write carries many messages, which both sides do alike,
    /// and what is left compares a server with a few lines that do not even look at what they carry.
    fn programs(self) -> &'static [(&'static str, Option<f64>)] {
        match self {
            ClusterLoad::Steady => &[("publisher", Some(2.0)), ("receiver", Some(2.0)), ("Redis", Some(1.2))],
            ClusterLoad::Flood | ClusterLoad::Channels => &[("publisher", None), ("receiver", None), ("Redis", None)],
            ClusterLoad::Local => &[("node", None)],
        }
    }
}
