use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::accepted::AcceptedSocket;
use super::progress::{HttpDeadlines, Progress, Watched};

use super::{ServerContext, ServerOptions};
use crate::edge::origin::ClientCertificate;
use crate::error::Error;
use crate::metrics::SocketCloseReason;

/// The least that hyper accepts as the size of its buffers.
const LEAST_BUFFER: usize = 8192;

/// The time for which a client is still read after its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one stream until it ends, is upgraded, or misses a deadline.
pub(super) async fn serve<S>(stream: S, accepted: &AcceptedSocket, server: &Arc<ServerContext>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (peer, progress) = (accepted.peer, &accepted.permit.progress);
    progress.begun();
    let service = service_fn(|mut request: Request<Incoming>| {
        progress.requested();
        peer.introduce(request.extensions_mut());
        if accepted.has_certificate {
            request.extensions_mut().insert(ClientCertificate);
        }
        async move {
            let answer = server.answer(request, accepted).await;
            match answer.body().stream() {
                Some(stream) => accepted.permit.streams(stream),
                None => progress.answered(),
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let io = watched(stream, progress);
    let mut connection = builder(&server.options).serve_connection(io, service).with_upgrades();
    let mut deadlines = HttpDeadlines::new(progress, &server.options);
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break ended,
            // It is written to the end, and then closed.
            () = progress.stream_ended() => std::pin::Pin::new(&mut connection).graceful_shutdown(),
            reason = deadlines.missed() => return give_up(accepted, server, reason),
            () = server.closing(), if !closing => closing = true,
            () = at_rest(progress), if closing => return,
        }
    };
    // A client that wants no more of an event stream just goes.
    if let Err(error) = ended
        && !progress.is_streaming()
    {
        tracing::debug!(target: "pondsocket::server", %peer, %error, "HTTP connection failed");
        server.count(Error::bad_request("an HTTP connection failed").with_source(error));
    }
    // What was upgraded is not there any more.
    if let Some(parts) = connection.into_parts() {
        linger(parts.io.into_inner().into_inner()).await;
    }
}

fn give_up(accepted: &AcceptedSocket, server: &ServerContext, reason: SocketCloseReason) {
    tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, option = %reason, "HTTP connection given up");
    server.closed(reason);
}

fn watched<S>(stream: S, progress: &Arc<Progress>) -> TokioIo<Watched<S>> {
    TokioIo::new(Watched::new(stream, Arc::clone(progress)))
}

fn builder(options: &ServerOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(options.max_header_size);
    builder.max_buf_size(options.max_header_size.max(LEAST_BUFFER));
    builder
}

/// Waits until no request is in hand. To be polled after the connection, in its task.
async fn at_rest(progress: &Progress) {
    poll_fn(|_| if progress.is_busy() { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// Says that nothing more comes, and reads what the client still sends until it closes. To close a socket before that
/// would reset the connection, and throw away the answer on its way.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let end = async {
        stream.shutdown().await?;
        copy(&mut stream, &mut sink()).await
    };
    // Too late, or an error: either way nothing is left to wait for.
    let _ = timeout(LINGER, end).await;
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, UPGRADE};
    use http::{Response, StatusCode};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::edge::body::Body;
    use crate::edge::websocket::recover;

    #[tokio::test]
    async fn after_an_upgrade_the_tcp_stream_is_recovered_with_what_was_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfirst";
        client.write_all(head).await.expect("open");

        let (stream, peer) = listener.accept().await.expect("a client");
        let (sender, mut upgrades) = mpsc::channel(1);
        let service = service_fn(move |mut request: Request<Incoming>| {
            sender.try_send(hyper::upgrade::on(&mut request)).expect("one request");
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let answer = answer.header(CONNECTION, "Upgrade").header(UPGRADE, "x").body(Body::default());
            async { Ok::<_, Infallible>(answer.expect("an answer")) }
        });
        let io = watched(stream, &Progress::new());
        builder(&ServerOptions::default()).serve_connection(io, service).with_upgrades().await.expect("served");
        let upgraded = upgrades.recv().await.expect("a request").await.expect("upgraded");
        let (stream, first) = recover(upgraded).expect("the TCP stream itself");
        assert_eq!((stream.peer_addr().expect("connected"), first.as_slice()), (peer, &b"first"[..]));
    }
}
