//! The HTTP answers that refuse a client (docs/protocol.md, HTTP answers before the upgrade).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};

use crate::edge::body::Body;
use crate::endpoint::{EndpointInner, EndpointSettings};
use crate::error::Error;
use crate::failure::{backtrace, chain};
use crate::metrics::{Component, DeclineReason};

/// The reason why a request is not let in.
pub(crate) struct HttpRefusal {
    pub(crate) error: Error,
    pub(crate) reason: DeclineReason,
    pub(crate) headers: HeaderMap,
}

impl HttpRefusal {
    pub(crate) fn new(error: Error, reason: DeclineReason) -> HttpRefusal {
        HttpRefusal { error, reason, headers: HeaderMap::new() }
    }
}

/// The answer to a client that is not let in; it is counted.
pub(super) fn decline(endpoint: &EndpointInner, HttpRefusal { error, reason, headers }: HttpRefusal) -> Response<Body> {
    let path = &*endpoint.observer.endpoint;
    if error.is_unexpected() {
        let component = if reason == DeclineReason::Hook { Component::Hook } else { Component::ConnectionHandler };
        let (call, backtrace) = (error.call(), backtrace(&error));
        tracing::error!(target: "pondsocket::handler", endpoint = path, %component, call, error = chain(&error), backtrace, "connection handler failed");
        endpoint.observer.count(|metrics, _| metrics.error(component, &error));
    } else if matches!(reason, DeclineReason::ConnectionLimit | DeclineReason::Timeout) {
        tracing::warn!(target: "pondsocket::connection", endpoint = path, %reason, error = chain(&error), "declined");
    } else {
        let (call, details) = (error.call(), error.details());
        tracing::debug!(target: "pondsocket::connection", endpoint = path, %reason, call, error = chain(&error), details, "declined");
    }
    endpoint.observer.count(|metrics, path| metrics.connection_declined(path, error.code(), reason));
    let mut response = answer_to(&error);
    response.headers_mut().extend(headers);
    response
}

/// An error as an answer.
pub(super) fn answer_to(error: &Error) -> Response<Body> {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = refuse(status, error.message());
    if let Some(after) = error.retry_after() {
        // Whole seconds, and not too early (RFC 9110 section 10.2.3).
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The pages of other origins that may read the answer.
pub(super) fn with_cors(settings: &EndpointSettings, mut response: Response<Body>) -> Response<Body> {
    let origin = HeaderValue::from_str(&settings.cors_allow_origin);
    if let Some(origin) = origin.ok().filter(|origin| !origin.is_empty()) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if settings.cors_allow_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    response
}

/// A plain-text answer (docs/protocol.md, HTTP answers before the upgrade).
pub(crate) fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::whole(format!("{reason}\n")));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &str); 2] =
        [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
