//! A distributed chat: nodes that share a channel over Redis, and a page from which two of them can be killed.
//!
//! `cargo run --release -p cluster`, then open the address that it prints in two windows. This one program is all of the
//! processes: the *launcher*, which serves the page and starts the others, the *nodes*, and the parent of *Redis*.

mod chat;
mod child;
mod launcher;
mod node;
mod nodes;
mod redis_process;
mod store;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A distributed chat: two nodes over Redis, and a page that shows them.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cluster {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    launcher: launcher::LauncherArgs,
}

/// A process that the launcher starts. A node can be started without a launcher, too.
#[derive(Subcommand)]
enum Part {
    /// One node, without a page: this is what a deployment runs.
    Node(node::NodeArgs),
    /// A Redis that stores nothing on disk, until the standard input ends.
    Redis,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Cluster::parse();
    // Standard output is for addresses: a launcher reads it.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match args.part {
        None => launcher::run(args.launcher).await,
        Some(Part::Node(args)) => node::run(args).await,
        Some(Part::Redis) => redis_process::run().await,
    }
}
