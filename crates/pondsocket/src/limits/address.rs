//! Who the client is when proxies stand before it (RFC 7239): the nearest address that no trusted proxy speaks for.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::error::{Error, Result};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    /// # Errors
    /// 400 if one is neither an address nor a network; the message names the field.
    pub(crate) fn parse(texts: &[String]) -> Result<Proxies> {
        let network = |text: &String| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| Error::bad_request(format!("trusted_proxies: `{text}` is no address or network")))
        };
        texts.iter().map(network).collect::<Result<_>>().map(Proxies)
    }

    /// The client's address: that of the peer, unless it is a trusted proxy. Then what it says of the one before it,
    /// and so on; what an untrusted one says is not heard. `Forwarded` is preferred to `X-Forwarded-For`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trust(client) {
            return client;
        }
        for hop in hops(headers).into_iter().rev() {
            match hop {
                Some(address) => client = address,
                // An unknown or obfuscated one: nobody further away can be believed.
                None => return client,
            }
            if !self.trust(client) {
                return client;
            }
        }
        client
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// What one address counts as, where connections are counted: of IPv6 its network of 64 bits, which is what one
/// customer has.
pub(crate) fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

/// The addresses that the proxies noted, the client's first.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    // A line with bytes that are no text is not left out: what was appended to it would be lost, and what somebody
    // wrote before it believed.
    let entries = |name: &HeaderName| {
        let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let elements =
            |line: Cow<'_, str>| line.split(',').map(|element| element.trim().to_owned()).collect::<Vec<_>>();
        lines.flat_map(elements).collect::<Vec<_>>()
    };
    if headers.contains_key(FORWARDED) {
        return entries(&FORWARDED).iter().map(|entry| node(forwarded_for(entry)?)).collect();
    }
    entries(&X_FORWARDED_FOR).iter().map(|entry| node(entry)).collect()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value.trim_matches('"')).next()
}

/// An address, with or without a port, an IPv6 one maybe in brackets (RFC 7239 section 6).
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.or_else(|| bare?.parse().ok()).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use http::HeaderValue;

    use super::*;

    fn client(proxies: &[&str], peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let proxies: Vec<_> = proxies.iter().map(|text| (*text).to_owned()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a header value"));
        }
        let proxies = Proxies::parse(&proxies).expect("valid");
        proxies.client(peer.parse().expect("an address"), &map).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let headers = [(X_FORWARDED_FOR, "1.1.1.1"), (FORWARDED, "for=2.2.2.2")];
        assert_eq!(client(&[], "9.9.9.9", &headers), "9.9.9.9");
        assert_eq!(client(&["10.0.0.0/8"], "9.9.9.9", &headers), "9.9.9.9");
    }

    #[test]
    fn the_nearest_address_that_no_trusted_proxy_speaks_for_is_the_client() {
        let proxies = ["10.0.0.0/8", "192.168.0.1"];
        let chain = [(X_FORWARDED_FOR, "6.6.6.6, 1.2.3.4, 192.168.0.1"), (X_FORWARDED_FOR, "10.1.1.1")];
        assert_eq!(client(&proxies, "10.0.0.1", &chain), "1.2.3.4", "what stands before it anybody can write");
        assert_eq!(client(&proxies, "::ffff:10.0.0.1", &chain), "1.2.3.4", "an IPv4 address in another dress");
        assert_eq!(client(&proxies, "10.0.0.1", &[(X_FORWARDED_FOR, "10.0.0.2")]), "10.0.0.2");
        assert_eq!(client(&proxies, "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_preferred_and_understood_in_all_its_forms() {
        let of = |value| client(&["10.0.0.1"], "10.0.0.1", &[(FORWARDED, value), (X_FORWARDED_FOR, "6.6.6.6")]);
        assert_eq!(of("for=1.2.3.4;proto=https;by=10.0.0.1"), "1.2.3.4");
        assert_eq!(of("proto=https; For=\"1.2.3.4:4711\""), "1.2.3.4");
        assert_eq!(of("for=\"[2001:db8::1]:4711\""), "2001:db8::1");
        assert_eq!(of("for=9.9.9.9, for=\"[2001:db8::1]\""), "2001:db8::1");
        assert_eq!(of("for=9.9.9.9, for=_hidden"), "10.0.0.1", "what is behind an unknown one is not believed");
        assert_eq!(of("for=9.9.9.9, proto=http"), "10.0.0.1");
    }

    #[test]
    fn what_is_no_text_hides_nothing_that_was_appended_to_it() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "6.6.6.6".parse().expect("a header value"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff, 1.2.3.4").expect("a header value"));
        let proxies = Proxies::parse(&["10.0.0.1".into()]).expect("valid");
        let client = |headers: &HeaderMap| proxies.client("10.0.0.1".parse().expect("an address"), headers).to_string();
        assert_eq!(client(&headers), "1.2.3.4");
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff").expect("a header value"));
        assert_eq!(client(&headers), "10.0.0.1", "nobody behind an unknown one is believed");
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
        fn any_header_is_survived(values in prop::collection::vec("[ -~]{0,40}", 0..4), standard: bool) {
            let name = if standard { FORWARDED } else { X_FORWARDED_FOR };
            let headers: Vec<_> = values.iter().map(|value| (name.clone(), value.as_str())).collect();
            let address = client(&["0.0.0.0/0", "::/0"], "10.0.0.1", &headers);
            prop_assert!(address.parse::<IpAddr>().is_ok());
        }
    }
}
