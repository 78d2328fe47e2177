//! A repository as Flux sees it: an archive at a URL, with its digest and a revision.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::AbortHandle};

type Archives = Arc<Mutex<HashMap<String, Bytes>>>;

/// Serves archives on loopback, as source-controller does.
pub(crate) struct Archiver {
    url: String,
    archives: Archives,
    server: AbortHandle,
}

impl Drop for Archiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An archive that is served.
pub(crate) struct Artifact {
    pub(crate) url: String,
    pub(crate) digest: String,
    pub(crate) revision: String,
}

impl Archiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let archives = Archives::default();
        let served = archives.clone();
        let accepting = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = served.clone();
                let answer = move |request: Request<Incoming>| {
                    let found = served.lock().unwrap().get(request.uri().path()).cloned();
                    let status = if found.is_some() { 200 } else { 404 };
                    let body = Full::new(found.unwrap_or_default());
                    std::future::ready(Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()))
                };
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
            }
        };
        Self { url, archives, server: tokio::spawn(accepting).abort_handle() }
    }

    /// Serves what is in the folder, as a commit of its own.
    pub(crate) fn serve(&self, folder: &Path) -> Artifact {
        let packed = Command::new("tar").arg("-C").arg(folder).args(["-czf", "-", "."]).output().unwrap();
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        let commit = format!("{:040x}", fastrand::u128(..));
        self.offer(packed.stdout, format!("main@sha1:{commit}"))
    }

    /// Serves a packed chart, as it comes out of a registry.
    pub(crate) fn serve_chart(&self, file: &Path, version: &str) -> Artifact {
        let archive = std::fs::read(file).unwrap();
        let revision = format!("{version}@sha256:{}", sha256(&archive));
        self.offer(archive, revision)
    }

    fn offer(&self, archive: Vec<u8>, revision: String) -> Artifact {
        let digest = sha256(&archive);
        let path = format!("/{digest}.tar.gz");
        self.archives.lock().unwrap().insert(path.clone(), archive.into());
        Artifact { url: format!("{}{path}", self.url), digest: format!("sha256:{digest}"), revision }
    }
}

fn sha256(bytes: &[u8]) -> String {
    use std::{io::Write as _, process::Stdio};
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum is installed");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    output.split_whitespace().next().unwrap().to_owned()
}

/// A checkout that a test changes as it likes.
pub(crate) struct Checkout(tempfile::TempDir);

impl Checkout {
    /// With a copy of a folder of this repository under this path.
    pub(crate) fn with(path: &str, folder: &str) -> Self {
        let checkout = Self(tempfile::tempdir().unwrap());
        checkout.add(path, folder);
        checkout
    }

    pub(crate) fn add(&self, path: &str, folder: &str) {
        let from = harness::tools::workspace().join(folder);
        let to = self.path(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}:\n{text}");
        self.write(path, &text.replace(from, to));
    }
}
