use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::DEADLINE;

/// The head of a request to upgrade to a WebSocket.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A client that sends and receives raw bytes of HTTP, over a stream of any kind.
#[derive(Debug)]
pub struct HttpClient<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> HttpClient<S> {
    /// Sends any bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("it reads");
    }

    /// Reads until `text` was received, and returns everything received.
    pub async fn until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        while !read.windows(text.len()).any(|window| window == text.as_bytes()) {
            let more = timeout(DEADLINE, self.0.read_buf(&mut read)).await.expect("in time").expect("open");
            // 0 bytes are the end of the stream.
            assert_ne!(more, 0, "no `{text}` in {}", String::from_utf8_lossy(&read));
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads to the end of the stream, and fails at a reset, or over TLS at an end without `close_notify`.
    pub async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let end = timeout(DEADLINE, self.0.read_to_end(&mut read)).await.expect("it ends in time");
        let read = String::from_utf8_lossy(&read).into_owned();
        end.unwrap_or_else(|error| panic!("{error}, after {read}"));
        read
    }
}
