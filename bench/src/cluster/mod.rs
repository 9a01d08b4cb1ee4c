//! The costs of a message that goes from a client of one node to a client of another, against two processes that use
//! the client library of Redis and nothing else; and what a node with a bus pays although nobody elsewhere listens.

mod fixture;
mod frame;
mod load;
mod report;

use anyhow::Result;

use fixture::Fixture;
use frame::Frame;
pub(crate) use load::Load;
pub(crate) use report::Report;

use crate::plan::Plan;

/// Runs both sides in turn under this load.
pub(crate) fn measure(load: Load, plan: &Plan) -> Result<Report> {
    let (contract, core) = (&plan.programs.contract, plan.core);
    let frame = Frame::of_nodes(contract)?;
    let runs = plan.interleave(&format!("{load:?}"), load.sides(), |side| {
        let fixture = match (load, side) {
            (Load::Local, 0) => Fixture::lonely(contract, core),
            (Load::Local, _) => Fixture::without_bus(contract, core),
            (_, 0) => Fixture::ours(contract, core),
            (_, _) => Fixture::bare(&plan.programs.bare, core, &frame),
        };
        load.run(fixture?, plan.lasting)
    })?;
    Ok(Report::new(load, frame.size(), &runs))
}

impl Load {
    /// The two sides that are compared: ours, and the reference.
    fn sides(self) -> [&'static str; 2] {
        if self == Load::Local { ["bus", "none"] } else { ["ours", "bare"] }
    }

    /// The programs that both sides have, and what ours may cost at the most as a ratio to the other's.
    ///
    /// Only a steady load has bars. Under the others each read and write carries many messages, which both sides do alike,
    /// and what is left compares a server with a few lines that do not even look at what they carry.
    fn programs(self) -> &'static [(&'static str, Option<f64>)] {
        match self {
            Load::Steady => &[("publisher", Some(2.0)), ("receiver", Some(2.0)), ("Redis", Some(1.2))],
            Load::Flood | Load::Channels => &[("publisher", None), ("receiver", None), ("Redis", None)],
            Load::Local => &[("node", None)],
        }
    }
}
