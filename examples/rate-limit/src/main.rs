//! Rate limits and middleware with their effects visible: a log, times, counters, limits, and a layer that recovers from
//! handlers that fail or panic.
//!
//! `cargo run --release -p rate-limit`, then open the address that it prints, and press the buttons faster than they allow.

mod counters;
mod lab;
mod layers;

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;

use counters::Counters;

/// A laboratory for limits, and a web page.
#[derive(Parser)]
struct Args {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    // As the metrics of the server the counters also see messages that are refused before they reach the layers.
    let counters = Arc::new(Counters::default());
    let pond = PondSocket::new().state(Arc::clone(&counters)).metrics(Arc::clone(&counters));
    let endpoint = lab::create(&pond);
    tokio::spawn(counters::show(endpoint, counters));

    let app = Router::new().merge(page::routes!()).fallback_service(pond.service());

    let host = page::Host::listen(args.port).await?;
    println!("the laboratory is at http://{}", host.address());
    Ok(host.serve(app, pond).await?)
}
