use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;

/// The plan of a comparison: its programs, the core that they run on, the number of runs and their duration.
pub(crate) struct Plan {
    pub(crate) programs: Programs,
    /// Programs under measurement run on this core; the load is on another. `None` if there is only one.
    pub(crate) core: Option<usize>,
    pub(crate) repeats: usize,
    pub(crate) lasting: Duration,
    pub(crate) progress: ProgressBar,
}

/// The paths of the programs.
pub(crate) struct Programs {
    /// The folder in which they are.
    pub(crate) folder: PathBuf,
    /// The contract server.
    pub(crate) contract: PathBuf,
    /// The least that joins two processes over Redis.
    pub(crate) bare: PathBuf,
}

impl Plan {
    /// Runs ours and what it is compared with in turn, so that whatever else the machine does meets both.
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
