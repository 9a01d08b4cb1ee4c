//! A text that several people write at once: cursors, offline editing, and a database that keeps it.
//!
//! `cargo run --release -p collaboration`, then open the address that it prints in two windows.

mod collaboration;
mod document;
mod documents;
mod messages;
mod store;

use std::path::PathBuf;

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use pondsocket::PondSocket;

use documents::Documents;
use store::Store;

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

    let host = page::Host::listen(args.port).await?;
    println!("the documents are at http://{}", host.address());
    println!("they are kept in {}", args.database.display());
    Ok(host.serve(app, pond).await?)
}
