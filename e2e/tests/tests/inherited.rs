//! Sockets that the server inherits, as from systemd.
#![cfg(target_os = "linux")]

use std::net::TcpListener;

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::Peer;
use tokio::process::Command;

/// Executes the program in its second argument with a listening socket for the port in its first one, passed as systemd does
/// (sd_listen_fds(3)).
const SYSTEMD: &str = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

#[tokio::test]
async fn an_inherited_socket_is_served() {
    let program = ContractServer::program().await;
    // The port stays free: no other process uses this address.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let mut python = Command::new("python3");
    python.args(["-c", SYSTEMD, &port.to_string()]).arg(program);
    let mut server = ContractServer::started_by(python).await;
    assert_eq!(server.address.port(), port, "not one of its own");
    let mut peer = Peer::connect(server.address, "/api/socket?token=t").await;
    peer.join("/plain/1", json!({ "username": "ann" })).await;
    server.terminate();
    let close = peer.closed().await.expect("a close frame");
    assert_eq!(u16::from(close.code), 1001);
    drop(peer);
    assert!(server.ended().await.success());
}
