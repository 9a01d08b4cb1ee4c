use std::fs;

use anyhow::{Context, Result};

/// Linux counts the parts of CPU time in hundredths of a second for `/proc`.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// All of it.
    pub(crate) total: f64,
    /// In the program itself, rather than in the kernel for it; rougher than the total.
    pub(crate) user: f64,
}

impl Cpu {
    /// The CPU time that a process has spent so far, in those of its threads that have not ended.
    pub(super) fn of(pid: u32) -> Result<Cpu> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field, the name, may contain anything: count from behind it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = fields.get(11).context("a short stat line")?.parse::<f64>()?;
        Ok(Cpu { total: on_cpu(pid)?, user: ticks / TICKS_PER_SECOND })
    }

    /// The sum of two processes.
    pub(crate) fn plus(self, other: Cpu) -> Cpu {
        Cpu { total: self.total + other.total, user: self.user + other.user }
    }

    /// The CPU time spent since `before`.
    pub(crate) fn since(self, before: Cpu) -> Cpu {
        Cpu { total: self.total - before.total, user: self.user - before.user }
    }
}

/// The time that threads of a process were on a CPU, in seconds, to the nanosecond.
fn on_cpu(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may have ended meanwhile.
        let Ok(line) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += line.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}
