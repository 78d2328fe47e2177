//! A host that nobody was told to talk to. It would serve anyone who does, and tells on them.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Received, Tapped};
use crate::canary;
use crate::error::Result;

/// The host. When it is dropped, no credential may have come to it.
#[derive(Debug)]
pub struct Stranger {
    address: SocketAddr,
    received: Received,
    server: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.server.abort();
        if !std::thread::panicking() {
            let leak = canary::complaint("another host", Ok(self.received.bytes()));
            assert!(leak.is_none(), "{}", leak.unwrap_or_default());
        }
    }
}

impl Stranger {
    /// Starts to listen.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let received = Received::default();
        let server = tokio::spawn(serve(listener, received.clone()));
        Ok(Self { address, received, server })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.received.connections()
    }

    /// What came over them.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.received.bytes()
    }
}

async fn serve(listener: TcpListener, received: Received) {
    const EMPTY: &str = r#"{"success":true,"errors":[],"messages":[],"result":[]}"#;
    while let Ok((stream, _)) = listener.accept().await {
        received.connected();
        let mut stream = Tapped { stream, received: received.clone() };
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(1..) = stream.read(&mut bytes).await {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    EMPTY.len()
                );
                if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(EMPTY.as_bytes()).await.is_err()
                {
                    return;
                }
            }
        });
    }
}
