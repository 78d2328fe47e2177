//! The emulator behind TLS: with a good certificate, or with one of the faults at which every client must turn away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{Received, Tapped, forward};
use crate::error::{Context as _, Result};

/// What a client meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// A certificate for this host, signed by the authority in [`Front::authority`].
    Good,
    /// The same, but its time is over.
    Expired,
    /// The same, but its time is still to come.
    NotYet,
    /// A valid certificate for another host.
    OtherHost,
    /// A certificate for this host that signs itself.
    SelfSigned,
    /// An authority that nobody knows, of the same name as the right one.
    OtherAuthority,
    /// A server that agrees to TLS 1.0.
    OldVersion,
    /// No TLS at all, but a plain answer.
    Plain,
}

impl Face {
    /// All at which a client must turn away.
    pub const BAD: [Self; 7] = [
        Self::Expired,
        Self::NotYet,
        Self::OtherHost,
        Self::SelfSigned,
        Self::OtherAuthority,
        Self::OldVersion,
        Self::Plain,
    ];
}

/// The TLS host. Dropping it closes its port.
#[derive(Debug)]
pub struct Front {
    host: String,
    port: u16,
    authority: PathBuf,
    face: watch::Sender<Face>,
    raw: Received,
    plain: Received,
    server: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Front {
    /// Stands in front of `target` and shows a good certificate. The authority's file goes into `folder`.
    ///
    /// # Errors
    /// When no port or no certificate can be had.
    pub async fn before(target: SocketAddr, folder: &Path) -> Result<Self> {
        Self::named("localhost", Ipv4Addr::LOCALHOST.into(), target, folder).await
    }

    /// The same on another address, under a name by which its clients find it there.
    ///
    /// # Errors
    /// As [`Self::before`].
    pub async fn named(host: &str, address: IpAddr, target: SocketAddr, folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let port = listener.local_addr()?.port();
        let certificates = Certificates::new(host)?;
        let authority = folder.join(format!("authority-{port}.pem"));
        std::fs::write(&authority, &certificates.authority).context(authority.display())?;
        let (raw, plain) = (Received::default(), Received::default());
        let face = watch::Sender::new(Face::Good);
        let visitor = Visitor { certificates, target, raw: raw.clone(), plain: plain.clone() };
        let server = tokio::spawn(serve(listener, Arc::new(visitor), face.subscribe()));
        Ok(Self { host: host.to_owned(), port, authority, face, raw, plain, server })
    }

    /// Where clients find the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}:{}/client/v4", self.host, self.port)
    }

    /// The certificate of the only authority that a client of this host should trust, as a PEM file.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Shows another face from now on; open connections are closed.
    pub fn show(&self, face: Face) {
        self.face.send_replace(face);
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.raw.connections()
    }

    /// What came over the wire.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.raw.bytes()
    }

    /// What clients said once TLS stood: nothing, when they turned away in time.
    #[must_use]
    pub fn plain(&self) -> Vec<u8> {
        self.plain.bytes()
    }
}

async fn serve(listener: TcpListener, visitor: Arc<Visitor>, mut face: watch::Receiver<Face>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let (visitor, face) = (Arc::clone(&visitor), *face.borrow());
                connections.spawn(async move { visitor.meets(face, stream).await });
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
            changed = face.changed() => match changed {
                Ok(()) => connections.shutdown().await,
                Err(_) => return,
            },
        }
    }
}

/// What a connection needs to know.
struct Visitor {
    certificates: Certificates,
    target: SocketAddr,
    raw: Received,
    plain: Received,
}

impl Visitor {
    async fn meets(&self, face: Face, stream: TcpStream) -> Result<()> {
        self.raw.connected();
        let mut stream = Tapped { stream, received: self.raw.clone() };
        match face {
            Face::OldVersion => Ok(agree_to_tls_1_0(&mut stream).await?),
            Face::Plain => {
                let mut first = [0; 512];
                let _ = stream.read(&mut first).await?;
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await?;
                Ok(())
            }
            _ => {
                let acceptor = TlsAcceptor::from(self.certificates.server(face)?);
                let stream = acceptor.accept(stream).await?;
                Ok(forward(Tapped { stream, received: self.plain.clone() }, self.target).await?)
            }
        }
    }
}

/// Answers the hello as a server does that knows nothing newer, and listens to whatever comes then.
async fn agree_to_tls_1_0(stream: &mut (impl io::AsyncRead + io::AsyncWrite + Unpin)) -> io::Result<()> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await?;
    let [.., high, low] = header;
    let mut hello = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut hello).await?;
    // A handshake record of a ServerHello: version, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    let mut answer = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    answer.extend([7; 32]);
    answer.extend([0, 0, 0x2f, 0]);
    stream.write_all(&answer).await?;
    io::copy(stream, &mut io::sink()).await?;
    Ok(())
}

/// One authority, another of its name, and what it takes to sign for this host.
struct Certificates {
    host: String,
    authority: String,
    issuer: Issuer<'static, KeyPair>,
    stranger: Issuer<'static, KeyPair>,
}

impl Certificates {
    fn new(host: &str) -> Result<Self> {
        let authority = || -> Result<(String, Issuer<'static, KeyPair>)> {
            let mut params = CertificateParams::new(Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            let key = KeyPair::generate()?;
            Ok((params.self_signed(&key)?.pem(), Issuer::new(params, key)))
        };
        let ((authority, issuer), (_, stranger)) = (authority()?, authority()?);
        Ok(Self { host: host.to_owned(), authority, issuer, stranger })
    }

    fn server(&self, face: Face) -> Result<Arc<ServerConfig>> {
        let host = if face == Face::OtherHost { "api.example.com" } else { &self.host };
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        match face {
            Face::Expired => params.not_after = rcgen::date_time_ymd(2020, 1, 1),
            Face::NotYet => params.not_before = rcgen::date_time_ymd(3000, 1, 1),
            _ => {}
        }
        let key = KeyPair::generate()?;
        let certificate = match face {
            Face::SelfSigned => params.self_signed(&key)?,
            Face::OtherAuthority => params.signed_by(&key, &self.stranger)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key.into())?;
        Ok(Arc::new(config))
    }
}
