//! Who is answered by the server itself: load balancers, orchestrators and scrapers, and everybody while it drains.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tower_service::Service;

use super::Site;
use crate::edge::body::Body;
use crate::edge::refusal::refuse;

/// In how many seconds it is worth asking again, hopefully another server.
const LATER: HeaderValue = HeaderValue::from_static("5");

impl Site {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(answer) = self.probe(request.method(), request.uri().path()) {
            return answer;
        }
        if self.is_draining() {
            return later("the server is stopping");
        }
        match self.pond.service().call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    fn probe(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        if !matches!(*method, Method::GET | Method::HEAD) || self.pond.endpoint_for(path, 0).is_some() {
            return None;
        }
        let is = |probe: &Option<String>| probe.as_deref() == Some(path);
        if is(&self.options.health_path) {
            Some(refuse(StatusCode::OK, "ok"))
        } else if is(&self.options.ready_path) {
            Some(match (self.is_draining(), self.pond.is_ready()) {
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
