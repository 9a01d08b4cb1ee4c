use std::fmt::Write;

use serde::Serialize;

use super::load::{ClusterLoad, Measurement};
use crate::plot::Row;
use crate::statistics::median;

/// The outcome of one load: medians of interleaved runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// The load of the runs.
    load: ClusterLoad,
    /// The two sides that are compared: ours, and the reference. Pairs below are in this order.
    sides: [&'static str; 2],
    /// The size of a message on the bus.
    bytes_on_the_bus: usize,
    programs: Vec<ProgramCost>,
    /// The latency from client to client, in milliseconds. Known of a steady load only.
    took: Option<[DeliveryTime; 2]>,
    /// Messages a second.
    per_second: [f64; 2],
    /// Messages lost or out of order, in all runs of both.
    faults: u64,
}

/// The costs of one program.
#[derive(Clone, Debug, Serialize)]
struct ProgramCost {
    name: &'static str,
    /// CPU µs for each message.
    micros: [f64; 2],
    /// Ours to the other's: the median of the ratios of runs that followed each other.
    ratio: f64,
    /// The smallest and the largest of them.
    between: [f64; 2],
    /// The highest ratio allowed, if there is a limit.
    bar: Option<f64>,
    /// CPU µs for each message, by run.
    runs: [Vec<f64>; 2],
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct DeliveryTime {
    p50: f64,
    p99: f64,
}

impl Comparison {
    /// Sums up the runs of both sides.
    pub(super) fn new(load: ClusterLoad, bytes_on_the_bus: usize, runs: &[Vec<Measurement>; 2]) -> Comparison {
        let of = |value: &dyn Fn(&Measurement) -> f64| [0, 1].map(|side: usize| median(runs[side].iter().map(value)));
        let ([p50, bare_p50], [p99, bare_p99]) = (of(&|run| run.took(500)), of(&|run| run.took(990)));
        let programs = load.programs().iter().enumerate();
        Comparison {
            load,
            sides: load.sides(),
            bytes_on_the_bus,
            programs: programs.map(|(index, &(name, bar))| ProgramCost::new(name, bar, index, runs)).collect(),
            took: (!p50.is_nan()).then_some([DeliveryTime { p50, p99 }, DeliveryTime { p50: bare_p50, p99: bare_p99 }]),
            per_second: of(&Measurement::rate),
            faults: runs.iter().flatten().map(|run| run.lost + run.out_of_order).sum(),
        }
    }
}

impl ProgramCost {
    fn new(name: &'static str, bar: Option<f64>, index: usize, runs: &[Vec<Measurement>; 2]) -> ProgramCost {
        let runs = [0, 1].map(|side: usize| runs[side].iter().map(|run| run.micros(index)).collect::<Vec<_>>());
        let ratios: Vec<_> = runs[0].iter().zip(&runs[1]).map(|(ours, other)| ours / other).collect();
        ProgramCost {
            name,
            micros: [0, 1].map(|side: usize| median(runs[side].iter().copied())),
            ratio: median(ratios.iter().copied()),
            between: [ratios.iter().copied().fold(f64::MAX, f64::min), ratios.iter().copied().fold(0.0, f64::max)],
            bar,
            runs,
        }
    }
}

impl Comparison {
    /// The comparison as a few lines for people.
    pub(crate) fn text(&self) -> String {
        let [ours, other] = self.sides;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:?}: CPU for each message, {ours} and {other}", self.load);
        for ProgramCost { name, micros, ratio, between, bar, .. } in &self.programs {
            let bar = bar.map(|bar| format!(", bar {bar}x")).unwrap_or_default();
            let _ = writeln!(
                text,
                "  {name:<9} {:>6.2} us, {:>6.2} us: {ratio:.2}x ({:.2} to {:.2}x between runs{bar})",
                micros[0], micros[1], between[0], between[1],
            );
        }
        if let Some([ours, other]) = self.took {
            let _ = writeln!(
                text,
                "  on its way for {:.2} ms, {:.2} ms; one of a hundred for {:.2} ms, {:.2} ms or more",
                ours.p50, other.p50, ours.p99, other.p99,
            );
        }
        let [ours, other] = self.per_second;
        let _ = writeln!(
            text,
            "  {ours:.0} messages/s, {other:.0} messages/s, of {} bytes on the bus",
            self.bytes_on_the_bus
        );
        let _ = write!(text, "  lost or out of order: {}", self.faults);
        text
    }

    /// All runs, to be drawn.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let sides = |program: &ProgramCost| {
            [0, 1].map(|side: usize| Row {
                name: format!("{:?} {}, {}", self.load, program.name, self.sides[side]),
                ours: side == 0,
                micros: program.runs[side].clone(),
            })
        };
        self.programs.iter().flat_map(sides).collect()
    }

    /// Messages lost or out of order, in all runs.
    pub(crate) fn faults(&self) -> u64 {
        self.faults
    }

    /// The first program whose cost exceeds its bar, if there is one.
    pub(crate) fn excess(&self) -> Option<String> {
        let above = self.programs.iter().find(|program| program.bar.is_some_and(|bar| program.ratio > bar))?;
        let ProgramCost { name, ratio, bar, .. } = above;
        Some(format!("{:?}: {name} costs {ratio:.2}x, more than {}x", self.load, bar.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::Cpu;

    /// A run of a hundred messages that cost `micros` each.
    fn run(micros: [f64; 3], lost: u64) -> Measurement {
        let cpu = micros.map(|micros| Cpu { total: micros * 100.0 / 1e6, user: 0.0 });
        let took = (1..=100).map(Duration::from_millis).collect();
        Measurement { messages: 100, lost, out_of_order: 0, cpu: cpu.to_vec(), seconds: 0.5, took, rss: 0 }
    }

    fn report(ours: &[[f64; 3]], bare: &[[f64; 3]]) -> Comparison {
        let runs = [ours, bare].map(|runs| runs.iter().map(|micros| run(*micros, 0)).collect());
        Comparison::new(ClusterLoad::Steady, 600, &runs)
    }

    #[test]
    fn ratios_are_those_of_runs_that_followed_each_other() {
        let report = report(&[[2.0; 3], [30.0; 3], [4.0; 3]], &[[1.0; 3], [20.0; 3], [1.0; 3]]);
        let publisher = &report.programs[0];
        assert!((publisher.ratio - 2.0).abs() < 1e-9, "{publisher:?}");
        assert!((publisher.micros[0] - 4.0).abs() < 1e-9 && (publisher.micros[1] - 1.0).abs() < 1e-9, "{publisher:?}");
        assert!(
            (publisher.between[0] - 1.5).abs() < 1e-9 && (publisher.between[1] - 4.0).abs() < 1e-9,
            "{publisher:?}"
        );
    }

    #[test]
    fn a_program_above_its_bar_is_named() {
        assert_eq!(report(&[[1.9, 1.9, 1.1]], &[[1.0; 3]]).excess(), None);
        let excess = report(&[[1.9, 1.9, 1.3]], &[[1.0; 3]]).excess();
        assert_eq!(excess.as_deref(), Some("Steady: Redis costs 1.30x, more than 1.2x"));
    }

    #[test]
    fn latency_is_shown_in_milliseconds_and_losses_are_counted() {
        let report = Comparison::new(ClusterLoad::Steady, 600, &[vec![run([1.0; 3], 2)], vec![run([1.0; 3], 0)]]);
        let took = report.took.expect("a steady load").map(|took| (took.p50, took.p99));
        assert_eq!((took, report.faults()), ([(51.0, 100.0); 2], 2));
    }
}
