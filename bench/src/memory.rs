//! The memory of the server for an idle joined connection.

use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::load::{ClientPool, ClientSpec};
use crate::process::ServerProcess;

const WARM_UP: usize = 500;
const CONNECTIONS: usize = 5000;
const CHANNELS: usize = 500;
/// Runs differ by more than 100 bytes, because the allocator's pages are not filled alike.
const RUNS: usize = 5;

/// Measures servers one after the other, and returns the resident bytes for each connection of each of them.
pub(crate) fn measure(program: &Path, progress: &ProgressBar) -> Result<Vec<u64>> {
    (0..RUNS).map(|_| measure_server(program, progress)).collect()
}

/// Opens 5,000 connections in 500 channels, after 500 others have been opened and closed, and returns the resident bytes for each.
fn measure_server(program: &Path, progress: &ProgressBar) -> Result<u64> {
    let server = ServerProcess::start(program, None, &[])?;
    progress.set_message("warming up");
    drop(ClientPool::join(specs(&server, WARM_UP))?);
    let before = server.settled_rss()?;
    progress.set_message("connecting");
    let pool = ClientPool::join(specs(&server, CONNECTIONS))?;
    let after = server.settled_rss()?;
    drop(pool);
    Ok((after - before) / CONNECTIONS as u64)
}

fn specs(server: &ServerProcess, count: usize) -> impl Iterator<Item = ClientSpec> {
    let address = server.address;
    (0..count).map(move |index| ClientSpec::plain(address, &format!("/plain/r{}", index % CHANNELS)))
}
