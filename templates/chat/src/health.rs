//! A request for the health of the server, from another process.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) fn check(address: &str) -> Result<(), Box<dyn Error>> {
    let listening: SocketAddr = address.parse()?;
    let mut server = if listening.ip().is_unspecified() {
        TcpStream::connect((Ipv4Addr::LOCALHOST, listening.port()))?
    } else {
        TcpStream::connect(listening)?
    };
    server.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(server, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer.lines().next().unwrap_or("no answer").into()) }
}
