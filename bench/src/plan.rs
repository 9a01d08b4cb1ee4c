use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;

/// The plan of a comparison: its programs, the core that they run on, the number of runs and their duration.
pub(crate) struct Plan {
    pub(crate) programs: Programs,
    /// The core of the measured programs, if there are two. The load has another core.
    pub(crate) core: Option<usize>,
    pub(crate) repeats: usize,
    pub(crate) lasting: Duration,
    pub(crate) progress: ProgressBar,
}

/// The paths of the programs.
pub(crate) struct Programs {
    /// Their folder.
    pub(crate) folder: PathBuf,
    /// The contract server.
    pub(crate) contract: PathBuf,
    /// The minimum that connects two processes over Redis.
    pub(crate) bare: PathBuf,
    /// The program that runs.
    pub(crate) runner: PathBuf,
}

impl Plan {
    /// Runs ours and the reference in turn, so that other work on the machine affects both.
    pub(crate) fn interleave<R>(
        &self,
        what: &str,
        sides: [&str; 2],
        run: impl Fn(usize) -> Result<R>,
    ) -> Result<[Vec<R>; 2]> {
        let mut runs = [Vec::new(), Vec::new()];
        for repeat in 1..=self.repeats {
            for side in 0..2 {
                self.progress.set_message(format!("{what}, {}, {repeat} of {}", sides[side], self.repeats));
                runs[side].push(run(side)?);
                self.progress.inc(1);
            }
        }
        Ok(runs)
    }
}
