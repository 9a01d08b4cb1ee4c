//! A chat server. Environment variables configure it:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `ADDRESS` | `127.0.0.1:8080` | the address to listen on, unless systemd has opened its sockets |
//! | `TRUSTED_PROXIES` | none | addresses or networks of proxies, separated by spaces |
//! | `ALLOWED_ORIGINS` | none | origins of pages on other hosts, separated by spaces |
//! | `DRAIN_DELAY` | 0 | seconds between SIGTERM and the drain, for Kubernetes |
//! | `RUST_LOG` | `info` | the log filter |

mod chat;
mod health;

use std::env;
use std::time::Duration;

use pondsocket::{Listener, Options, PondSocket, Server, ServerOptions};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    // The health check of the Dockerfile: its image has no other program for it.
    if env::args().nth(1).as_deref() == Some("health") {
        return health::check(&address);
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let options = Options::default()
        .max_connections(10_000)
        .trusted_proxies(words("TRUSTED_PROXIES"))
        .allowed_origins(words("ALLOWED_ORIGINS"));
    let pond = PondSocket::with_options(options)?;
    chat::create(&pond);

    let delay = env::var("DRAIN_DELAY").map_or(Ok(0), |seconds| seconds.parse())?;
    let options = ServerOptions::default().drain_delay(Duration::from_secs(delay));
    let server = Server::with_options(pond, options)?;
    let mut listeners = Listener::inherited()?;
    if listeners.is_empty() {
        listeners.push(Listener::bind(&address).await?);
    }
    Ok(server.listen_on(listeners).await?)
}

fn words(variable: &str) -> Vec<String> {
    env::var(variable).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
