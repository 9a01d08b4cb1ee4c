//! Who may do what: tokens that our own issuer signs, roles, rights by room, and what happens when a token expires while its
//! owner is connected.
//!
//! `cargo run --release -p auth`, then open the address that it prints. `--lifetime 20` shows sooner what expires.

mod accounts;
mod guards;
mod http;
mod rights;
mod rooms;
mod sweeper;
mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use tokens::Tokens;

/// How long clients may take to go when the server is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rooms with rights, and a web page.
#[derive(Parser)]
struct Args {
    /// Where to listen, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// How many seconds a token is valid.
    #[arg(long, env = "LIFETIME", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lifetime: u64,
    /// What tokens are signed with. By default a random key, so that a restart makes all tokens invalid.
    #[arg(long, env = "TOKEN_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    let tokens = Tokens::new(args.secret.as_deref(), args.lifetime)?;
    let pond = PondSocket::new().state(tokens.clone());
    let endpoint = rooms::create(&pond);
    tokio::spawn(sweeper::run(endpoint));

    let app = Router::new().merge(page::routes!()).merge(http::routes(tokens)).fallback_service(pond.service());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();

    let stop = stop_signal()?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    println!("the rooms are at http://{}", listener.local_addr()?);

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
