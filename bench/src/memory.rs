//! Bytes of server memory for an idle connection that is joined to a channel.

use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::load::{Crowd, Seat};
use crate::process::Server;

const WARM_UP: usize = 500;
const CONNECTIONS: usize = 5000;
const CHANNELS: usize = 500;

/// Opens 5,000 connections in 500 channels, after 500 warm-up connections have gone; answers resident bytes for each.
pub(crate) fn measure(program: &Path, progress: &ProgressBar) -> Result<u64> {
    let server = Server::start(program, None, &[])?;
    progress.set_message("warming up");
    drop(Crowd::join(seats(&server, WARM_UP))?);
    let before = server.settled_rss()?;
    progress.set_message("connecting");
    let crowd = Crowd::join(seats(&server, CONNECTIONS))?;
    let after = server.settled_rss()?;
    drop(crowd);
    Ok((after - before) / CONNECTIONS as u64)
}

fn seats(server: &Server, count: usize) -> impl Iterator<Item = Seat> {
    let address = server.address;
    (0..count).map(move |index| Seat::plain(address, &format!("/plain/r{}", index % CHANNELS)))
}
