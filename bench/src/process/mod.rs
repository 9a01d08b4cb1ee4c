//! The measured programs, each a child process on a core that it does not share with the load.

mod cpu;
mod redis;
mod server;

use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Command, Stdio};

pub(crate) use cpu::Cpu;
pub(crate) use redis::Redis;
pub(crate) use server::{ServerProcess, rss_of};

/// A child that is killed when this is dropped.
pub(crate) struct ChildProcess(pub(crate) Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the calling thread precedence over all others of its core. Returns `false` if the system does not allow it, which takes
/// the capability `CAP_SYS_NICE`.
pub(crate) fn take_precedence() -> bool {
    // The link is `PID/task/TID`.
    let Ok(thread) = fs::read_link("/proc/thread-self") else { return false };
    let Some(thread) = thread.file_name() else { return false };
    let mut command = Command::new("chrt");
    command.args(["--fifo", "--pid", "1"]).arg(thread).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A command that runs on `core` alone, if it is one.
fn pinned(program: impl AsRef<OsStr>, core: Option<usize>) -> Command {
    let Some(core) = core else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}
