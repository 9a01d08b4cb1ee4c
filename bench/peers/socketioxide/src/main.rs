//! Rooms of socketioxide.
//!
//! Its documentation names one option for fast senders, `max_buffer_size`: the packets that may wait for a client before an
//! `emit` fails. The default, 128, loses messages as soon as a client is behind by more; here it is 4,096. Clients come over
//! WebSockets at once, so no other transport is offered.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use serde_json::Value;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::{SocketIo, TransportType};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (layer, io) =
        SocketIo::builder().max_buffer_size(4096).max_payload(1_000_000).transports([TransportType::Websocket]).build_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("join", async |socket: SocketRef, Data(room): Data<String>, ack: AckSender| {
            socket.join(room);
            let _ = ack.send(&());
        });
        socket.on("message", async |socket: SocketRef, Data((room, payload)): Data<(String, Value)>| {
            let _ = socket.within(room).emit("message", &payload).await;
        });
        socket.on("echo", async |socket: SocketRef, Data(payload): Data<Value>| {
            let _ = socket.emit("echo", &payload);
        });
    });
    let app = Router::new().layer(layer);
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
