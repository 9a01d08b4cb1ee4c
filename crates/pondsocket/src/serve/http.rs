//! HTTP/1.1 on one socket, until it ends, is upgraded or misses a deadline.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::progress::{HttpDeadlines, ObservedStream, Progress};
use super::{AcceptedSocket, ServerContext, ServerOptions};
use crate::edge::origin::ClientCertificate;
use crate::error::Error;

/// The smallest buffer that hyper accepts; it panics for a smaller one.
const MIN_BUFFER: usize = 8192;

/// The longest time for which a client is still read after its last response.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one stream until it ends, is upgraded, or misses a deadline.
pub(super) async fn serve<S>(stream: ObservedStream<S>, accepted: &AcceptedSocket, server: &Arc<ServerContext>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (peer, progress) = (accepted.peer, &accepted.permit.progress);
    progress.on_handshake();
    let service = service_fn(|mut request: Request<Incoming>| {
        progress.on_request();
        peer.insert_into(request.extensions_mut());
        if accepted.has_certificate {
            request.extensions_mut().insert(ClientCertificate);
        }
        async move {
            let response = server.respond(request, accepted).await;
            match response.body().stream() {
                Some(stream) => accepted.permit.start_stream(stream),
                None if response.status() == StatusCode::SWITCHING_PROTOCOLS => progress.on_upgrade(),
                None => progress.on_response(),
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = builder(&server.options).serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut deadlines = HttpDeadlines::new(progress, &server.options);
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            // In this order: the connection moves the deadlines, and what follows must see its latest progress.
            biased;
            ended = &mut connection => break ended,
            // The rest of the response is written, and then the socket is closed.
            () = progress.stream_ended() => std::pin::Pin::new(&mut connection).graceful_shutdown(),
            reason = deadlines.missed() => {
                tracing::debug!(target: "pondsocket::server", %peer, option = %reason, "HTTP connection timed out");
                return server.count_closed(reason);
            }
            () = server.closing(), if !closing => closing = true,
            () = without_request(progress), if closing => return,
        }
    };
    // Clients end an event stream by closing the socket: that is not a failure.
    if let Err(error) = ended
        && !progress.is_stream()
    {
        tracing::debug!(target: "pondsocket::server", %peer, %error, "HTTP connection failed");
        server.count_error(Error::bad_request("an HTTP connection failed").with_source(error));
    }
    // There are none after an upgrade: the stream has been taken out of the connection.
    if let Some(parts) = connection.into_parts() {
        linger(parts.io.into_inner().into_inner()).await;
    }
}

fn builder(options: &ServerOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(options.max_header_size);
    builder.max_buf_size(options.max_header_size.max(MIN_BUFFER));
    builder
}

/// Completes when no request is being handled or responded to. To be polled after the connection, in its task.
async fn without_request(progress: &Progress) {
    poll_fn(|_| if progress.has_request() { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// Ends our direction of the stream, then reads and drops what the client sends until it closes the socket. A socket that
/// is closed with unread bytes resets the connection, and the client loses the response (RFC 9112 section 9.6).
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let end = async {
        stream.shutdown().await?;
        copy(&mut stream, &mut sink()).await
    };
    // After the timeout, or an error, the socket is closed all the same.
    let _ = timeout(LINGER, end).await;
}

#[cfg(test)]
mod tests {
    use http::Response;
    use http::header::{CONNECTION, UPGRADE};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::edge::body::Body;
    use crate::edge::websocket::{RecoveredStream, recover};

    #[tokio::test]
    async fn after_an_upgrade_the_tcp_stream_is_recovered_with_the_bytes_read_ahead() {
        let (recovered, client) = upgrade(ObservedStream::new).await;
        let RecoveredStream { stream, first, head } = recovered;
        let (peer, address) = (stream.peer_addr().expect("connected"), client.local_addr().expect("connected"));
        assert_eq!((peer, first.as_slice()), (address, &b"first"[..]));
        assert!(head.is_empty(), "the server has written it");
    }

    #[tokio::test]
    async fn a_response_to_an_upgrade_that_is_held_back_is_left_to_the_connection() {
        let RecoveredStream { first, head, .. } = upgrade(ObservedStream::holding_upgrades).await.0;
        assert_eq!(first, b"first");
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    /// A stream that was observed until its client was upgraded, and the client.
    async fn upgrade(
        observe: fn(TcpStream, Arc<Progress>) -> ObservedStream<TcpStream>,
    ) -> (RecoveredStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfirst";
        client.write_all(head).await.expect("open");

        let stream = listener.accept().await.expect("a client").0;
        let (sender, mut upgrades) = mpsc::channel(1);
        let progress = Progress::new();
        let observed = observe(stream, Arc::clone(&progress));
        let service = service_fn(move |mut request: Request<Incoming>| {
            progress.on_upgrade();
            sender.try_send(hyper::upgrade::on(&mut request)).expect("one request");
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response.header(CONNECTION, "Upgrade").header(UPGRADE, "x").body(Body::default());
            async { Ok::<_, Infallible>(response.expect("valid headers")) }
        });
        let serving = builder(&ServerOptions::default()).serve_connection(TokioIo::new(observed), service);
        serving.with_upgrades().await.expect("served");
        let upgraded = upgrades.recv().await.expect("a request").await.expect("upgraded");
        (recover(upgraded).expect("the TCP stream itself"), client)
    }
}
