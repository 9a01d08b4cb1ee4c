//! The socket of a connection. Reads use a scratch buffer of the thread, so that an idle connection holds none.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pondsocket_proto::ws;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::engine::outbox::Writer;

/// The most bytes of one read. With less, a large message costs more system calls; with more, one client occupies a thread
/// for longer.
const READ: usize = 64 * 1024;

/// Any bidirectional byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The source of a connection's bytes.
pub(crate) enum Socket {
    /// Plain TCP. The outbox holds the write half, so that deliveries can write.
    Tcp(OwnedReadHalf),
    /// Anything else: read and written by the connection's task. In two boxes, because a wide pointer would need 8 more bytes
    /// of every connection.
    Io(Box<Box<dyn Io>>),
    /// Closed.
    None,
}

impl Socket {
    pub(crate) fn tcp(stream: TcpStream) -> (Socket, Writer) {
        let (read, write) = stream.into_split();
        (Socket::Tcp(read), Writer::Socket(write))
    }

    pub(crate) fn io(stream: Box<dyn Io>) -> (Socket, Writer) {
        (Socket::Io(Box::new(stream)), Writer::Task)
    }

    /// The stream, if the connection's task and not the outbox writes to it.
    pub(crate) fn as_writer(&mut self) -> Option<&mut dyn Io> {
        match self {
            Socket::Io(io) => Some(&mut ***io),
            _ => None,
        }
    }

    /// Shuts down the side of the server. For TCP the outbox does it, by dropping the write half.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Io(io) => Pin::new(&mut **io).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Reads once. `Ok(0)` is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        match self {
            Socket::Tcp(read) => ready!(Pin::new(read).poll_read(cx, &mut buffer))?,
            Socket::Io(io) => ready!(Pin::new(&mut **io).poll_read(cx, &mut buffer))?,
            Socket::None => {}
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Socket::Tcp(_) => "Tcp",
            Socket::Io(_) => "Io",
            Socket::None => "None",
        })
    }
}

/// The buffers that a thread decodes with.
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    pub(crate) codec: ws::Scratch,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Calls a function with the scratch of the thread. It is taken out meanwhile, because the function may itself poll another
    /// connection.
    pub(crate) fn lend<A>(with: impl FnOnce(&mut Scratch) -> A) -> A {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| {
            Box::new(Scratch { read: vec![0; READ].into_boxed_slice(), codec: ws::Scratch::default() })
        });
        let answer = with(&mut scratch);
        // Replaces one that an inner call has created, so that a thread keeps only one.
        SCRATCH.set(Some(scratch));
        answer
    }
}
