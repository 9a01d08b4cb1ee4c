//! Rate limits and middleware, seen as they bite: a log, times, counters, limits, and a layer that recovers from handlers that
//! fail or panic.
//!
//! `cargo run --release -p rate-limit`, then open the address that it prints, and press the buttons faster than they allow.

mod counters;
mod lab;
mod layers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use counters::Counters;

/// How long clients may take to go when the server is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// A laboratory for limits, and a web page.
#[derive(Parser)]
struct Args {
    /// Where to listen, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    // The server counts for us what our layers cannot see: what was refused before it came to them.
    let counters = Arc::new(Counters::default());
    let pond = PondSocket::new().state(Arc::clone(&counters)).metrics(Arc::clone(&counters));
    let endpoint = lab::create(&pond);
    tokio::spawn(counters::show(endpoint, counters));

    let app = Router::new().merge(page::routes!()).fallback_service(pond.service());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();

    let stop = stop_signal()?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    println!("the laboratory is at http://{}", listener.local_addr()?);

    // The same signal ends the host and the pond, whose sockets the host does not wait for.
    let (stopping, stopped) = oneshot::channel();
    let draining = tokio::spawn(async move {
        stop.await;
        // An error means that the host has ended by itself.
        let _ = stopping.send(());
        pond.shutdown(PATIENCE).await
    });
    axum::serve(listener, app).with_graceful_shutdown(async move { stopped.await.unwrap_or_default() }).await?;
    draining.await?;
    Ok(())
}

/// Completes at SIGINT or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
