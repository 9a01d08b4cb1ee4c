//! The parts that all programs here share: a database, a pond that uses it, and a graceful shutdown.

mod database;
mod ending;
mod room;
#[cfg(feature = "hyper")]
mod serving;

pub use database::{Database, Said};
pub use ending::{end_at_signal, run};
pub use room::pond;
#[cfg(feature = "hyper")]
pub use serving::serve;

use std::env;
use std::io;

use tokio::net::TcpListener;

/// Listens on the port `PORT` of 127.0.0.1, by default 8080 (0 picks a free port), and prints the address.
pub async fn listen() -> io::Result<TcpListener> {
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening {}", listener.local_addr()?);
    Ok(listener)
}
