//! The launcher. It starts Redis and the nodes, and serves the page and its requests.

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::child::Child;
use crate::nodes::{Action, Nodes};
use crate::redis_process;

#[derive(clap::Args)]
pub(crate) struct LauncherArgs {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// A Redis to use, as redis://user:password@host:port, in place of one of our own.
    #[arg(long, env = "REDIS")]
    redis: Option<String>,
}

pub(crate) async fn run(args: LauncherArgs) -> Result<()> {
    let stop = stop_signal()?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    let mut own_redis = None;
    let redis = match args.redis {
        Some(url) => url,
        None => {
            let redis = own_redis.insert(start_redis().await?).address().to_owned();
            println!("the nodes meet in {redis}");
            redis
        }
    };

    let nodes = Nodes::start(&redis).await;
    println!("the cluster is at http://{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, routes(nodes.clone())) => served?,
        () = stop => {}
    }
    // Redis last, because nodes that stop publish that.
    nodes.stop().await;
    if let Some(redis) = own_redis {
        redis.stop().await?;
    }
    Ok(())
}

async fn start_redis() -> Result<Child> {
    redis_process::check_installed().await?;
    Child::start(["redis"]).await.context("Redis does not start")
}

fn routes(nodes: Nodes) -> Router {
    Router::new()
        .merge(page::routes!())
        .route("/nodes", get(list))
        .route("/nodes/next", get(next))
        .route("/nodes/{name}/start", post(start))
        .route("/nodes/{name}/kill", post(kill))
        .with_state(nodes)
}

async fn list(State(nodes): State<Nodes>) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], Json(nodes.list()))
}

/// Answers with a node for a page that has none, as a load balancer would.
async fn next(State(nodes): State<Nodes>) -> impl IntoResponse {
    let next = nodes.next().map(Json).ok_or((StatusCode::SERVICE_UNAVAILABLE, "no node is up"));
    ([(CACHE_CONTROL, "no-store")], next)
}

async fn start(State(nodes): State<Nodes>, Path(name): Path<String>) -> impl IntoResponse {
    order(&nodes, &name, Action::Start).await
}

async fn kill(State(nodes): State<Nodes>, Path(name): Path<String>) -> impl IntoResponse {
    order(&nodes, &name, Action::Kill).await
}

/// Executes an order, and answers with the states of all nodes after it.
async fn order(nodes: &Nodes, name: &str, action: Action) -> impl IntoResponse + use<> {
    nodes.order(name, action).await.map(|()| Json(nodes.list())).ok_or(StatusCode::NOT_FOUND)
}

/// Completes at SIGINT, SIGTERM or SIGHUP.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
