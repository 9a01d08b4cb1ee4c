//! The PROXY protocol, in which a proxy sends the client's address ahead of each connection
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::io;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Peer;

/// The first bytes of a header of version 2 (section 2.2). A header of version 1 is never shorter than this.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the fixed part of a header of version 2: the signature, version, family and length.
const FIXED_PART: usize = 16;

/// The longest header of version 1 (section 2.1).
const MAX_LINE: usize = 107;

/// The longest variable part of a header of version 2 that is accepted. The protocol allows 64 KiB; the addresses of Unix
/// sockets take 216 bytes, and extensions such as a certificate's name seldom more than some hundred.
const MAX_VARIABLE_PART: usize = 4096;

/// Reads the header at the beginning of a connection, and no byte behind it. Returns the client that the header names;
/// `None` for a connection of the proxy itself.
pub(in crate::serve) async fn read_proxy_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Peer>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_more(stream, &mut header, FIXED_PART - SIGNATURE.len()).await?;
        let length = usize::from(u16::from_be_bytes([header[FIXED_PART - 2], header[FIXED_PART - 1]]));
        if length > MAX_VARIABLE_PART {
            return Err(invalid("the PROXY header is too long"));
        }
        read_more(stream, &mut header, length).await?;
    } else if header.starts_with(b"PROXY ") {
        // Byte by byte: the line has no length, and what follows it must stay in the socket.
        while !header.ends_with(b"\r\n") {
            if header.len() == MAX_LINE {
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
        return Err(invalid("the PROXY header has a wrong length"));
    }
    match parsed.proxied_address() {
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(Peer::at(address.source))),
        Some(_) => Err(invalid("the PROXY header is for datagrams")),
        None => Ok(None),
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let read = header.len();
    header.resize(read + count, 0);
    stream.read_exact(&mut header[read..]).await?;
    Ok(())
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a header: the client's address, and the bytes that stay unread.
    async fn read(mut bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), String> {
        let header = read_proxy_header(&mut bytes).await.map_err(|error| error.to_string())?;
        Ok((header.map(|peer| peer.to_string()), bytes.to_vec()))
    }

    /// A header of version 2.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_the_bytes_behind_the_header_stay_unread() {
        let v4 = [1, 2, 3, 4, 10, 0, 0, 1, 0, 80, 1, 187];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0, 80, 1, 187]].concat();
        let extra = [&v4[..], &[4, 0, 2, 0, 0]].concat();
        let mapped = [&[0; 10][..], &[0xff, 0xff, 1, 2, 3, 4], &[0; 16], &[0, 80, 1, 187]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 1.2.3.4 10.0.0.1 80 443\r\n".to_vec(), Some("1.2.3.4:80")),
            (b"PROXY TCP6 2001:db8::1 ::1 80 443\r\n".to_vec(), Some("[2001:db8::1]:80")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), Some("1.2.3.4:80")),
            (version_2(0x21, 0x11, &extra), Some("1.2.3.4:80")),
            (version_2(0x21, 0x21, &v6), Some("[2001:db8::1]:80")),
            (version_2(0x21, 0x21, &mapped), Some("1.2.3.4:80")),
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
    async fn invalid_headers_are_refused() {
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
            (&version_2(0x21, 0x12, &[0; 12]), "the PROXY header is for datagrams"),
            (&version_2(0x20, 0, &[0; 5000]), "the PROXY header is too long"),
            (b"PROXY TCP4", "early eof"),
        ] {
            assert_eq!(read(bytes).await, Err(expected.to_owned()), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_usize..3) {
            let prefix = [&b""[..], b"PROXY TCP4 ", &SIGNATURE][kind];
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            // Valid or not: only a panic would be a failure.
            let _ = runtime.block_on(read(&[prefix, &bytes[..]].concat()));
        }
    }
}
