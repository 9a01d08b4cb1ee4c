//! A text that several people write at once: cursors, offline editing, and a database that keeps it.
//!
//! `cargo run --release -p collaboration`, then open the address that it prints in two windows.

mod collaboration;
mod document;
mod documents;
mod messages;
mod store;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use documents::Documents;
use store::Store;

/// The time that clients may take to go when the server is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shared documents with a web page.
#[derive(Parser)]
struct Args {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// The file of the database, which is made if it is not there.
    #[arg(long, env = "DATABASE", default_value = "collaboration.sqlite")]
    database: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    let store = Store::open(&args.database);
    let store = store.with_context(|| format!("cannot open the database {}", args.database.display()))?;
    let pond = PondSocket::new().state(Documents::new(store));
    collaboration::create(&pond);

    let app = Router::new().merge(page::routes!()).fallback_service(pond.service());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();

    let stop = stop_signal()?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    println!("the documents are at http://{}", listener.local_addr()?);
    println!("they are kept in {}", args.database.display());

    // The same signal ends the host and the pond, whose sockets the host does not wait for.
    let (stopping, stopped) = oneshot::channel();
    let mut draining = tokio::spawn(async move {
        stop.await;
        // An error means that the host has ended by itself.
        let _ = stopping.send(());
        pond.shutdown(PATIENCE).await
    });
    let host = axum::serve(listener, app).with_graceful_shutdown(async move { stopped.await.unwrap_or_default() });
    tokio::select! {
        served = host.into_future() => {
            served?;
            draining.await?;
        }
        // Browsers hold connections on which they may never ask for anything: the host would wait for them.
        drained = &mut draining => drop(drained?),
    }
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
