//! Hosts beside the emulator: one that speaks TLS in front of it, well or badly, a proxy on the way to it, and strangers
//! that nobody has a reason to talk to. Each keeps what it was sent.

mod front;
mod proxy;
mod stranger;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub use front::{Face, Front};
pub use proxy::Proxy;
pub use stranger::Stranger;

/// Bytes that came from clients, over all connections, and how many connections there were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received(Arc<Mutex<(usize, Vec<u8>)>>);

impl Received {
    fn connected(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
    }

    fn take(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.extend_from_slice(bytes);
    }

    fn connections(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// A stream that keeps what is read from it.
#[derive(Debug)]
struct Tapped<S> {
    stream: S,
    received: Received,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.received.take(buffer.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Carries bytes either way until one side ends.
async fn forward<S: AsyncRead + AsyncWrite + Unpin>(mut client: S, target: std::net::SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
