//! A complete chat: sign in, rooms, messages, who is online and typing, private messages, an admin who can kick.
//!
//! `cargo run --release -p chat`, then open the address that it prints in two windows.

mod chat;
mod history;
mod messages;
mod page;
mod users;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::{get, post};
use clap::Parser;
use pondsocket::PondSocket;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use history::History;
use users::Users;

/// A chat with a web page.
#[derive(Parser)]
struct Args {
    /// Where to listen, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Who signs in with this code is an admin.
    #[arg(long, env = "ADMIN_CODE", default_value = "letmein")]
    admin_code: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    let users = Users::new(args.admin_code);
    let pond = PondSocket::new().state(users.clone()).state(History::default());
    chat::create(&pond);

    // Our own HTTP routes and the pond share one server, and one state.
    let app = Router::new()
        .route("/api/login", post(users::login))
        .route("/api/me", get(users::me))
        .with_state(users)
        .merge(page::routes())
        .fallback_service(pond.service())
        .into_make_service_with_connect_info::<SocketAddr>();

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    println!("the chat is at http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(terminated()?).await?;
    Ok(())
}

/// Completes at SIGINT or SIGTERM.
fn terminated() -> Result<impl Future<Output = ()> + Send + 'static> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
