//! The costs of a delivery: our server against the least that the protocol allows.

mod report;
mod scenario;

use anyhow::Result;

pub(crate) use report::Report;
pub(crate) use scenario::Scenario;

use crate::plan::Plan;

/// Runs both servers in turn under this load.
pub(crate) fn measure(scenario: Scenario, plan: &Plan) -> Result<Report> {
    let programs = [&plan.programs.contract, &plan.programs.limit];
    let run = |side: usize| scenario.run(programs[side], plan.core, plan.lasting);
    let [ours, limit] = plan.interleave(&format!("{scenario:?}"), ["ours", "limit"], run)?;
    Ok(Report::new(scenario, &ours, &limit))
}
