//! The PROXY protocol, in which a proxy says of each connection whose it is
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::io;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Peer;

/// The beginning of a header of version 2, before its version, family and length (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Of those.
const HEAD: usize = 16;

/// A header of version 1 is no longer (section 2.1), and none is shorter than the signature of version 2.
const LONGEST_LINE: usize = 107;

/// A header of version 2 is no longer here: addresses of Unix sockets take 216 bytes, and what else it may say, such as
/// the certificate's name, seldom more than some hundred.
const LONGEST: usize = 4096;

/// Reads the header at the beginning of a connection, and not a byte more. Answers who the client is, if it says so of
/// somebody else than the proxy.
pub(in crate::serve) async fn header_of(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Peer>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_more(stream, &mut header, HEAD - SIGNATURE.len()).await?;
        let length = usize::from(u16::from_be_bytes([header[HEAD - 2], header[HEAD - 1]]));
        if length > LONGEST {
            return Err(invalid("the PROXY header is too long"));
        }
        read_more(stream, &mut header, length).await?;
    } else if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            if header.len() == LONGEST_LINE {
                return Err(invalid("the PROXY header is too long"));
            }
            read_more(stream, &mut header, 1).await?;
        }
    } else {
        return Err(invalid("there is no PROXY header"));
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (parsed, length) = ProxyHeader::parse(&header, config).map_err(|_| invalid("the PROXY header is invalid"))?;
    if length != header.len() {
        return Err(invalid("the PROXY header is not as long as it says"));
    }
    match parsed.proxied_address() {
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(Peer::at(address.source))),
        Some(_) => Err(invalid("the PROXY header speaks of datagrams")),
        None => Ok(None),
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let read = header.len();
    header.resize(read + count, 0);
    stream.read_exact(&mut header[read..]).await?;
    Ok(())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The client's address, and the bytes that are left to read.
    async fn read(mut bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), String> {
        let header = header_of(&mut bytes).await.map_err(|error| error.to_string())?;
        Ok((header.map(|peer| peer.to_string()), bytes.to_vec()))
    }

    /// A header of version 2.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_say_who_the_client_is_and_what_follows_is_left() {
        let v4 = [1, 2, 3, 4, 10, 0, 0, 1, 0, 80, 1, 187];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0, 80, 1, 187]].concat();
        let extra = [&v4[..], &[4, 0, 2, 0, 0]].concat();
        let dressed = [&[0; 10][..], &[0xff, 0xff, 1, 2, 3, 4], &[0; 16], &[0, 80, 1, 187]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 1.2.3.4 10.0.0.1 80 443\r\n".to_vec(), Some("1.2.3.4:80")),
            (b"PROXY TCP6 2001:db8::1 ::1 80 443\r\n".to_vec(), Some("[2001:db8::1]:80")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), Some("1.2.3.4:80")),
            (version_2(0x21, 0x11, &extra), Some("1.2.3.4:80")),
            (version_2(0x21, 0x21, &v6), Some("[2001:db8::1]:80")),
            (version_2(0x21, 0x21, &dressed), Some("1.2.3.4:80")),
            (version_2(0x20, 0x11, &v4), None),
            (version_2(0x20, 0, &[]), None),
            (version_2(0x21, 0, &[]), None),
            (version_2(0x21, 0x31, &[b'/'; 216]), None),
        ] {
            let rest = b"GET / HTTP/1.1\r\n";
            let read = read(&[&header[..], rest].concat()).await;
            assert_eq!(read, Ok((expected.map(str::to_owned), rest.to_vec())), "{header:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "there is no PROXY header"),
            (&[0x16; 200], "there is no PROXY header"),
            (b"PROXY TCP4 1.2.3.4 10.0.0.1 80 99999\r\n", "the PROXY header is invalid"),
            (b"PROXY TCP4 ::1 ::2 80 443\r\n", "the PROXY header is invalid"),
            (b"PROXY TCP4 1.2.3.4 10.0.0.1 80 443 5\r\n", "the PROXY header is invalid"),
            (b"PROXY NONE\r\n\r\n\r\n\r\n", "the PROXY header is invalid"),
            (long.as_bytes(), "the PROXY header is too long"),
            (&version_2(0x21, 0x11, &[0; 5]), "the PROXY header is invalid"),
            (&version_2(0x31, 0x11, &[0; 12]), "the PROXY header is invalid"),
            (&version_2(0x21, 0x12, &[0; 12]), "the PROXY header speaks of datagrams"),
            (&version_2(0x20, 0, &[0; 5000]), "the PROXY header is too long"),
            (b"PROXY TCP4", "early eof"),
        ] {
            assert_eq!(read(bytes).await, Err(expected.to_owned()), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_usize..3) {
            let prefix = [&b""[..], b"PROXY TCP4 ", &SIGNATURE][kind];
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            // Whether it is valid is up to chance.
            let _ = runtime.block_on(read(&[prefix, &bytes[..]].concat()));
        }
    }
}
