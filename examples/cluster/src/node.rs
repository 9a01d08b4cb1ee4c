//! A node: a server that shares its channel with others over Redis. This is what runs in production, on any number of hosts.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use pondsocket::{Listener, Options, PondSocket, Server, ServerOptions};
use pondsocket_redis::{RedisBus, RedisOptions};

use crate::chat;
use crate::child::told_to_end;
use crate::store::Store;

/// The prefix of all keys and channels in Redis, which may be used by other programs, too.
const NAMESPACE: &str = "cluster-example";

/// The time that clients have to close when the node stops.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct NodeArgs {
    /// The name of this node. It must differ from those of the others, and stay the same when it restarts.
    #[arg(long, env = "NODE_NAME")]
    name: String,
    /// The Redis of all nodes, as redis://user:password@host:port.
    #[arg(long, env = "REDIS", hide_env_values = true)]
    redis: String,
    /// The address to listen at; port 0 picks a free port.
    #[arg(long, env = "ADDRESS", default_value = "127.0.0.1:0")]
    address: String,
    /// The addresses or networks of load balancers, with commas between them.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// The seconds between SIGTERM and the drain, in which load balancers see that this node is not ready.
    #[arg(long, env = "DRAIN_DELAY", default_value_t = 0)]
    drain_delay: u64,
    /// Stops when the standard input ends, as well as at a signal: for a launcher.
    #[arg(long, hide = true)]
    child: bool,
}

pub(crate) async fn run(args: NodeArgs) -> Result<()> {
    let store = Store::new(&args.redis, NAMESPACE)?;
    let bus = RedisBus::new(RedisOptions::url(&args.redis)?.namespace(NAMESPACE))?;
    let options = Options::default()
        .bus(Arc::new(bus))
        .node_name(args.name.clone())
        .trusted_proxies(args.trusted_proxies)
        // A node that is cut off from the others for so long gets no new clients.
        .unready_without_bus(Some(Duration::from_secs(10)));
    let pond = chat::create(PondSocket::with_options(options)?, &args.name, store);

    // It answers /health and /ready, too, and drains at SIGINT and SIGTERM.
    let options = ServerOptions::default().drain_delay(Duration::from_secs(args.drain_delay)).shutdown_timeout(TIMEOUT);
    let server = Server::with_options(pond.clone(), options)?;
    let listener = Listener::bind(&args.address).await?;
    println!("ws://{}/api/socket", listener.local_addr().context("there is an address")?);
    let launcher_has_gone = async {
        if args.child {
            told_to_end().await;
        } else {
            future::pending().await
        }
    };
    tokio::select! {
        served = server.listen_on([listener]) => served?,
        () = launcher_has_gone => drop(pond.shutdown(TIMEOUT).await),
    }
    Ok(())
}
