//! A game: all players are fish in one pond, which eat and grow. The server moves all fish; a page only sends the course of its
//! own.
//!
//! `cargo run --release -p game`, then open the address that it prints. `--players 300` adds players that play by themselves.

mod bots;
mod fish;
mod game;
mod leaderboard;
mod players;
mod pond;
mod tick;

use anyhow::Result;
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;

use players::Players;

/// A game with a web page.
#[derive(Parser)]
struct Args {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// The number of simulated players: real clients, each with a WebSocket.
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

    let host = page::Host::listen(args.port).await?;
    println!("the game is at http://{}", host.address());
    bots::start(host.address(), args.players);
    Ok(host.serve(app, pond).await?)
}
