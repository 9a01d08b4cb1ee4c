//! A game: everybody is a fish in one pond, eats, and grows. The server moves all fish; a page only says where its own
//! wants to go.
//!
//! `cargo run --release -p game`, then open the address that it prints. `--players 300` adds players that play by themselves.

mod bots;
mod fish;
mod game;
mod leaderboard;
mod players;
mod pond;
mod tick;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use players::Players;

/// How long clients may take to go when the game is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// A game with a web page.
#[derive(Parser)]
struct Args {
    /// Where to listen, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// How many simulated players join: real clients, over WebSockets of their own.
    #[arg(long, env = "PLAYERS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(..=1000))]
    players: u16,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    let players = Players::default();
    let pond = PondSocket::new().state(players.clone());
    let endpoint = game::create(&pond);
    tokio::spawn(tick::run(endpoint.clone(), players));
    tokio::spawn(leaderboard::run(endpoint));

    let app = Router::new().merge(page::routes!()).fallback_service(pond.service());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();

    let stop = stop_signal()?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    let address = listener.local_addr()?;
    println!("the game is at http://{address}");
    bots::start(address, args.players);

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
