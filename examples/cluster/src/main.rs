//! Two nodes that share one lobby over Redis, and a page from which they can be killed.
//!
//! `cargo run --release -p cluster`, then open the address that it prints in two windows. This one program is all of the
//! processes: the *launcher*, which has the page and starts the others, the *nodes*, and the keeper of *Redis*.

mod child;
mod launcher;
mod node;
mod nodes;
mod redis;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Two nodes over Redis, and a page that shows them.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cluster {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    launcher: launcher::Args,
}

/// What the launcher starts.
#[derive(Subcommand)]
enum Part {
    /// One node, until its standard input ends. It may be started by hand, too.
    Node(node::Args),
    /// A Redis that keeps nothing, until standard input ends.
    Redis,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Cluster::parse();
    // Standard output is for addresses: a launcher reads it.
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    match args.part {
        None => launcher::run(args.launcher).await,
        Some(Part::Node(args)) => node::run(args).await,
        Some(Part::Redis) => redis::run().await,
    }
}
