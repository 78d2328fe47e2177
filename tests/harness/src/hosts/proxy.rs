//! An HTTP proxy that refuses to connect anybody, until it is told otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Received, Tapped, forward};
use crate::error::Result;

/// The proxy. Dropping it closes its port.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    received: Received,
    /// What a CONNECT is answered; nothing when it is done.
    refusal: Arc<watch::Sender<Option<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// Refuses every CONNECT with this status line, such as `403 Forbidden`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn refusing(status: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let received = Received::default();
        let refusal = Arc::new(watch::Sender::new(Some(status.to_owned())));
        let server = tokio::spawn(serve(listener, received.clone(), Arc::clone(&refusal)));
        Ok(Self { address, received, refusal, server })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses with another status line.
    pub fn refuse(&self, status: &str) {
        self.refusal.send_replace(Some(status.to_owned()));
    }

    /// Connects everybody from now on.
    pub fn connect(&self) {
        self.refusal.send_replace(None);
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.received.connections()
    }

    /// What it was sent, and what it carried.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.received.bytes()
    }
}

async fn serve(listener: TcpListener, received: Received, refusal: Arc<watch::Sender<Option<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        received.connected();
        let stream = Tapped { stream, received: received.clone() };
        let refusal = refusal.borrow().clone();
        tokio::spawn(async move { answer(stream, refusal).await });
    }
}

async fn answer(mut stream: Tapped<TcpStream>, refusal: Option<String>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if let Some(status) = refusal {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return stream.write_all(answer.as_bytes()).await;
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split_whitespace().nth(1).unwrap_or_default();
    let port = target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    // Whatever its name was: there are no other hosts than this one here.
    forward(stream, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}
