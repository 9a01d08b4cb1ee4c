//! The client's address behind proxies (RFC 7239): the nearest address that is not itself that of a trusted proxy.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::limits::origin::Forwarded;
use crate::options::Options;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The entry in `trusted_proxies` that stands for the peer of a Unix socket, which has no address.
const UNIX: &str = "unix";

/// Addresses and networks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(Vec<IpNet>);

impl Networks {
    /// Parses addresses and networks.
    ///
    /// # Errors
    /// 400 if a text is neither; the message names the field.
    pub(crate) fn parse<T: AsRef<str>>(field: &str, texts: impl IntoIterator<Item = T>) -> Result<Networks> {
        let network = |text: T| {
            let text = text.as_ref();
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| Error::bad_request(format!("{field}: `{text}` is no address or network")))
        };
        texts.into_iter().map(network).collect::<Result<_>>().map(Networks)
    }

    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The trusted proxies, and the headers in which they give the client's address.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    networks: Networks,
    unix: bool,
    header: HeaderName,
}

impl Default for Proxies {
    fn default() -> Proxies {
        Proxies { networks: Networks::default(), unix: false, header: X_FORWARDED_FOR }
    }
}

impl Proxies {
    /// Parses the options.
    ///
    /// # Errors
    /// 400 if a proxy is neither an address nor a network, nor `unix`, or the header's name is invalid; the message
    /// names the field.
    pub(crate) fn new(options: &Options) -> Result<Proxies> {
        let proxies = &options.trusted_proxies;
        let networks = Networks::parse("trusted_proxies", proxies.iter().filter(|text| *text != UNIX))?;
        let unix = proxies.iter().any(|text| text == UNIX);
        let header = &options.client_address_header;
        let header = HeaderName::from_bytes(header.as_bytes())
            .map_err(|_| Error::bad_request(format!("client_address_header: `{header}` is no name of a header")))?;
        Ok(Proxies { networks, unix, header })
    }

    /// The client's address: that of the peer, unless the peer is a trusted proxy. Then it is the address from which
    /// the proxy received the request, and so on through further trusted proxies. Headers of an untrusted peer are
    /// ignored, because a client can set them to any address.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        // An IPv4 peer of a socket that accepts both has an IPv6 address, which networks of IPv4 do not contain.
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return peer;
        }
        self.behind(headers).unwrap_or(peer)
    }

    /// The client's address behind the peer of a Unix socket, which has no address of its own.
    pub(crate) fn client_over_unix(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.unix.then(|| self.behind(headers)).flatten()
    }

    /// The nearest address in the headers that is not that of a trusted proxy, or the furthest address that is known.
    fn behind(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = None;
        // Each proxy appends the address that it sees, so the last one is the nearest, and the first ones may be forged
        // by the client.
        for hop in hops(headers, &self.header).into_iter().rev() {
            let Some(address) = hop else {
                // An unknown or obfuscated address (RFC 7239 section 6). It may be that of an untrusted peer, so no
                // address before it can be trusted.
                return client;
            };
            client = Some(address);
            if !self.trust(address) {
                return client;
            }
        }
        client
    }

    /// The forwarding headers of a trusted proxy: the hosts that the client requested, as each proxy on the way has
    /// noted it, and the scheme. Empty if the peer is not trusted.
    pub(crate) fn forwarded(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Forwarded {
        if !peer.is_some_and(|peer| self.trust(peer.ip().to_canonical())) {
            return Forwarded::default();
        }
        self.forwarded_in(headers)
    }

    /// The forwarding headers of the peer of a Unix socket.
    pub(crate) fn forwarded_over_unix(&self, headers: &HeaderMap) -> Forwarded {
        if self.unix { self.forwarded_in(headers) } else { Forwarded::default() }
    }

    fn forwarded_in(&self, headers: &HeaderMap) -> Forwarded {
        if self.header == FORWARDED {
            let of = |name: &str| -> Vec<String> {
                let elements = elements(headers, &FORWARDED);
                elements.iter().filter_map(|element| parameter(element, name)).map(Cow::into_owned).collect()
            };
            // The first entry is of the proxy nearest to the client: those behind it may connect without TLS among
            // themselves.
            return Forwarded { hosts: of("host"), scheme: of("proto").into_iter().next() };
        }
        let unquote = |element: String| unquoted(&element).into_owned();
        let of = |name: &HeaderName| elements(headers, name).into_iter().map(unquote);
        let scheme = of(&X_FORWARDED_PROTO).next();
        Forwarded { hosts: of(&X_FORWARDED_HOST).collect(), scheme }
    }

    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.networks.contain(address)
    }
}

/// The key under which connections of an address are counted. For IPv6 it is the network of 64 bits, because one
/// customer usually has at least a whole network of that size.
pub(crate) fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

/// The addresses that the proxies noted, the client's first.
fn hops(headers: &HeaderMap, name: &HeaderName) -> Vec<Option<IpAddr>> {
    let elements = elements(headers, name);
    match *name == FORWARDED {
        true => elements.iter().map(|element| node(&parameter(element, "for")?)).collect(),
        false => elements.iter().map(|element| node(&unquoted(element))).collect(),
    }
}

/// The elements of a header that is a list, of all its lines. Empty ones do not count (RFC 9110 section 5.6.1.2).
fn elements(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    // Lossy, because a line that is not text must not be skipped: the addresses that proxies have appended to it would
    // be lost, and an earlier, forged one would be trusted.
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let elements = lines.flat_map(|line| split(&line, ',').into_iter().map(str::to_owned).collect::<Vec<_>>());
    elements.filter(|element| !element.is_empty()).collect()
}

/// The parts between separators outside of quoted strings (RFC 9110 section 5.6.4), without spaces around them. The
/// text is read from its end, which the nearest proxy has written: a quote that a client opens and never closes cannot
/// hide what proxies have appended.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut end, mut quoted) = (Vec::new(), text.len(), false);
    for (at, letter) in text.char_indices().rev() {
        if letter == '"' && !is_escaped(&text[..at]) {
            quoted = !quoted;
        } else if letter == separator && !quoted {
            parts.push(text[at + letter.len_utf8()..end].trim());
            end = at;
        }
    }
    parts.push(text[..end].trim());
    parts.reverse();
    parts
}

/// Returns `true` if the character behind this text in a quoted string is escaped: an odd number of backslashes
/// precedes it.
fn is_escaped(before: &str) -> bool {
    before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The contents of a quoted string. Any other text is returned without quotes at its ends.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inside) = inside else { return text.trim_matches('"').into() };
    let mut escaped = false;
    let letters = inside.chars().filter(|letter| {
        escaped = *letter == '\\' && !escaped;
        !escaped
    });
    letters.collect::<String>().trim().to_owned().into()
}

/// A parameter of one element of `Forwarded` (RFC 7239 section 4).
fn parameter<'a>(element: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = split(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value);
    values.next().map(|value| unquoted(value.trim()))
}

/// Parses an address with or without a port; `None` for an obfuscated one (RFC 7239 section 6.3). An IPv6 address may
/// be in brackets, and may have a zone (RFC 4007 section 11), which is dropped because it has a meaning only on the
/// proxy.
fn node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // A single colon separates a port; several belong to an IPv6 address without brackets.
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => address,
            _ => text,
        },
    };
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    address.trim().parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use proptest::prelude::*;

    use http::HeaderValue;

    use super::*;

    fn trusting(proxies: &[&str], header: &HeaderName) -> Proxies {
        let options = Options::default().trusted_proxies(proxies).client_address_header(header.to_string());
        Proxies::new(&options).expect("valid")
    }

    fn client(proxies: &[&str], peer: &str, headers: &[(HeaderName, &str)]) -> String {
        client_by(&X_FORWARDED_FOR, proxies, peer, headers)
    }

    fn client_by(header: &HeaderName, proxies: &[&str], peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a header value"));
        }
        trusting(proxies, header).client(peer.parse().expect("an address"), &map).to_string()
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        let headers = [(X_FORWARDED_FOR, "1.1.1.1"), (FORWARDED, "for=2.2.2.2")];
        assert_eq!(client(&[], "9.9.9.9", &headers), "9.9.9.9");
        assert_eq!(client(&["10.0.0.0/8"], "9.9.9.9", &headers), "9.9.9.9");
    }

    #[test]
    fn the_nearest_address_that_is_no_trusted_proxy_is_the_client() {
        let proxies = ["10.0.0.0/8", "192.168.0.1"];
        let chain = [(X_FORWARDED_FOR, "6.6.6.6, 1.2.3.4, 192.168.0.1"), (X_FORWARDED_FOR, "10.1.1.1")];
        assert_eq!(client(&proxies, "10.0.0.1", &chain), "1.2.3.4", "any client can write the addresses before it");
        assert_eq!(client(&proxies, "::ffff:10.0.0.1", &chain), "1.2.3.4", "an IPv4 address in another dress");
        assert_eq!(client(&proxies, "10.0.0.1", &[(X_FORWARDED_FOR, "10.0.0.2")]), "10.0.0.2");
        assert_eq!(client(&proxies, "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn only_the_header_that_is_named_is_read() {
        let real = HeaderName::from_static("x-real-ip");
        let all = [(X_FORWARDED_FOR, "1.1.1.1"), (FORWARDED, "for=2.2.2.2"), (real.clone(), "3.3.3.3")];
        let of =
            |header: &HeaderName, headers: &[(HeaderName, &str)]| client_by(header, &["10.0.0.1"], "10.0.0.1", headers);
        assert_eq!(client(&["10.0.0.1"], "10.0.0.1", &all), "1.1.1.1", "by default");
        assert_eq!(client(&["10.0.0.1"], "10.0.0.1", &all[1..]), "10.0.0.1", "other headers do not count");
        assert_eq!(of(&FORWARDED, &all), "2.2.2.2");
        assert_eq!(of(&FORWARDED, &all[..1]), "10.0.0.1");
        assert_eq!(of(&real, &all), "3.3.3.3");
    }

    #[test]
    fn the_host_of_a_trusted_proxy_counts_and_no_other() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-host", "example.org, inner:80"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1;host=\"example.com:8443\";proto=http"),
        ] {
            headers.append(name, value.parse().expect("a header value"));
        }
        let of = |header: &HeaderName, peer: &str| {
            let peer = Some(SocketAddr::new(peer.parse().expect("an address"), 1));
            let Forwarded { hosts, scheme } = trusting(&["10.0.0.1"], header).forwarded(peer, &headers);
            (hosts.join(" "), scheme.unwrap_or_default())
        };
        let nothing = (String::new(), String::new());
        assert_eq!(of(&X_FORWARDED_FOR, "10.0.0.1"), ("example.org inner:80".to_owned(), "https".to_owned()));
        assert_eq!(of(&FORWARDED, "::ffff:10.0.0.1"), ("example.com:8443".to_owned(), "http".to_owned()));
        assert_eq!(of(&X_FORWARDED_FOR, "10.0.0.2"), nothing);
        assert!(trusting(&["10.0.0.1"], &FORWARDED).forwarded(None, &headers).hosts.is_empty());
    }

    #[test]
    fn all_forms_of_the_standard_header_are_parsed() {
        let of = |value| client_by(&FORWARDED, &["10.0.0.1"], "10.0.0.1", &[(FORWARDED, value)]);
        assert_eq!(of("for=1.2.3.4;proto=https;by=10.0.0.1"), "1.2.3.4");
        assert_eq!(of("proto=https; For=\"1.2.3.4:4711\""), "1.2.3.4");
        assert_eq!(of("for=\"[2001:db8::1]:4711\""), "2001:db8::1");
        assert_eq!(of("for=9.9.9.9, for=\"[2001:db8::1]\""), "2001:db8::1");
        assert_eq!(of("for=9.9.9.9, for=_hidden"), "10.0.0.1", "what is behind an unknown one is not believed");
        assert_eq!(of("for=9.9.9.9, proto=http"), "10.0.0.1");
    }

    #[test]
    fn all_forms_of_addresses_are_parsed() {
        let of = |name: &HeaderName, values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| (name.clone(), *value)).collect();
            client_by(name, &["10.0.0.1", "10.0.0.2"], "10.0.0.1", &headers)
        };
        for (values, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4"),
            (&["1.2.3.4, "], "1.2.3.4"),
            (&["1.2.3.4,,"], "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4 , , "], "1.2.3.4"),
            (&["6.6.6.6", "1.2.3.4", ""], "1.2.3.4"),
            (&[", ,1.2.3.4"], "1.2.3.4"),
            (&["\"1.2.3.4\""], "1.2.3.4"),
            (&["6.6.6.6, \"1.2.3.4\" "], "1.2.3.4"),
            (&["\" 1.2.3.4\""], "1.2.3.4"),
            (&["1.2.3.4:5678"], "1.2.3.4"),
            (&["\"1.2.3.4:5678\""], "1.2.3.4"),
            (&["1.2.3.4:_hidden"], "1.2.3.4"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:5678, 10.0.0.2"], "2001:db8::1"),
            (&["\"[2001:db8::1]:5678\",10.0.0.2:99"], "2001:db8::1"),
            (&["fe80::1%eth0"], "fe80::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            (&["[::ffff:1.2.3.4]:80"], "1.2.3.4"),
            // A line of the client, with a quote that it does not close.
            (&["\"6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            (&["\"6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            (&["\", \"1.2.3.4\""], "1.2.3.4"),
            (&["6.6.6.6\\, \"1.2.3.4\""], "1.2.3.4"),
            // An unknown address: the nearest known one counts.
            (&["6.6.6.6, unknown"], "10.0.0.1"),
            (&["6.6.6.6, not an address, 10.0.0.2"], "10.0.0.2"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(of(&X_FORWARDED_FOR, values), expected, "{values:?}");
        }
        for (values, expected) in [
            (&["for=1.2.3.4, "][..], "1.2.3.4"),
            (&["for=1.2.3.4", ""], "1.2.3.4"),
            (&["for = \"1.2.3.4\""], "1.2.3.4"),
            (&["by=\"a,b;for=6.6.6.6\";for=1.2.3.4"], "1.2.3.4"),
            (&["for=\"\\[2001:db8::1\\]\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]:_x\";proto=https"], "2001:db8::1"),
            (&["for=6.6.6.6;by=\"open, for=1.2.3.4"], "1.2.3.4"),
            (&["for=\", for=\"[2001:db8::1]\""], "2001:db8::1"),
        ] {
            assert_eq!(of(&FORWARDED, values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_text_does_not_hide_appended_addresses() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "6.6.6.6".parse().expect("a header value"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff, 1.2.3.4").expect("a header value"));
        let proxies = trusting(&["10.0.0.1"], &X_FORWARDED_FOR);
        let client = |headers: &HeaderMap| proxies.client("10.0.0.1".parse().expect("an address"), headers).to_string();
        assert_eq!(client(&headers), "1.2.3.4");
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff").expect("a header value"));
        assert_eq!(client(&headers), "10.0.0.1", "no address behind an unknown one is trusted");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let group = |text: &str| group(text.parse().expect("an address"));
        assert_eq!(group("2001:db8:1:2:3::4"), group("2001:db8:1:2:ffff::1"));
        assert_ne!(group("2001:db8:1:2::4"), group("2001:db8:1:3::4"));
        assert_ne!(group("1.2.3.4"), group("1.2.3.5"));
    }

    proptest! {
        /// Clients write these headers.
        #[test]
        fn no_header_panics(values in prop::collection::vec("[ -~]{0,40}", 0..4), standard: bool) {
            let name = if standard { FORWARDED } else { X_FORWARDED_FOR };
            let headers: Vec<_> = values.iter().map(|value| (name.clone(), value.as_str())).collect();
            let address = client_by(&name, &["0.0.0.0/0", "::/0"], "10.0.0.1", &headers);
            prop_assert!(address.parse::<IpAddr>().is_ok());
        }
    }
}
