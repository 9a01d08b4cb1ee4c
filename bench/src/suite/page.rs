//! A page of results, as Markdown.

use std::fmt::Write;

use super::result::{Contender, Outcome, Results, Verdict};
use super::server::SERVERS;

/// The page. Its pictures lie beside it.
pub(super) fn page(results: &Results) -> String {
    let mut page = String::new();
    let machine = &results.machine;
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# Benchmarks of {}\n", machine.date);
    let _ = writeln!(
        page,
        "{} cores ({}), {} GiB, Linux {}. {}. Commit `{}`. Load average {:.1} before and {:.1} after. {} rounds of {} s in \
         shuffled order (seed {}); servers on core 0, the load on core 1.\n",
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
        "Figures are medians over the rounds. *Ratio* is the median of the ratios to `limit` in the same round, with the smallest \
         and the largest. Latencies count from when a message was due. What all of it means, and how to run it: \
         [bench/README.md](../../bench/README.md).\n"
    );
    let _ = writeln!(page, "![cost of each server in each scenario]({}-cost.svg)\n", machine.date);
    let _ = writeln!(page, "![latency of each server in each scenario]({}-latency.svg)\n", machine.date);
    bars(&mut page, &results.verdicts());
    let _ = writeln!(page, "## Servers\n\n| name | |\n|---|---|");
    for server in SERVERS {
        let _ = writeln!(page, "| {} | {} |", server.name, server.about);
    }
    let _ = writeln!(page, "\n## Scenarios\n");
    results.outcomes.iter().for_each(|outcome| table(&mut page, outcome));
    page
}

fn bars(page: &mut String, verdicts: &[Verdict]) {
    let _ =
        writeln!(page, "## Bars\n\n| scenario | server | quantity | at most | measured | |\n|---|---|---|---|---|---|");
    for Verdict { scenario, about, of, server, most, found, .. } in verdicts {
        let met = if found <= most { "met" } else { "**missed**" };
        let _ = writeln!(
            page,
            "| `{scenario}`: {about} | {server} | {of} | {} | {} | {met} |",
            number(*most),
            number(*found)
        );
    }
    let _ = writeln!(page);
}

fn table(page: &mut String, outcome: &Outcome) {
    let _ = writeln!(page, "### {}\n\n{}.\n", outcome.scenario, outcome.about);
    let latency = outcome.contenders.iter().any(|contender| contender.latency().is_some());
    let ratio = outcome.has_ratios();
    let mut head = format!("| server | {} |", outcome.unit);
    head += if ratio { " ratio | user mode |" } else { "" };
    head += " a second |";
    head += if latency { " p50, p90, p99, p99.9 ms | lost | out of order |" } else { "" };
    head += " peak RSS | |";
    let columns = head.matches('|').count() - 1;
    let _ = writeln!(page, "{head}\n{}|", "|---".repeat(columns));
    for contender in &outcome.contenders {
        match contender.samples.is_empty() {
            true => {
                let why =
                    contender.blank.as_deref().or(contender.failures.first().map(String::as_str)).unwrap_or("not run");
                let why = why.replace('|', "/").replace('\n', " ").replace('\r', "");
                let _ = writeln!(page, "| {} |{} {why} |", contender.server, " |".repeat(columns - 2));
            }
            false => row(page, outcome, contender, ratio, latency),
        }
    }
    let _ = writeln!(page);
}

fn row(page: &mut String, outcome: &Outcome, contender: &Contender, ratio: bool, latency: bool) {
    let _ = write!(page, "| {} | {} |", contender.server, number(contender.median(|sample| sample.figure)));
    if ratio {
        match outcome.ratio(contender) {
            Some(ratio) => {
                let (middle, least, most) = (number(ratio.median), number(ratio.least), number(ratio.most));
                let _ = write!(page, " {middle} ({least} to {most}) |");
            }
            None => page.push_str(" |"),
        }
        let _ = write!(page, " {:.0} % |", contender.user_share());
    }
    let _ = write!(page, " {:.0} |", contender.rate());
    if latency {
        match contender.latency() {
            Some(latency) => {
                let [p50, p90, p99, p999] = [latency.p50, latency.p90, latency.p99, latency.p999].map(number);
                let _ = write!(page, " {p50}, {p90}, {p99}, {p999} |");
            }
            None => page.push_str(" |"),
        }
        let (lost, disorder) = contender.faults();
        let _ = write!(page, " {lost} | {disorder} |");
    }
    let further = contender.further().into_iter().map(|(name, value)| format!("{name}: {}", number(value)));
    let failed = contender.failures.first().map(|why| format!("{} runs failed: {why}", contender.failures.len()));
    let notes = further.chain(failed).collect::<Vec<_>>().join("; ").replace('|', "/").replace('\n', " ");
    let _ = writeln!(page, " {:.1} MB | {notes} |", contender.rss() / 1e6);
}

/// A number with three digits that matter, at the least.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([number(0.0412), number(1.2345), number(23.45), number(2190.4)], ["0.041", "1.23", "23.4", "2190"]);
    }
}
