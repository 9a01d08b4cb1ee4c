//! The memory of the machine.

use std::fs;

use anyhow::{Context, Result};

const PAGE: f64 = 4096.0;

/// Memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// The memory that programs can still get.
    pub(super) available: f64,
    /// The kernel's objects (sockets, files, epoll entries), page tables and stacks.
    pub(super) kernel: f64,
    /// The buffers of TCP sockets.
    pub(super) buffers: f64,
}

impl Memory {
    /// The memory of this machine at present.
    pub(super) fn read() -> Result<Memory> {
        Memory::parse(&fs::read_to_string("/proc/meminfo")?, &fs::read_to_string("/proc/net/sockstat")?)
    }

    fn parse(meminfo: &str, sockstat: &str) -> Result<Memory> {
        let kib = |key: &str| -> Result<f64> {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {key}"))?;
            Ok(number.parse::<f64>()? * 1024.0)
        };
        let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")).context("no TCP sockets")?;
        let (_, pages) = tcp.rsplit_once(" mem ").context("no memory of TCP sockets")?;
        Ok(Memory {
            available: kib("MemAvailable")?,
            kernel: kib("Slab")? + kib("PageTables")? + kib("KernelStack")?,
            buffers: pages.trim().parse::<f64>()? * PAGE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let meminfo = "MemTotal: 10 kB\nMemAvailable:   8 kB\nSlab:  3 kB\nKernelStack: 1 kB\nPageTables: 2 kB\n";
        let sockstat = "sockets: used 17\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 3\nUDP: inuse 0 mem 0\n";
        let memory = Memory::parse(meminfo, sockstat).expect("all of it is there");
        assert_eq!((memory.available, memory.kernel, memory.buffers), (8192.0, 6144.0, 12288.0));
    }
}
