//! The requests that the server itself answers: probes, the metrics page, and every request while it drains.

use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::{AcceptedSocket, ServerContext, ServerOptions};
use crate::edge::answer::answer;
use crate::edge::body::Body;
use crate::edge::refusal::refuse;
use crate::metrics::SocketCloseReason;

/// The value of `Retry-After`, in seconds: by then a load balancer sends the request to another server.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

impl ServerContext {
    /// Makes the response to a request.
    pub(super) async fn respond(&self, request: Request<Incoming>, accepted: &AcceptedSocket) -> Response<Body> {
        if !has_valid_host(request.version(), request.headers()) {
            return refuse(StatusCode::BAD_REQUEST, "one valid Host header is required");
        }
        let (method, path) = (request.method(), request.uri().path());
        if accepted.settings.admin {
            return self.page(method, path).unwrap_or_else(|| refuse(StatusCode::NOT_FOUND, "not found"));
        }
        // The path first: to look for an endpoint costs more, and most requests are for one.
        if !self.has_admin
            && self.has_page(path)
            && self.pond.endpoint_for(path, 0).is_none()
            && let Some(page) = self.page(method, path)
        {
            return page;
        }
        if self.pond.is_draining() {
            return unavailable("the server is stopping");
        }
        // Held until there is a response. Probes are answered above, without a permit: a server full of slow requests must
        // not fail its health check.
        let Some(_permit) = accepted.permit.request_permit().await else {
            tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, "too many queued requests");
            self.count_closed(SocketCloseReason::Overloaded);
            let mut response = unavailable("too many requests");
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        };
        answer(self.pond.clone(), request).await
    }

    /// Returns whether a path is that of a probe or of the metrics page.
    fn has_page(&self, path: &str) -> bool {
        let ServerOptions { health_path, ready_path, metrics, .. } = &self.options;
        let mut paths =
            [health_path.as_deref(), ready_path.as_deref(), metrics.as_ref().map(|page| &*page.path)].into_iter();
        paths.any(|known| known == Some(path))
    }

    /// The probe or metrics page at a path, if there is one.
    fn page(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let is_path = |probe: &Option<String>| probe.as_deref() == Some(path);
        if is_path(&self.options.health_path) {
            Some(refuse(StatusCode::OK, "ok"))
        } else if is_path(&self.options.ready_path) {
            Some(match (self.pond.is_leaving(), self.pond.is_ready()) {
                (true, _) => unavailable("draining"),
                (false, true) => refuse(StatusCode::OK, "ready"),
                (false, false) => unavailable("the bus is down"),
            })
        } else {
            let page = self.options.metrics.as_ref().filter(|page| page.path == path)?;
            Some(exposition((page.text)()))
        }
    }
}

/// Returns `true` if a request has one valid `Host` (RFC 9112 section 3.2); in HTTP/1.0 it may have none. With several, a
/// proxy in between may have routed the request by another one than the server would read.
fn has_valid_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// Returns `true` for a host with or without a port, and for an empty value, which a request sends whose target has no
/// authority.
fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| matches!(port, "" | ":") || authority.port_u16().is_some())
}

/// A response in Prometheus' text format.
fn exposition(text: String) -> Response<Body> {
    let mut response = refuse(StatusCode::OK, &text);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn unavailable(reason: &str) -> Response<Body> {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}
