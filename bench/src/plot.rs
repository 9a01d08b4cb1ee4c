//! A chart of runs: a row for each program and load, a dot for each run, a line at the median.

use std::fmt::Write;

use crate::statistics::median;

/// The runs of one program under one load.
pub(crate) struct Row {
    pub(crate) name: String,
    /// `true` for our server.
    pub(crate) ours: bool,
    /// µs of CPU time for each message or delivery, by run.
    pub(crate) micros: Vec<f64>,
}

/// The colours of a chart, also for readers who prefer dark pages.
pub(crate) const STYLE: &str = "<style>
.page { fill: #fff } text { fill: #1f2328 } .muted { fill: #59636e } .grid { stroke: #c8d1da } .dot { fill: #1f2328 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } text { fill: #e6edf3 } .muted { fill: #9198a1 } .grid { stroke: #3d444d } .dot { fill: #f0f6fc }
}
</style>
";

/// The chart, as SVG.
pub(crate) fn svg(rows: &[Row]) -> String {
    let most = rows.iter().flat_map(|row| &row.micros).copied().fold(0.0, f64::max);
    let height = 80 + rows.len() * 28;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" font-family="sans-serif" font-size="13">
{STYLE}<rect class="page" width="800" height="{height}"/>
<text x="20" y="28" font-size="16">CPU µs per message: each run, and the median</text>
"#
    );
    rows.iter()
        .enumerate()
        .for_each(|(index, row)| row.draw(&mut out, 64 + index * 28, |micros| 200.0 + micros / most * 540.0));
    out.push_str("</svg>\n");
    out
}

impl Row {
    fn draw(&self, out: &mut String, y: usize, x: impl Fn(f64) -> f64) {
        let colour = if self.ours { "#0a7" } else { "#888" };
        let (median, top, bottom) = (median(self.micros.iter().copied()), y - 9, y + 9);
        let (at, beside, above) = (x(median), x(median) + 6.0, y - 6);
        // Writing to a String cannot fail.
        let _ = writeln!(out, r#"<text x="20" y="{}">{}</text>"#, y + 4, self.name);
        let _ = writeln!(out, r#"<line class="grid" x1="200" y1="{y}" x2="740" y2="{y}"/>"#);
        for micros in &self.micros {
            let _ = writeln!(out, r#"<circle cx="{:.1}" cy="{y}" r="4" fill="{colour}" opacity="0.6"/>"#, x(*micros));
        }
        let _ = writeln!(
            out,
            r#"<line x1="{at:.1}" y1="{top}" x2="{at:.1}" y2="{bottom}" stroke="{colour}" stroke-width="2"/>"#
        );
        let _ = writeln!(out, r#"<text x="{beside:.1}" y="{above}">{median:.2}</text>"#);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_a_dot_on_the_row_of_its_program() {
        let row = |name: &str, ours, micros: &[f64]| Row { name: name.into(), ours, micros: micros.to_vec() };
        let picture = svg(&[row("node", true, &[1.0, 2.0]), row("limit", false, &[4.0])]);
        for dot in [r#"cx="335.0" cy="64""#, r#"cx="470.0" cy="64""#, r#"cx="740.0" cy="92""#] {
            assert!(picture.contains(dot), "{dot} in {picture}");
        }
        assert!(picture.contains(">1.50</text>"), "{picture}");
    }
}
