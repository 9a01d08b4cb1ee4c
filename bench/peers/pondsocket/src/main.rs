//! Rooms of the published PondSocket server for Rust, on axum as its documentation shows.
//!
//! Its documentation has no advice about speed, so all options have their defaults. `/plain/:room` has no presence,
//! `/presence/:room` tracks all members. It has no bus here: between its nodes only broadcasts to all are delivered, and the load
//! needs one to all but the sender.

use std::collections::HashMap;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use pondsocket::channel::EventHandler;
use pondsocket::contexts::{ConnectionContext, EventContext, JoinContext};
use pondsocket::endpoint::{ConnectionHandler, JoinHandler};
use pondsocket::errors::Result;
use pondsocket::server::PondSocket;
use pondsocket::types::Options;
use pondsocket_axum::{RequestParts, handle_socket};
use serde_json::{Map, json};

const ENDPOINT: &str = "/api/socket";

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let app = Router::new().route(ENDPOINT, get(upgrade)).with_state(pond().await);
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    if let (Ok(certificate), Ok(key)) = (std::env::var("TLS_CERTIFICATE"), std::env::var("TLS_KEY")) {
        let tls = RustlsConfig::from_pem_file(certificate, key).await?;
        println!("listening {port}");
        axum_server::from_tcp_rustls(listener, tls)?.serve(app.into_make_service()).await?;
    } else {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        println!("listening {port}");
        axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app).await?;
    }
    Ok(())
}

async fn pond() -> Arc<PondSocket> {
    let pond = PondSocket::new(Options::default(), None);
    let endpoint = pond.create_endpoint(ENDPOINT, Connect).await;
    let plain = endpoint.create_channel("/plain/:room", Join { tracked: false }).await;
    let tracked = endpoint.create_channel("/presence/:room", Join { tracked: true }).await;
    for lobby in [plain, tracked] {
        lobby.on_message("message", Events).await;
        lobby.on_message("echo", Events).await;
    }
    pond
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

struct Join {
    tracked: bool,
}

#[async_trait]
impl JoinHandler for Join {
    async fn call(&self, ctx: &mut JoinContext) -> Result<()> {
        let username = ctx.event.payload["username"].clone();
        let id = ctx.transport.id().to_owned();
        ctx.accept(Map::from_iter([("username".to_owned(), username.clone())])).await?;
        if self.tracked {
            ctx.track(json!({ "id": id, "username": username, "status": "online" })).await?;
        }
        Ok(())
    }
}

struct Events;

#[async_trait]
impl EventHandler for Events {
    async fn call(&self, ctx: &mut EventContext) -> Result<()> {
        let payload = ctx.event.payload.clone();
        if ctx.event.event == "echo" {
            ctx.reply("echo", payload).await
        } else {
            ctx.broadcast("message", payload).await
        }
    }
}
