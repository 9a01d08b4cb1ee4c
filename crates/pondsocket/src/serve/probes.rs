//! The requests that the server itself answers: of load balancers, orchestrators and scrapers, and everybody while it
//! drains.

use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tower_service::Service;

use super::ServerContext;
use super::accepted::AcceptedSocket;
use crate::edge::body::Body;
use crate::edge::refusal::refuse;
use crate::metrics::SocketCloseReason;

/// In how many seconds it is worth asking again, hopefully another server.
const LATER: HeaderValue = HeaderValue::from_static("5");

impl ServerContext {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, accepted: &AcceptedSocket) -> Response<Body> {
        if !names_its_host(request.version(), request.headers()) {
            return refuse(StatusCode::BAD_REQUEST, "one valid Host header is required");
        }
        let (method, path) = (request.method(), request.uri().path());
        if accepted.settings.admin {
            return self.page(method, path).unwrap_or_else(|| refuse(StatusCode::NOT_FOUND, "not found"));
        }
        if !self.has_admin
            && self.pond.endpoint_for(path, 0).is_none()
            && let Some(answer) = self.page(method, path)
        {
            return answer;
        }
        if self.pond.is_draining() {
            return later("the server is stopping");
        }
        let Some(_turn) = accepted.permit.turn().await else {
            tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, "too many requests wait");
            self.closed(SocketCloseReason::Overloaded);
            let mut answer = later("too many requests");
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return answer;
        };
        match self.pond.service().call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    /// A page for those who run the server, if it is one.
    fn page(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let is = |probe: &Option<String>| probe.as_deref() == Some(path);
        if is(&self.options.health_path) {
            Some(refuse(StatusCode::OK, "ok"))
        } else if is(&self.options.ready_path) {
            Some(match (self.pond.is_leaving(), self.pond.is_ready()) {
                (true, _) => later("draining"),
                (false, true) => refuse(StatusCode::OK, "ready"),
                (false, false) => later("the bus is down"),
            })
        } else {
            let page = self.options.metrics.as_ref().filter(|page| page.path == path)?;
            Some(exposition((page.text)()))
        }
    }
}

/// Returns `true` if a request says once, and properly, whom it is for (RFC 9112 section 3.2). If not, others on its
/// way may have taken it for somebody else's. Only HTTP/1.0 may leave it out.
fn names_its_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// Returns whether this is a host, maybe with a port. It is empty where the target of a request has none.
fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| matches!(port, "" | ":") || authority.port_u16().is_some())
}

/// Prometheus' text format.
fn exposition(text: String) -> Response<Body> {
    let mut response = refuse(StatusCode::OK, &text);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn later(reason: &str) -> Response<Body> {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, LATER);
    response
}
