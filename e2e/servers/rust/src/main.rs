//! The published Rust server as a node: the chat of the interop matrix, on axum.
//!
//! `REDIS_URL` says where the others are, `HEARTBEAT_TIMEOUT` after how many seconds of silence another node is dead.
//! `listening PORT` is printed when it is ready.

mod events;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use pondsocket::contexts::{ConnectionContext, JoinContext};
use pondsocket::distributed::RedisPubSub;
use pondsocket::endpoint::{ConnectionHandler, JoinHandler};
use pondsocket::errors::Result;
use pondsocket::server::PondSocket;
use pondsocket::types::Options;
use pondsocket_axum::{RequestParts, handle_socket};
use serde_json::{Map, json};
use tokio::net::TcpListener;

const ENDPOINT: &str = "/api/socket";

// On one thread it handles what it receives in its order, more or less; on several it does so side by side.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let pond = pond().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?.port());
    let app = Router::new().route(ENDPOINT, get(upgrade)).with_state(pond);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn pond() -> std::result::Result<Arc<PondSocket>, Box<dyn Error>> {
    let redis = RedisPubSub::new(redis::Client::open(std::env::var("REDIS_URL")?)?).await?;
    let silence = std::env::var("HEARTBEAT_TIMEOUT")?.parse()?;
    let options = Options { heartbeat_timeout: Duration::from_secs(silence), ..Options::default() };
    let pond = PondSocket::new(options, Some(Arc::new(redis)));
    let endpoint = pond.create_endpoint(ENDPOINT, Connect).await;
    events::register(&*endpoint.create_channel("/chat/:room", Join).await).await;
    Ok(pond)
}

async fn upgrade(
    State(pond): State<Arc<PondSocket>>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let request = RequestParts { path: ENDPOINT.into(), query, ..RequestParts::default() };
    upgrade.on_upgrade(move |socket| handle_socket(pond, socket, request))
}

struct Connect;

#[async_trait]
impl ConnectionHandler for Connect {
    async fn call(&self, ctx: &mut ConnectionContext) -> Result<()> {
        ctx.accept(Map::new()).map(drop)
    }
}

struct Join;

#[async_trait]
impl JoinHandler for Join {
    async fn call(&self, ctx: &mut JoinContext) -> Result<()> {
        let username = ctx.event.payload["username"].clone();
        let id = ctx.transport.id().to_owned();
        ctx.accept(Map::from_iter([("username".to_owned(), username.clone())])).await?;
        ctx.track(json!({ "id": id, "username": username, "status": "online" })).await
    }
}
