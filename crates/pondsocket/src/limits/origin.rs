//! Which web pages may connect (RFC 6454): the only protection against a page that uses its visitor's cookies.

use http::HeaderMap;
use http::header::ORIGIN;
use regex::Regex;

use crate::error::{Error, Result};
use crate::options::Options;

/// The origins that are let in.
#[derive(Debug)]
pub(crate) enum Origins {
    /// Nobody asks.
    Any,
    /// These.
    Only { listed: Vec<String>, patterns: Vec<Regex>, missing: bool },
}

impl Origins {
    /// # Errors
    /// 400 if one is no origin or no regular expression; the message names the field.
    pub(crate) fn new(options: &Options) -> Result<Origins> {
        let listed = options.allowed_origins.iter().map(|origin| parse(origin)).collect::<Result<Vec<_>>>()?;
        let patterns = options.allowed_origin_regexps.iter().map(|text| compile(text)).collect::<Result<Vec<_>>>()?;
        if !options.check_origin || listed.iter().any(|origin| origin == "*") {
            return Ok(Origins::Any);
        }
        Ok(Origins::Only { listed, patterns, missing: options.allow_missing_origin })
    }

    /// Whether a request with these headers may come in.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let Origins::Only { listed, patterns, missing } = self else { return true };
        let mut sent = headers.get_all(ORIGIN).iter();
        match (sent.next().map(|origin| origin.to_str()), sent.next()) {
            (None, _) => *missing,
            (Some(Ok(origin)), None) => {
                let origin = canonical(origin);
                listed.contains(&origin) || patterns.iter().any(|pattern| pattern.is_match(&origin))
            }
            // Two of them, or one that is no text: no browser sends that.
            _ => false,
        }
    }
}

fn parse(text: &str) -> Result<String> {
    let valid = text == "*" || text == "null" || text.split_once("://").is_some_and(|(_, host)| !host.is_empty());
    if !valid {
        return Err(Error::bad_request(format!("allowed_origins: `{text}` is not `*` and has no scheme")));
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
    let origin = origin.trim_end_matches('/').to_ascii_lowercase();
    let default = [("http://", ":80"), ("https://", ":443")];
    let port = default.iter().find(|(scheme, _)| origin.starts_with(scheme)).map_or("", |(_, port)| port);
    match origin.strip_suffix(port) {
        Some(rest) if !port.is_empty() => rest.to_owned(),
        _ => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(options: Options, origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(ORIGIN, origin.parse().expect("a header value"));
        }
        Origins::new(&options.check_origin(true)).expect("valid").allow(&headers)
    }

    fn listed(origins: &[&str]) -> Options {
        Options::default().allowed_origins(origins.iter().map(|origin| (*origin).to_owned()).collect())
    }

    #[test]
    fn an_origin_is_compared_as_a_whole() {
        let options = || listed(&["https://Example.org:443/", "http://localhost:3000"]);
        for allowed in ["https://example.org", "https://EXAMPLE.org:443", "http://localhost:3000"] {
            assert!(allows(options(), &[allowed]), "{allowed}");
        }
        for refused in ["http://example.org", "https://example.org.evil.net", "https://example.org:8443", "null", ""] {
            assert!(!allows(options(), &[refused]), "{refused}");
        }
        assert!(!allows(options(), &["https://example.org", "https://example.org"]), "two of them");
    }

    #[test]
    fn a_pattern_matches_the_whole_origin() {
        let options = || Options::default().allowed_origin_regexps(vec![r"https://[a-z]+\.example\.org".into()]);
        assert!(allows(options(), &["https://app.example.org"]));
        assert!(!allows(options(), &["https://app.example.org.evil.net"]));
        assert!(!allows(options(), &["https://evil.net/https://app.example.org"]));
    }

    #[test]
    fn who_sends_none_is_let_in_unless_that_is_forbidden() {
        assert!(allows(listed(&["https://a.b"]), &[]));
        assert!(!allows(listed(&["https://a.b"]).allow_missing_origin(false), &[]));
    }

    #[test]
    fn a_star_allows_all() {
        assert!(allows(listed(&["*"]), &["https://anything"]));
    }
}
