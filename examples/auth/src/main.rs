//! Authentication and authorisation: tokens that our own issuer signs, roles, rights by room, and tokens that expire or are
//! renewed during a connection.
//!
//! `cargo run --release -p auth`, then open the address that it prints. with `--lifetime 20` tokens expire sooner.

mod accounts;
mod guards;
mod http;
mod rights;
mod rooms;
mod sweeper;
mod tokens;

use anyhow::Result;
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;

use tokens::Tokens;

/// Rooms with rights, and a web page.
#[derive(Parser)]
struct Args {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// The seconds that a token is valid.
    #[arg(long, env = "LIFETIME", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lifetime: u64,
    /// The key that tokens are signed with. By default it is random, so that a restart makes all tokens invalid.
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

    let host = page::Host::listen(args.port).await?;
    println!("the rooms are at http://{}", host.address());
    Ok(host.serve(app, pond).await?)
}
