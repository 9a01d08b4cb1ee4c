//! The page of results, as Markdown.

use std::fmt::Write;

use super::bars;
use super::format::{cell, number};
use super::result::{Entry, Outcome, Results};
use super::server::SERVERS;

/// The page. Its charts are files beside it.
pub(super) fn page(results: &Results) -> String {
    let mut page = String::new();
    let machine = &results.machine;
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# Benchmarks of {}\n", machine.date);
    if let Some(note) = &results.note {
        let _ = writeln!(page, "{note}\n");
    }
    let _ = writeln!(
        page,
        "{} cores ({}), {} GiB, Linux {}. {}. Commit `{}`. Load average {:.1} before and {:.1} after. Rounds: at most {}, of {} s each, \
         in shuffled order (seed {}); servers on core 0, the load on core 1.\n",
        machine.cores,
        machine.cpu,
        machine.memory_gib,
        machine.kernel,
        machine.versions.join(", "),
        machine.commit,
        machine.load_before,
        machine.load_after,
        results.repeats,
        results.seconds,
        results.seed,
    );
    let _ = writeln!(
        page,
        "All values are medians over the runs. A ratio is the median of the ratios to `limit` in the same round, with the \
         smallest and the largest. Latencies count from the time at which a message was due. [bench/README.md](../../bench/README.md) \
         describes the method and the commands.\n"
    );
    let _ = writeln!(page, "![cost of each server in each scenario]({}-cost.svg)\n", machine.date);
    let _ = writeln!(page, "![latency of each server in each scenario]({}-latency.svg)\n", machine.date);
    let _ = writeln!(
        page,
        "## Bars\n\nThe bars are the goals of this project. Of the two allocators one has to meet them.\n"
    );
    let _ = writeln!(page, "{}", bars::markdown(&results.bars()));
    overview(&mut page, results);
    let _ = writeln!(page, "## Servers\n\n| name | |\n|---|---|");
    for server in SERVERS {
        let _ = writeln!(page, "| {} | {} |", server.name, server.about);
    }
    let _ = writeln!(page, "\n## Scenarios\n");
    results.outcomes.iter().for_each(|outcome| table(&mut page, outcome));
    page
}

/// One table of all scenarios and servers.
fn overview(page: &mut String, results: &Results) {
    let _ = writeln!(
        page,
        "## Overview\n\nThe main quantity of each scenario, and its ratio to `limit`. The tables of the scenarios below say why a \
         server is missing.\n"
    );
    let servers: Vec<&str> = SERVERS.iter().map(|server| server.name).collect();
    let takes_part = |name: &&str| {
        let entries = results.outcomes.iter().filter_map(|outcome| outcome.entry(name));
        entries.into_iter().any(|entry| !entry.samples.is_empty())
    };
    let servers: Vec<&str> = servers.into_iter().filter(takes_part).collect();
    let _ = writeln!(page, "| scenario | | {} |\n|---|---{}|", servers.join(" | "), "|---".repeat(servers.len()));
    for outcome in &results.outcomes {
        let _ = write!(page, "| `{}` | {} |", outcome.scenario, outcome.unit);
        for server in &servers {
            let entry = outcome.entry(server).filter(|entry| !entry.samples.is_empty());
            let Some(entry) = entry else {
                page.push_str(" |");
                continue;
            };
            let _ = write!(page, " {}", number(entry.median(|sample| sample.figure)));
            if let Some(ratio) = outcome.ratio(entry) {
                let _ = write!(page, " ({}×)", number(ratio.median));
            }
            page.push_str(" |");
        }
        page.push('\n');
    }
    page.push('\n');
}

fn table(page: &mut String, outcome: &Outcome) {
    let _ = writeln!(page, "### {}\n\n{}.\n", outcome.scenario, outcome.about);
    let latency = outcome.entries.iter().any(|entry| entry.latency().is_some());
    let ratio = outcome.has_ratios();
    let mut head = format!("| server | runs | {} |", outcome.unit);
    head += if ratio { " ratio | user mode |" } else { "" };
    head += " a second |";
    head += if latency { " p50, p90, p99, p99.9 ms | lost | out of order |" } else { "" };
    head += " peak RSS | |";
    let columns = head.matches('|').count() - 1;
    let _ = writeln!(page, "{head}\n{}|", "|---".repeat(columns));
    for entry in outcome.shown() {
        match entry.samples.is_empty() {
            true => {
                let why = entry.blank.as_deref().or(entry.failures.first().map(String::as_str)).unwrap_or("not run");
                let _ = writeln!(page, "| {} |{} {} |", entry.server, " |".repeat(columns - 2), cell(why));
            }
            false => row(page, outcome, entry, ratio, latency),
        }
    }
    let _ = writeln!(page);
}

fn row(page: &mut String, outcome: &Outcome, entry: &Entry, ratio: bool, latency: bool) {
    let figure = number(entry.median(|sample| sample.figure));
    let _ = write!(page, "| {} | {} | {figure} |", entry.server, entry.samples.len());
    if ratio {
        match outcome.ratio(entry) {
            Some(ratio) => {
                let (middle, least, most) = (number(ratio.median), number(ratio.least), number(ratio.most));
                let _ = write!(page, " {middle} ({least} to {most}) |");
            }
            None => page.push_str(" |"),
        }
        let _ = write!(page, " {:.0} % |", entry.user_share());
    }
    let _ = write!(page, " {:.0} |", entry.rate());
    if latency {
        match entry.latency() {
            Some(latency) => {
                let [p50, p90, p99, p999] = [latency.p50, latency.p90, latency.p99, latency.p999].map(number);
                let _ = write!(page, " {p50}, {p90}, {p99}, {p999} |");
            }
            None => page.push_str(" |"),
        }
        let (lost, out_of_order) = entry.faults();
        let _ = write!(page, " {lost} | {out_of_order} |");
    }
    let further = entry.further().into_iter().map(|(name, value)| format!("{name}: {}", number(value)));
    let failed = entry.failures.first().map(|why| format!("{} runs failed: {why}", entry.failures.len()));
    let notes = further.chain(failed).collect::<Vec<_>>().join("; ");
    let _ = writeln!(page, " {:.1} MB | {} |", entry.rss() / 1e6, cell(&notes));
}
