//! A complete chat: sign in, rooms, messages, who is online and typing, private messages, an admin who can kick.
//!
//! `cargo run --release -p chat`, then open the address that it prints in two windows.

mod chat;
mod history;
mod login;
mod messages;
mod metrics;
mod problem;
mod users;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;
use pondsocket_metrics::Exported;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use history::History;
use users::Users;

/// How long clients may take to go when the chat is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

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

    let users = Users::new(&args.admin_code);
    let recorder = metrics::recorder()?;
    let pond = PondSocket::new().state(users.clone()).state(History::default()).metrics(Exported::new());
    chat::create(&pond);

    // Our own HTTP routes and the pond share one server, and one state.
    let app = Router::new()
        .merge(login::routes(users))
        .merge(page::routes!())
        .merge(metrics::routes(&pond, recorder))
        .fallback_service(pond.service())
        .into_make_service_with_connect_info::<SocketAddr>();

    let stop = stop_signal()?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    println!("the chat is at http://{}", listener.local_addr()?);
    println!("to be an admin, sign in with the admin code {:?}", args.admin_code);

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
