//! Charts of results: a panel for each scenario, a row for each server.

use std::fmt::Write;

use super::format::number;
use super::result::{Entry, Outcome, Results};
use super::server::{LIMIT, OURS};
use crate::plot::STYLE;

const WIDTH: f64 = 1240.0;
const PANEL: f64 = 600.0;
/// The width of names, and that of bars.
const NAMES: f64 = 126.0;
const BARS: f64 = 330.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 52.0;

/// The costs of each server: a bar for the median, a dot for each round.
pub(super) fn costs(results: &Results) -> String {
    let outcomes: Vec<&Outcome> = results.outcomes.iter().collect();
    let title = format!(
        "Cost of each server ({}, rounds: {}). Bar: median; dots: rounds; dashed line: limit",
        results.machine.date, results.repeats
    );
    sheet(
        &title,
        &outcomes,
        |outcome| outcome.unit.clone(),
        |out, outcome, rows| {
            let figures = rows.iter().flat_map(|entry| entry.samples.iter().map(|sample| sample.figure));
            let most = figures.fold(0.0, f64::max).max(1e-9);
            let x = |value: f64| NAMES + value.max(0.0) / most * BARS;
            if let Some(limit) = outcome.entry(LIMIT).filter(|limit| outcome.has_ratios() && !limit.samples.is_empty())
            {
                let (at, bottom) = (x(limit.median(|sample| sample.figure)), HEAD + rows.len() as f64 * ROW - 4.0);
                line(out, at, HEAD - 4.0, at, bottom, r#"class="grid" stroke-dasharray="3 3""#);
            }
            for (index, entry) in rows.iter().enumerate() {
                let y = HEAD + index as f64 * ROW;
                let (median, colour) = (entry.median(|sample| sample.figure), colour(&entry.server));
                let width = (x(median) - NAMES).max(1.0);
                let _ = writeln!(
                    out,
                    r#"<rect x="{NAMES}" y="{y}" width="{width:.1}" height="12" fill="{colour}" opacity="0.75"/>"#
                );
                for sample in &entry.samples {
                    let _ = writeln!(
                        out,
                        r#"<circle class="dot" cx="{:.1}" cy="{}" r="2.2" opacity="0.55"/>"#,
                        x(sample.figure),
                        y + 6.0
                    );
                }
                label(out, NAMES + BARS + 12.0, y + 10.0, "start", &number(median));
                if let Some(ratio) = outcome.ratio(entry) {
                    label(out, NAMES + BARS + 64.0, y + 10.0, "start", &format!("{}×", number(ratio.median)));
                }
            }
        },
    )
}

/// The latencies of each server: a line from the median to p99.9, with a mark at p99.
pub(super) fn latencies(results: &Results) -> String {
    let known = |outcome: &&Outcome| outcome.entries.iter().any(|entry| entry.latency().is_some());
    let outcomes: Vec<&Outcome> = results.outcomes.iter().filter(known).collect();
    let title = format!("Latency in ms, logarithmic ({}). Bar: from p50 to p99.9; mark: p99", results.machine.date);
    sheet(
        &title,
        &outcomes,
        |_| "p50 / p99 in ms".to_owned(),
        |out, _, rows| {
            let all: Vec<_> = rows.iter().filter_map(|entry| entry.latency()).collect();
            let least = all.iter().map(|latency| latency.p50).fold(f64::MAX, f64::min).max(0.001);
            let most = all.iter().map(|latency| latency.p999).fold(0.0, f64::max);
            let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
            let x = |value: f64| NAMES + (value.max(0.001).log10() - low).max(0.0) / (high - low) * BARS;
            let bottom = HEAD + rows.len() as f64 * ROW - 4.0;
            for power in low as i32..=high as i32 {
                let (at, value) = (x(10f64.powi(power)), 10f64.powi(power));
                line(out, at, HEAD - 4.0, at, bottom, r#"class="grid""#);
                label(out, at, HEAD - 7.0, "middle", &format!("{value}"));
            }
            for (index, entry) in rows.iter().enumerate() {
                let (y, colour) = (HEAD + index as f64 * ROW + 6.0, colour(&entry.server));
                let Some(latency) = entry.latency() else { continue };
                let (from, mark, to) = (x(latency.p50), x(latency.p99), x(latency.p999).max(x(latency.p50) + 2.0));
                let range = format!(r#"stroke="{colour}" stroke-width="5" stroke-linecap="round" opacity="0.6""#);
                line(out, from, y, to, y, &range);
                line(out, mark, y - 6.0, mark, y + 6.0, &format!(r#"stroke="{colour}" stroke-width="3""#));
                label(
                    out,
                    NAMES + BARS + 12.0,
                    y + 4.0,
                    "start",
                    &format!("{} / {}", number(latency.p50), number(latency.p99)),
                );
            }
        },
    )
}

/// Panels in two columns, filled one after the other so that both are about as long.
fn sheet(
    title: &str,
    outcomes: &[&Outcome],
    unit: impl Fn(&Outcome) -> String,
    draw: impl Fn(&mut String, &Outcome, &[&Entry]),
) -> String {
    let mut bottoms = [56.0, 56.0];
    let mut body = String::new();
    for outcome in outcomes {
        let rows: Vec<&Entry> = outcome.entries.iter().filter(|entry| !entry.samples.is_empty()).collect();
        if rows.is_empty() {
            continue;
        }
        let column = usize::from(bottoms[1] < bottoms[0]);
        let _ = writeln!(
            body,
            r#"<g transform="translate({},{})">"#,
            20.0 + column as f64 * (PANEL + 10.0),
            bottoms[column]
        );
        let _ = writeln!(
            body,
            r#"<text x="0" y="14" font-weight="bold" font-size="13">{}</text>"#,
            escaped(&outcome.scenario)
        );
        let _ = writeln!(
            body,
            r#"<text class="muted" x="0" y="29" font-size="11">{}; {}</text>"#,
            escaped(&outcome.about),
            escaped(&unit(outcome))
        );
        for (index, entry) in rows.iter().enumerate() {
            label(&mut body, NAMES - 6.0, HEAD + index as f64 * ROW + 10.0, "end", &entry.server);
        }
        draw(&mut body, outcome, &rows);
        body.push_str("</g>\n");
        bottoms[column] += HEAD + rows.len() as f64 * ROW + 16.0;
    }
    let height = bottoms[0].max(bottoms[1]);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">
{STYLE}<rect class="page" width="{WIDTH}" height="{height}"/>
<text x="20" y="32" font-size="16">{}</text>
{body}</svg>
"#,
        escaped(title)
    )
}

fn colour(server: &str) -> &'static str {
    match server {
        name if name.starts_with(OURS) => "#0a8f6a",
        name if name.starts_with(LIMIT) => "#8a8a8a",
        "pondsocket" => "#c77d2b",
        "socketioxide" => "#b5544f",
        "socket.io" => "#7a5bb0",
        "ws" => "#4f7fc0",
        _ => "#3c9fb5",
    }
}

fn line(out: &mut String, x1: f64, y1: f64, x2: f64, y2: f64, style: &str) {
    let _ = writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#);
}

fn label(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escaped(text));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::machine::Machine;
    use super::super::sample::Sample;
    use super::*;
    use crate::load::Latency;

    #[test]
    fn every_round_is_a_dot_and_the_median_stands_beside_its_bar() {
        let latency = Some(Latency { p50: 1.0, p90: 2.0, p99: 4.0, p999: 8.0, max: 9.0 });
        let samples = [1.0, 3.0].map(|figure| Sample { figure, latency, ..Sample::default() });
        let entry = Entry { server: "a<b".into(), blank: None, samples: samples.to_vec(), failures: Vec::new() };
        let outcome = Outcome { scenario: "x".into(), about: "y".into(), unit: "z".into(), entries: vec![entry] };
        let mut results = Results::new(Machine::default(), 2, Duration::from_secs(1), 1);
        results.outcomes.push(outcome);
        let picture = costs(&results);
        assert_eq!(picture.matches("<circle").count(), 2);
        assert!(picture.contains(">2.00</text>") && picture.contains("a&lt;b"), "{picture}");
        assert!(latencies(&results).contains(">1.00 / 4.00</text>"));
    }
}
