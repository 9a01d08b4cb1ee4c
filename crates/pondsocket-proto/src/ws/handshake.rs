//! The opening handshake: the check of a request, and the two answers to it (RFC 6455 section 4.2).
//!
//! The HTTP server checks the `Host` header, and the application decides which values of `Origin` it accepts.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::header::{
    ALLOW, CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version, request};
use sha1::{Digest, Sha1};
use thiserror::Error;

use super::Deflate;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION_13: HeaderValue = HeaderValue::from_static("13");

/// The constant that is hashed with a client's key to make the accept key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The bytes of a key, once decoded (RFC 6455 section 4.1).
const KEY_LEN: usize = 16;

/// The base64 of a key. The last character of 16 encoded bytes has unused bits, which strict decoders require to be
/// zero. Some clients choose 24 random characters instead; nothing depends on these bits, so they are accepted.
const KEY_ENCODING: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// A request that may become a WebSocket. It can still be refused until [`response`](Self::response) is sent.
#[derive(Clone, Debug)]
pub struct Handshake {
    accept_key: HeaderValue,
    deflate: Option<Deflate>,
}

/// The reason for which a request cannot become a WebSocket. `Display` is a text for the response's body.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// Only GET can be upgraded.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// HTTP/1.0 has no upgrades, and HTTP/2 has a method of its own (RFC 8441), which is not supported.
    #[error("a WebSocket is opened over HTTP/1.1")]
    HttpVersion,
    /// `Upgrade` does not ask for a WebSocket.
    #[error("this is a WebSocket: the header `Upgrade: websocket` is missing")]
    Upgrade,
    /// `Connection` does not name the `Upgrade` header.
    #[error("the header `Connection: Upgrade` is missing")]
    Connection,
    /// `Sec-WebSocket-Version` is not 13, the only version there is.
    #[error("the header `Sec-WebSocket-Version: 13` is missing")]
    Version,
    /// `Sec-WebSocket-Key` is missing, repeated, or not 16 bytes in base64.
    #[error("the header `Sec-WebSocket-Key` is missing or invalid")]
    Key,
}

/// Returns `true` if the request asks for a WebSocket, even if it does so with errors.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket")
}

/// Checks a request. `compression` allows `permessage-deflate` if the client offers it.
///
/// # Errors
///
/// The first of the rules of RFC 6455 section 4.2.1 that the request breaks.
pub fn accept<B>(request: &Request<B>, compression: bool) -> Result<Handshake, Refusal> {
    check(request.method(), request.version(), request.headers())?;
    Handshake::new(request.headers(), compression)
}

/// Checks a request without its body, like [`accept`].
///
/// # Errors
///
/// As for [`accept`].
pub fn accept_parts(request: &request::Parts, compression: bool) -> Result<Handshake, Refusal> {
    check(&request.method, request.version, &request.headers)?;
    Handshake::new(&request.headers, compression)
}

impl Handshake {
    fn new(headers: &HeaderMap, compression: bool) -> Result<Self, Refusal> {
        let key = only(headers, SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(Refusal::Key)?;
        let deflate = if compression { Deflate::negotiate(headers) } else { None };
        Ok(Self { accept_key: accept_key(key.as_bytes()), deflate })
    }

    /// The answer that makes the connection a WebSocket (RFC 6455 section 4.2.2). More headers may be added.
    pub fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept_key.clone());
        if let Some(deflate) = self.deflate {
            let answer = HeaderValue::try_from(deflate.to_string()).expect("visible ASCII");
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, answer);
        }
        response
    }

    /// The negotiated compression: for the [`Decoder`](super::Decoder), and for the messages that are sent.
    pub fn deflate(&self) -> Option<Deflate> {
        self.deflate
    }
}

impl Refusal {
    /// The status of the response: 405, 426 where another protocol or version would be accepted, else 400.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion | Self::Upgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Connection | Self::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// The headers of the response, which name the values that would be accepted (RFC 6455 section 4.4, RFC 9110
    /// section 15.5.22).
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Self::Method = self {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
            return headers;
        }
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, VERSION_13);
        headers
    }
}

fn check(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    // First, because an HTTP/2 request to upgrade has another method (CONNECT) and other headers: the version is the
    // fault to report.
    if version != Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    if !is_upgrade(headers) {
        return Err(Refusal::Upgrade);
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err(Refusal::Connection);
    }
    if only(headers, SEC_WEBSOCKET_VERSION) != Some(&VERSION_13) {
        return Err(Refusal::Version);
    }
    Ok(())
}

/// The subprotocols that the client offers, in its order of preference (RFC 6455 section 4.1). A name that is not text
/// is skipped, and the others are still listed.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let names = elements.filter_map(|element| str::from_utf8(element.trim_ascii()).ok());
    names.filter(|name| !name.is_empty())
}

/// Returns `true` if one of the header's comma-separated values is `token`, in upper or lower case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    // Split as bytes: a value with one element that is not ASCII has no text form, but its other elements count.
    let elements = headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements.into_iter().any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of a header that must not be repeated (RFC 6455 section 11.3).
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    // A repeated header counts as missing: no rule says which of the values is valid.
    values.next().filter(|_| values.next().is_none())
}

fn is_key(value: &HeaderValue) -> bool {
    KEY_ENCODING.decode(value).is_ok_and(|key| key.len() == KEY_LEN)
}

fn accept_key(key: &[u8]) -> HeaderValue {
    // SHA-1 protects nothing here: it proves that the server knows the protocol (RFC 6455 section 1.3).
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455 section 1.3.
    fn sample() -> request::Builder {
        Request::get("/chat")
            .header("Host", "server.example.com")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Origin", "http://example.com")
            .header("Sec-WebSocket-Version", "13")
    }

    fn check_request(request: request::Builder) -> Result<Handshake, Refusal> {
        accept(&request.body(()).unwrap(), true)
    }

    fn with(name: &str, value: &str) -> Result<Handshake, Refusal> {
        let mut request = sample();
        let headers = request.headers_mut().unwrap();
        headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        check_request(request)
    }

    fn without(name: &str) -> Result<Handshake, Refusal> {
        let mut request = sample();
        request.headers_mut().unwrap().remove(name);
        check_request(request)
    }

    #[test]
    fn the_sample_of_the_rfc() {
        let response = check_request(sample()).unwrap().response();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert_eq!(response.headers()["connection"], "Upgrade");
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers().len(), 3);
    }

    #[test]
    fn an_element_that_is_not_ascii_does_not_hide_the_others() {
        for value in [&b"keep-alive, Upgrade, t\xc3\xa4g"[..], b"\xff, upgrade"] {
            let mut request = sample();
            request.headers_mut().unwrap().insert("connection", HeaderValue::from_bytes(value).unwrap());
            assert!(check_request(request).is_ok(), "{value:?}");
        }
        let mut request = sample();
        let offers = HeaderValue::from_bytes(b"x-\xe4, permessage-deflate").unwrap();
        request.headers_mut().unwrap().insert("sec-websocket-extensions", offers);
        assert!(check_request(request).unwrap().deflate().is_some());
    }

    #[test]
    fn subprotocols_are_listed_in_the_order_of_the_client() {
        let mut request = sample().header("Sec-WebSocket-Protocol", "pond, token.a-b_c.~d,,");
        let more = HeaderValue::from_bytes(b"b\xff, chat").unwrap();
        request.headers_mut().unwrap().append("sec-websocket-protocol", more);
        assert_eq!(
            subprotocols(request.headers_ref().unwrap()).collect::<Vec<_>>(),
            ["pond", "token.a-b_c.~d", "chat"]
        );
        assert_eq!(subprotocols(&HeaderMap::new()).next(), None);
    }

    #[test]
    fn header_values_are_lists_in_any_case() {
        assert!(with("upgrade", "h2c, WebSocket").is_ok());
        assert!(with("connection", "keep-alive, UPGRADE").is_ok());
        let mut request = sample();
        request.headers_mut().unwrap().insert("connection", HeaderValue::from_static("keep-alive"));
        assert!(check_request(request.header("Connection", "upgrade")).is_ok());
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        let refused = ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZTE=", "dGhlIHNhbXBsZSBub25j"];
        for key in refused {
            assert_eq!(with("sec-websocket-key", key).err(), Some(Refusal::Key), "{key}");
        }
        assert!(with("sec-websocket-key", "1234567890123456789012==").is_ok());
        assert_eq!(without("sec-websocket-key").err(), Some(Refusal::Key));
        let repeated = sample().header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(check_request(repeated).err(), Some(Refusal::Key));
    }

    #[test]
    fn other_refusals() {
        let refusal = |result: Result<Handshake, Refusal>| result.expect_err("refused");
        assert_eq!(refusal(check_request(sample().method("POST"))), Refusal::Method);
        assert_eq!(refusal(check_request(sample().version(Version::HTTP_10))), Refusal::HttpVersion);
        assert_eq!(refusal(check_request(sample().version(Version::HTTP_2))), Refusal::HttpVersion);
        // How HTTP/2 asks for a WebSocket (RFC 8441).
        let extended = sample().method("CONNECT").version(Version::HTTP_2);
        assert_eq!(refusal(check_request(extended)), Refusal::HttpVersion);
        assert_eq!(refusal(without("upgrade")), Refusal::Upgrade);
        assert_eq!(refusal(with("upgrade", "websockets")), Refusal::Upgrade);
        assert_eq!(refusal(without("connection")), Refusal::Connection);
        assert_eq!(refusal(with("connection", "keep-alive")), Refusal::Connection);
        assert_eq!(refusal(without("sec-websocket-version")), Refusal::Version);
        assert_eq!(refusal(with("sec-websocket-version", "8")), Refusal::Version);
        assert_eq!(refusal(check_request(sample().header("Sec-WebSocket-Version", "8"))), Refusal::Version);
    }

    #[test]
    fn refusals_name_the_values_that_would_be_accepted() {
        assert_eq!(Refusal::Method.status(), 405);
        assert_eq!(Refusal::Method.headers()["allow"], "GET");
        for refusal in [Refusal::HttpVersion, Refusal::Upgrade, Refusal::Version] {
            assert_eq!(refusal.status(), 426);
            assert_eq!(refusal.headers()["sec-websocket-version"], "13");
            assert_eq!(refusal.headers()["upgrade"], "websocket");
            assert_eq!(refusal.headers()["connection"], "Upgrade");
        }
        for refusal in [Refusal::Connection, Refusal::Key] {
            assert_eq!(refusal.status(), 400);
            assert_eq!(refusal.headers()["sec-websocket-version"], "13");
            assert_eq!(refusal.headers()["upgrade"], "websocket");
        }
    }

    #[test]
    fn compression_takes_both_sides() {
        let request = sample()
            .header("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=10")
            .body(())
            .unwrap();
        let handshake = accept(&request, true).unwrap();
        assert_eq!(handshake.deflate().unwrap().window_bits(), 10);
        assert_eq!(
            handshake.response().headers()["sec-websocket-extensions"],
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10"
        );

        let (parts, ()) = request.into_parts();
        let handshake = accept_parts(&parts, false).unwrap();
        assert_eq!(handshake.deflate(), None);
        assert!(!handshake.response().headers().contains_key("sec-websocket-extensions"));
    }

    #[test]
    fn a_faulty_upgrade_counts_as_an_upgrade() {
        let headers = |value| HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static(value))]);
        assert!(is_upgrade(&headers("WebSocket")));
        assert!(!is_upgrade(&headers("h2c")));
        assert!(!is_upgrade(&HeaderMap::new()));
    }
}
