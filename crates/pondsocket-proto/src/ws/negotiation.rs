//! Negotiation of `permessage-deflate`: the offer that is accepted, and the answer to it (RFC 7692 section 7.1).

use std::ops::RangeInclusive;
use std::{fmt, mem};

use http::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

const NAME: &str = "permessage-deflate";

/// The windows that can be compressed for. RFC 7692 allows 8 as well, which zlib does not support for raw streams.
const OUR_WINDOWS: RangeInclusive<u8> = 9..=15;
const ANY_WINDOW: RangeInclusive<u8> = 8..=15;
const DEFAULT_WINDOW: u8 = 15;

/// The negotiated compression: without context takeover in either direction.
///
/// Its `Display` is the answer for `Sec-WebSocket-Extensions`. `client_max_window_bits` is never part of it: it would
/// limit the client's window to save memory of the server's inflater, of which there is only one for each thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deflate {
    /// The window that the client has asked for.
    server_max_window_bits: Option<u8>,
}

impl Deflate {
    /// The window of the messages that the server sends, 9 to 15 bits: see [`Deflater::new`](super::Deflater::new).
    pub fn window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(DEFAULT_WINDOW)
    }

    /// The first acceptable offer. The client lists its offers in order of preference (RFC 6455 section 9.1).
    pub(super) fn negotiate(headers: &HeaderMap) -> Option<Self> {
        headers
            .get_all(SEC_WEBSOCKET_EXTENSIONS)
            .iter()
            // Lossy: an offer that is not text is not acceptable, but other offers in the same header may be.
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .find_map(|value| split_unquoted(&value, ',').find_map(Self::accept))
    }

    /// Accepts `permessage-deflate; name; name=value; ...`. An unknown, repeated or malformed parameter, or a window
    /// that is not supported, declines the offer (RFC 7692 section 7.1).
    fn accept(offer: &str) -> Option<Self> {
        let mut parameters = split_unquoted(offer, ';');
        if parameters.next()? != NAME {
            return None;
        }
        let mut seen = Vec::new();
        let mut accepted = Self { server_max_window_bits: None };
        for parameter in parameters {
            let (name, value) = parse_parameter(parameter)?;
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                // Both hold for every agreement of this server, asked for or not.
                ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
                ("server_max_window_bits", Some(bits)) => {
                    accepted.server_max_window_bits = Some(window(&bits, OUR_WINDOWS)?);
                }
                // Only checked. It says that the client can limit its window, which the server need not ask for (RFC
                // 7692 section 7.1.2.2).
                ("client_max_window_bits", Some(bits)) => drop(window(&bits, ANY_WINDOW)?),
                ("client_max_window_bits", None) => {}
                _ => return None,
            }
        }
        Some(accepted)
    }
}

impl fmt::Display for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}; server_no_context_takeover; client_no_context_takeover")?;
        match self.server_max_window_bits {
            Some(bits) => write!(f, "; server_max_window_bits={bits}"),
            None => Ok(()),
        }
    }
}

/// Window sizes are written without leading zeros (RFC 7692 section 7.1.2).
fn window(value: &str, allowed: RangeInclusive<u8>) -> Option<u8> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || value.starts_with('0') {
        return None;
    }
    value.parse().ok().filter(|bits| allowed.contains(bits))
}

/// Parses `name`, `name=token` or `name="token"`, where the quoted form may escape characters (RFC 6455 section 9.1).
/// The grammar of tokens is not checked: all names and values that are accepted are tokens.
fn parse_parameter(parameter: &str) -> Option<(&str, Option<String>)> {
    let Some((name, value)) = parameter.split_once('=') else {
        return Some((parameter, None));
    };
    let (name, value) = (name.trim_end(), value.trim_start());
    let value = match value.strip_prefix('"') {
        Some(quoted) => unquote(quoted.strip_suffix('"')?)?,
        None => value.to_owned(),
    };
    Some((name, Some(value)))
}

fn unquote(quoted: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?),
            '"' => return None,
            character => value.push(character),
        }
    }
    Some(value)
}

/// Splits at separators outside of quotes and trims the parts.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |character| {
        let literal = mem::take(&mut escaped);
        match character {
            '\\' if quoted && !literal => escaped = true,
            '"' if !literal => quoted = !quoted,
            _ => {}
        }
        character == separator && !quoted
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(offers: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
        }
        Deflate::negotiate(&headers).map(|deflate| deflate.to_string())
    }

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn accepted_offers() {
        let window = |bits: u8| format!("{PLAIN}; server_max_window_bits={bits}");
        let table = [
            ("permessage-deflate", PLAIN.to_owned()),
            ("permessage-deflate; client_max_window_bits", PLAIN.to_owned()),
            ("permessage-deflate; client_max_window_bits=8", PLAIN.to_owned()),
            ("permessage-deflate; client_max_window_bits=15", PLAIN.to_owned()),
            ("permessage-deflate; server_no_context_takeover", PLAIN.to_owned()),
            ("permessage-deflate; client_no_context_takeover", PLAIN.to_owned()),
            ("permessage-deflate; server_max_window_bits=9", window(9)),
            ("permessage-deflate;server_max_window_bits=12", window(12)),
            ("permessage-deflate ; server_max_window_bits = 15", window(15)),
            ("permessage-deflate; server_max_window_bits=\"10\"", window(10)),
            ("permessage-deflate; server_max_window_bits=\"1\\0\"", window(10)),
            (
                "permessage-deflate; client_max_window_bits; server_max_window_bits=11; \
                 server_no_context_takeover; client_no_context_takeover",
                window(11),
            ),
        ];
        for (offer, expected) in table {
            assert_eq!(answer(&[offer]), Some(expected), "{offer}");
        }
    }

    #[test]
    fn declined_offers() {
        let table = [
            "",
            "x-webkit-deflate-frame",
            "Permessage-Deflate",
            "permessage-deflate;",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+10",
            "permessage-deflate; server_max_window_bits=1 0",
            "permessage-deflate; server_max_window_bits=265",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=1\"0\"",
            "permessage-deflate; server_max_window_bits=\"10\\\"",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate server_no_context_takeover",
        ];
        for offer in table {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn the_first_acceptable_offer_wins() {
        let ten = Some(format!("{PLAIN}; server_max_window_bits=10"));
        let wanted = "permessage-deflate; server_max_window_bits=10";
        assert_eq!(answer(&[wanted, "permessage-deflate"]), ten);
        assert_eq!(answer(&["other, permessage-deflate; server_max_window_bits=8, ", wanted]), ten);
        assert_eq!(
            answer(&["permessage-deflate; server_max_window_bits=8, permessage-deflate"]),
            Some(PLAIN.to_owned())
        );
        assert_eq!(
            answer(&["other; value=\"a, \\\" permessage-deflate\", permessage-deflate; server_max_window_bits=10"]),
            ten
        );
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn quoted_text_is_no_offer_and_ends_with_the_quotes() {
        let plain = Some(PLAIN.to_owned());
        assert_eq!(answer(&["other; value=\"a, permessage-deflate, b\""]), None);
        assert_eq!(answer(&[r#"other; value="a", permessage-deflate"#]), plain);
        assert_eq!(answer(&[r#"other; value="a\"", permessage-deflate"#]), plain);
        assert_eq!(
            answer(&[r#"other; value="a\", permessage-deflate, b""#]),
            None,
            "a quote that is escaped ends nothing"
        );
        assert_eq!(answer(&[r#"other; value="a\\", permessage-deflate"#]), plain, "a backslash may be escaped");
        assert_eq!(answer(&[r#"other\", permessage-deflate, b""#]), None, "nothing is escaped outside of quotes");
        assert_eq!(answer(&[r#"permessage-deflate; client_max_window_bits="1;0""#]), None);
    }

    #[test]
    fn the_window_is_the_largest_unless_asked_otherwise() {
        assert_eq!(Deflate::accept("permessage-deflate").unwrap().window_bits(), 15);
        assert_eq!(Deflate::accept("permessage-deflate; server_max_window_bits=9").unwrap().window_bits(), 9);
    }
}
