//! A complete chat: sign in, rooms, messages, who is online and typing, private messages, an admin who can kick.
//!
//! `cargo run --release -p chat`, then open the address that it prints in two windows.

mod chat;
mod login;
mod messages;
mod metrics;
mod problem;
mod users;

use anyhow::Result;
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;
use pondsocket_metrics::Exported;

use users::Users;

/// A chat with a web page.
#[derive(Parser)]
struct Args {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// The code with which a user signs in as an admin.
    #[arg(long, env = "ADMIN_CODE", default_value = "letmein")]
    admin_code: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();

    let users = Users::new(&args.admin_code);
    let recorder = metrics::recorder()?;
    let pond = PondSocket::new().state(users.clone()).metrics(Exported::new());
    chat::create(&pond);

    // Our own HTTP routes and the pond share one server, and one state.
    let app = Router::new()
        .merge(login::routes(users))
        .merge(page::routes!())
        .merge(metrics::routes(&pond, recorder))
        .fallback_service(pond.service());

    let host = page::Host::listen(args.port).await?;
    println!("the chat is at http://{}", host.address());
    println!("to be an admin, sign in with the admin code {:?}", args.admin_code);
    Ok(host.serve(app, pond).await?)
}
