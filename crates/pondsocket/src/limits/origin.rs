//! The check of the origin of web pages (RFC 6454). It is the only protection against a page of another site that
//! connects with the credentials that its visitor's browser adds by itself: WebSockets are not subject to the
//! same-origin policy.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN};
use regex::Regex;

use crate::error::{Error, Result};
use crate::options::{CheckOrigin, Options};

/// The header in which a browser states the relation of a request's page to its target, also if it sends no `Origin`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The headers in which proxies forward the certificate of a client: of RFC 9440, of Envoy, and the common one behind
/// nginx.
const CERTIFICATES: [HeaderName; 3] = [
    HeaderName::from_static("client-cert"),
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("x-ssl-client-cert"),
];

/// The most characters of an origin or a host in a log line.
const LOGGED: usize = 200;

/// The pages that may connect.
#[derive(Debug)]
pub(crate) struct Origins {
    check: CheckOrigin,
    /// Set if pages of all origins may connect.
    any: bool,
    listed: Vec<String>,
    patterns: Vec<Regex>,
    missing: bool,
}

/// The origin and the target of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginCheck<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// The host that the URI names, as over HTTP/2.
    pub(crate) authority: Option<&'a str>,
    /// The hosts that a trusted proxy names, and the scheme that the client used.
    pub(crate) forwarded: &'a Forwarded,
    /// Set if the client has authenticated with a TLS certificate.
    pub(crate) certificate: bool,
}

/// The request as trusted proxies describe it.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    pub(crate) hosts: Vec<String>,
    pub(crate) scheme: Option<String>,
}

/// A page that was refused, for the operator's log.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct ForeignOrigin {
    /// The origin as it was sent; empty if there was none.
    pub(crate) origin: String,
    pub(crate) host: String,
    pub(crate) forwarded_host: String,
}

impl ForeignOrigin {
    /// The remedy: the option, with the value to add to it.
    pub(crate) fn hint(&self) -> String {
        let origin = &self.origin;
        if origin.is_empty() {
            return "no `Origin`: see `allow_missing_origin` and `check_origin`".to_owned();
        }
        if origin.starts_with("http://") || origin.starts_with("https://") {
            return format!(
                "if its pages may connect, add {origin:?} to `allowed_origins`; if it is this server behind a proxy, the \
                 proxy has to pass on `Host`, or to set `X-Forwarded-Host` and be named in `trusted_proxies`"
            );
        }
        format!(
            "to accept files, sandboxed pages or applications with this origin, add {origin:?} to `allowed_origins`"
        )
    }
}

impl Origins {
    /// Parses the options.
    ///
    /// # Errors
    /// 400 if a text is not an origin or not a regular expression; the message names the field.
    pub(crate) fn new(options: &Options) -> Result<Origins> {
        let mut listed = options.allowed_origins.iter().map(|origin| parse(origin)).collect::<Result<Vec<_>>>()?;
        let patterns = options.allowed_origin_regexps.iter().map(|text| compile(text)).collect::<Result<Vec<_>>>()?;
        if options.cors_allow_credentials {
            // By CORS this origin may read responses to requests with credentials, so it may make such requests, too.
            listed.push(canonical(&options.cors_allow_origin));
        }
        let any = listed.iter().any(|origin| origin == "*");
        Ok(Origins { check: options.check_origin, any, listed, patterns, missing: options.allow_missing_origin })
    }

    /// Checks the origin of a request.
    pub(crate) fn check(&self, request: OriginCheck<'_>) -> Result<(), ForeignOrigin> {
        let must_check = match self.check {
            CheckOrigin::Off => false,
            CheckOrigin::WithCredentials => brings_credentials(request),
            CheckOrigin::Always => true,
        };
        if !must_check || self.any || self.allow(request) {
            return Ok(());
        }
        let text = |name: HeaderName| request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let short = |text: &str| text.chars().take(LOGGED).collect::<String>();
        Err(ForeignOrigin {
            origin: short(&text(ORIGIN).unwrap_or_default()),
            host: short(&text(HOST).or(request.authority.map(Into::into)).unwrap_or_default()),
            forwarded_host: short(&request.forwarded.hosts.join(", ")),
        })
    }

    fn allow(&self, request: OriginCheck<'_>) -> bool {
        let mut sent = request.headers.get_all(ORIGIN).iter();
        match (sent.next().map(|origin| origin.to_str()), sent.next()) {
            // Browsers omit `Origin` where a page cannot read the response, but then they send `Sec-Fetch-Site`.
            // Clients that are not browsers send neither, and carry no credentials of a visitor.
            (None, _) => self.missing && !is_from_another_origin(request.headers),
            (Some(Ok(origin)), None) => {
                let origin = canonical(origin);
                is_same(&origin, request)
                    || self.listed.contains(&origin)
                    || self.patterns.iter().any(|pattern| pattern.is_match(&origin))
            }
            // Two origins, or one that is not text: no browser sends that.
            _ => false,
        }
    }
}

/// Returns `true` if a browser may have added credentials to the request by itself. Bearer tokens do not count: a
/// browser never adds one, so the page must know it.
fn brings_credentials(request: OriginCheck<'_>) -> bool {
    let is_bearer = |value: &[u8]| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    let headers = request.headers;
    request.certificate
        || headers.contains_key(COOKIE)
        || headers.get_all(AUTHORIZATION).iter().any(|value| !is_bearer(value.as_bytes()))
        || CERTIFICATES.iter().any(|name| headers.contains_key(name))
}

fn is_from_another_origin(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    // `none` is a request that the user has made, for example by the address bar. `same-site` is another origin of the
    // same site.
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

/// Returns `true` if the origin is that of the server itself: the host and port to which the client has connected.
fn is_same(origin: &str, request: OriginCheck<'_>) -> bool {
    let Some((scheme @ ("http" | "https"), host)) = origin.split_once("://") else { return false };
    let page = (without_port(host), port(scheme, host));
    let direct = request.headers.get(HOST).and_then(|host| host.to_str().ok()).or(request.authority);
    let forwarded = request.forwarded.hosts.iter().map(String::as_str);
    // A missing port is the default one of the scheme that the client used. If the client is known to have used TLS, a
    // page without TLS is another origin. A forwarded `http` is not used: a proxy may report the scheme of its nearest
    // peer, which is another proxy that has terminated TLS.
    let is_secure = request.forwarded.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let used = if is_secure { "https" } else { scheme };
    direct.into_iter().chain(forwarded).any(|host| {
        let host = host.trim().to_ascii_lowercase();
        page == (without_port(&host), port(used, &host))
    })
}

fn port<'a>(scheme: &str, host: &'a str) -> &'a str {
    // The colons within the brackets of an IPv6 address separate no port.
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    match (after.rsplit_once(':'), scheme) {
        (Some((_, port)), _) if !port.is_empty() => port,
        (_, "https") => "443",
        _ => "80",
    }
}

fn without_port(host: &str) -> &str {
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    host[end..].find(':').map_or(host, |colon| &host[..end + colon])
}

fn parse(text: &str) -> Result<String> {
    let wrong = |why: &str| Error::bad_request(format!("allowed_origins: `{text}` {why}"));
    if text == "*" || text.eq_ignore_ascii_case("null") {
        return Ok(text.to_ascii_lowercase());
    }
    // Some browsers send `file://` for a page that is a file; other schemes are those of applications.
    let Some((scheme, host)) = text.split_once("://") else { return Err(wrong("is not `*` and has no scheme")) };
    if scheme.is_empty() || scheme.contains(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter)) {
        return Err(wrong("has no scheme"));
    }
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    if is_web && host.trim_end_matches('/').is_empty() {
        return Err(wrong("is not `*` and has no host"));
    }
    if host.trim_end_matches('/').contains(['/', '?', '#', ' ', '*']) {
        return Err(wrong("is no origin: that is a scheme, a host, and a port that is not the default one"));
    }
    Ok(canonical(text))
}

fn compile(text: &str) -> Result<Regex> {
    // The whole origin must match: `example\.org` must not let `https://example.org.evil.net` in.
    Regex::new(&format!("^(?:{text})$"))
        .map_err(|_| Error::bad_request(format!("allowed_origin_regexps: `{text}` is no regular expression")))
}

/// Scheme and host in lower case, no slash behind them, no default port: as browsers send it.
fn canonical(origin: &str) -> String {
    let mut origin = origin.to_ascii_lowercase();
    let least = origin.find("://").map_or(0, |at| at + 3);
    // The slashes of the scheme stay, because an origin may consist of the scheme alone (`file://`).
    origin.truncate(origin.trim_end_matches('/').len().max(least));
    let default = [("http://", ":80"), ("https://", ":443")];
    let port = default.iter().find(|(scheme, _)| origin.starts_with(scheme)).map_or("", |(_, port)| port);
    match origin.strip_suffix(port) {
        Some(rest) if !port.is_empty() => rest.to_owned(),
        _ => origin,
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    fn allows(options: Options, lines: &[(&'static str, &str)]) -> bool {
        allows_forwarded(options, lines, &Forwarded::default())
    }

    fn allows_forwarded(options: Options, lines: &[(&'static str, &str)], forwarded: &Forwarded) -> bool {
        let headers = headers(lines);
        let request = OriginCheck { headers: &headers, authority: None, forwarded, certificate: false };
        Origins::new(&options).expect("valid").check(request).is_ok()
    }

    fn always(origins: &[&str]) -> Options {
        Options::default().check_origin(CheckOrigin::Always).allowed_origins(origins)
    }

    #[test]
    fn an_origin_is_compared_as_a_whole() {
        let options = || always(&["https://Example.org:443/", "http://localhost:3000"]);
        for allowed in ["https://example.org", "https://EXAMPLE.org:443", "http://localhost:3000"] {
            assert!(allows(options(), &[("origin", allowed)]), "{allowed}");
        }
        for refused in ["http://example.org", "https://example.org.evil.net", "https://example.org:8443", "null", ""] {
            assert!(!allows(options(), &[("origin", refused)]), "{refused}");
        }
        let twice = [("origin", "https://example.org"), ("origin", "https://example.org")];
        assert!(!allows(options(), &twice), "two of them");
    }

    #[test]
    fn origins_of_files_and_applications_are_compared_like_any_other() {
        let known = ["null", "file://", "capacitor://localhost", "app://.", "tauri://localhost", "ionic://localhost"];
        for listed in known {
            for sent in known {
                assert_eq!(allows(always(&[listed]), &[("origin", sent)]), listed == sent, "{listed} for {sent}");
            }
            let spoken = [("origin", listed), ("host", "localhost")];
            assert!(!allows(always(&[]), &spoken), "{listed} is not the origin of the server");
        }
        assert!(allows(always(&["chrome-extension://AbC"]), &[("origin", "chrome-extension://abc")]));
        let any_app = Options::default().allowed_origin_regexps([r"file://|moz-extension://[0-9a-f-]+"]);
        let any_app = any_app.check_origin(CheckOrigin::Always);
        assert!(allows(any_app.clone(), &[("origin", "file://")]));
        assert!(allows(any_app, &[("origin", "moz-extension://0a-1b")]));
    }

    #[test]
    fn an_option_that_is_not_an_origin_is_refused_and_named() {
        for text in
            ["example.org", "localhost:3000", "https://", "https:///", "://x", "https://a.b/app", "https://*.a.b"]
        {
            let options = Options::default().allowed_origins([text]);
            let error = Origins::new(&options).expect_err(text);
            assert!(error.message().starts_with(&format!("allowed_origins: `{text}`")), "{}", error.message());
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_origin() {
        let options = || {
            let options = Options::default().check_origin(CheckOrigin::Always);
            options.allowed_origin_regexps([r"https://[a-z]+\.example\.org"])
        };
        assert!(allows(options(), &[("origin", "https://app.example.org")]));
        assert!(!allows(options(), &[("origin", "https://app.example.org.evil.net")]));
        assert!(!allows(options(), &[("origin", "https://evil.net/https://app.example.org")]));
    }

    #[test]
    fn a_request_without_an_origin_is_accepted_unless_that_is_forbidden() {
        assert!(allows(always(&["https://a.b"]), &[]));
        assert!(!allows(always(&["https://a.b"]).allow_missing_origin(false), &[]));
        for (site, allowed) in [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)] {
            assert_eq!(allows(Options::default(), &[("cookie", "a=b"), ("sec-fetch-site", site)]), allowed, "{site}");
        }
    }

    #[test]
    fn a_star_allows_all() {
        assert!(allows(always(&["*"]), &[("origin", "https://anything")]));
    }

    #[test]
    fn by_default_only_requests_with_credentials_must_be_of_this_origin() {
        let with = |line: (&'static str, &str)| {
            allows(Options::default(), &[("origin", "https://evil.net"), ("host", "example.org"), line])
        };
        for line in [
            ("cookie", "theme=dark"),
            ("authorization", "Basic YWRhOnNlY3JldA=="),
            ("authorization", "Negotiate abc"),
            ("client-cert", ":MIIB:"),
            ("x-forwarded-client-cert", "Hash=1"),
        ] {
            assert!(!with(line), "{line:?}");
        }
        for line in [("authorization", "Bearer abc"), ("authorization", "bearer abc"), ("user-agent", "x")] {
            assert!(with(line), "{line:?}");
        }
        let lines = headers(&[("origin", "https://evil.net"), ("host", "example.org")]);
        let forwarded = Forwarded::default();
        let request = OriginCheck { headers: &lines, authority: None, forwarded: &forwarded, certificate: true };
        let foreign = Origins::new(&Options::default()).expect("valid").check(request).expect_err("a certificate");
        assert_eq!((foreign.origin.as_str(), foreign.host.as_str()), ("https://evil.net", "example.org"));
        let off = Options::default().check_origin(CheckOrigin::Off);
        assert!(allows(off, &[("origin", "https://evil.net"), ("cookie", "a=b")]));
    }

    #[test]
    fn the_same_host_and_port_are_the_same_origin() {
        for (origin, host, same) in [
            ("https://example.org", "example.org", true),
            ("https://example.org", "Example.ORG:443", true),
            ("http://example.org", "example.org:80", true),
            ("http://example.org:8080", "example.org:8080", true),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("http://[::1]", "[::1]", true),
            ("http://[::1]", "[::2]", false),
            ("http://localhost:5173", "localhost:3000", false),
            ("https://example.org", "example.org:8443", false),
            ("https://example.org", "example.org:80", false),
            ("https://example.org.evil.net", "example.org", false),
            ("https://example.org", "", false),
            ("null", "null", false),
        ] {
            let lines = [("origin", origin), ("host", host), ("cookie", "a=b")];
            assert_eq!(allows(Options::default(), &lines), same, "{origin} at {host}");
        }
    }

    #[test]
    fn the_host_that_a_trusted_proxy_names_counts_too() {
        let lines = [("origin", "https://example.org"), ("host", "10.0.0.7:3000"), ("cookie", "a=b")];
        let forwarded = |hosts: &[&str], scheme: Option<&str>| Forwarded {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            scheme: scheme.map(str::to_owned),
        };
        let allowed = |forwarded: Forwarded| allows_forwarded(Options::default(), &lines, &forwarded);
        assert!(!allowed(Forwarded::default()));
        assert!(allowed(forwarded(&["example.org"], None)));
        assert!(allowed(forwarded(&["example.org"], Some("https"))));
        assert!(allowed(forwarded(&["inner", "example.org:443"], Some("https"))));
        assert!(allowed(forwarded(&["example.org"], Some("http"))), "TLS ended before the proxy");
        let plain = [("origin", "http://example.org"), ("host", "example.org"), ("cookie", "a=b")];
        let secure = forwarded(&[], Some("https"));
        assert!(!allows_forwarded(Options::default(), &plain, &secure), "a page without TLS");
        assert!(allows_forwarded(Options::default(), &plain, &Forwarded::default()));
        assert!(!allowed(forwarded(&["example.com"], None)));
    }

    #[test]
    fn a_page_that_may_read_responses_with_credentials_may_request_them() {
        let cors = Options::default().cors_allow_origin("https://app.example.org".into());
        let lines = [("origin", "https://app.example.org"), ("cookie", "a=b")];
        assert!(!allows(cors.clone(), &lines));
        assert!(allows(cors.cors_allow_credentials(true), &lines));
    }
}
