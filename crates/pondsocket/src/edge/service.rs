use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use crate::edge::answer::{answer, is_ours};
use crate::edge::body::Body;
use crate::handler::BoxFuture;
use crate::pond::PondSocket;

impl PondSocket {
    /// A `tower::Service` that answers requests for our endpoints, and any other with 404 or 405. It matches the full
    /// original path: mount it where it sees that, or with the feature `axum` anywhere.
    ///
    /// ```no_run
    /// # use pondsocket::PondSocket;
    /// # async fn serve(pond: PondSocket, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// let app = axum::Router::new().fallback_service(pond.service());
    /// axum::serve(listener, app).await
    /// # }
    /// ```
    ///
    /// A host that shuts down gracefully does not wait for WebSockets, so the same signal ends host and pond, and the
    /// program waits for both. But it waits without limit for requests under way, and a client may never finish one: so the
    /// wait has a time limit of its own.
    ///
    /// ```
    /// # use pondsocket::PondSocket;
    /// # use std::future::IntoFuture;
    /// # use std::pin::pin;
    /// # use std::time::Duration;
    /// # use tokio::time::timeout;
    /// # async fn serve(
    /// #     pond: PondSocket,
    /// #     listener: tokio::net::TcpListener,
    /// #     signal: impl Future<Output = ()>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let app = axum::Router::new().fallback_service(pond.service());
    /// let (stop, stopped) = tokio::sync::oneshot::channel();
    /// let stopped = async move { stopped.await.unwrap_or_default() };
    /// let mut host = pin!(axum::serve(listener, app).with_graceful_shutdown(stopped).into_future());
    /// tokio::select! {
    ///     served = &mut host => served?,
    ///     () = signal => {
    ///         let _ = stop.send(());
    ///         let limit = Duration::from_secs(30);
    ///         let (report, _) = tokio::join!(pond.shutdown(limit), timeout(limit, host));
    ///         println!("{report:?}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn service(&self) -> PondService {
        self.prepare();
        PondService { pond: self.clone() }
    }

    /// A `tower::Layer` that answers requests for our endpoints, and passes any other inward: at their paths, too, other
    /// requests than `GET` that have nothing to do with an event stream.
    pub fn layer(&self) -> PondLayer {
        self.prepare();
        PondLayer { pond: self.clone() }
    }
}

/// See [`PondSocket::service`]. It is always ready.
#[derive(Clone, Debug)]
pub struct PondService {
    pond: PondSocket,
}

impl<B> Service<Request<B>> for PondService
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let pond = self.pond.clone();
        Box::pin(async move { Ok(answer(pond, request).await) })
    }
}

/// See [`PondSocket::layer`].
#[derive(Clone, Debug)]
pub struct PondLayer {
    pond: PondSocket,
}

impl<S> Layer<S> for PondLayer {
    type Service = Layered<S>;

    fn layer(&self, inner: S) -> Layered<S> {
        Layered { pond: self.pond.clone(), inner }
    }
}

/// The service that [`PondLayer`] makes of another.
#[derive(Clone, Debug)]
pub struct Layered<S> {
    pond: PondSocket,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Layered<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: HttpBody + Send + 'static,
    B::Data: Send,
{
    type Response = Response<EitherBody<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if is_ours(&self.pond, &request) {
            let pond = self.pond.clone();
            return Box::pin(async move { Ok(answer(pond, request).await.map(EitherBody::Ours)) });
        }
        let inner = self.inner.call(request);
        Box::pin(async move { Ok(inner.await?.map(EitherBody::Inner)) })
    }
}

/// The body of an answer that is ours or the inner service's.
pub enum EitherBody<R> {
    /// Ours.
    Ours(Body),
    /// The inner service's.
    Inner(R),
}

/// Nothing: for layers that answer by themselves.
impl<R> Default for EitherBody<R> {
    fn default() -> EitherBody<R> {
        EitherBody::Ours(Body::default())
    }
}

impl<R> fmt::Debug for EitherBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EitherBody::Ours(_) => "Ours",
            EitherBody::Inner(_) => "Inner",
        })
    }
}

impl<R> HttpBody for EitherBody<R>
where
    R: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match &mut *self {
            EitherBody::Ours(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            EitherBody::Inner(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            EitherBody::Ours(body) => body.is_end_stream(),
            EitherBody::Inner(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            EitherBody::Ours(body) => body.size_hint(),
            EitherBody::Inner(body) => body.size_hint(),
        }
    }
}
