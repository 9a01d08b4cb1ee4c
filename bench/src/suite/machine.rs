//! The machine on which a run was made.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The machine, and the versions of what was measured.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Machine {
    /// The day, as year, month and day.
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Compilers and runtimes.
    pub(crate) versions: Vec<String>,
    /// The commit of the project.
    pub(crate) commit: String,
    /// The load average over a minute, before and after.
    pub(crate) load_before: f64,
    pub(crate) load_after: f64,
}

impl Machine {
    /// Reads the data of this machine.
    pub(crate) fn detect() -> Result<Machine> {
        let field = |file: &str, key: &str| -> Result<String> {
            let text = fs::read_to_string(file)?;
            let line = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
            Ok(line.map_or("unknown", |(_, value)| value.trim()).to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal")?;
        let kib: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let tools = [("rustc", "--version"), ("node", "--version"), ("go", "version")];
        Ok(Machine {
            date: output_of("date", &["+%F"]),
            cpu: field("/proc/cpuinfo", "model name")?,
            // The standard library returns the parallelism of this process, which is pinned to one core.
            cores: fs::read_to_string("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: kib / 1024 / 1024 + 1,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            versions: tools.iter().map(|(tool, how)| format!("{tool}: {}", output_of(tool, &[how]))).collect(),
            commit: output_of("git", &["rev-parse", "--short", "HEAD"]),
            load_before: load()?,
            load_after: 0.0,
        })
    }
}

/// The load average over the last minute.
pub(super) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or_default())
}

/// Returns `true` if `redis-server` is installed.
pub(super) fn has_redis() -> bool {
    Command::new("redis-server").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The library mimalloc (Debian: `libmimalloc2.0`), if it is installed.
pub(super) fn mimalloc() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut found: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libmimalloc.so")))
        .collect();
    found.sort();
    found.into_iter().next()
}

/// The standard output of a command.
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("not installed".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
