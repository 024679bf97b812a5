//! An HTTP server that a provider is: requests to it over connections that are used again, plain or with TLS (rustls).

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

/// Idle connections kept; more are closed.
const MAX_IDLE: usize = 256;

/// Why there is no answer.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// See the module.
pub struct Origin {
    /// `host:port`.
    address: String,
    /// What `Host` says: without the port where it is the scheme's own.
    host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Longest answer, in bytes.
    max_answer: usize,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Whose certificates are trusted.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Those in a PEM file, or those of this machine.
    ///
    /// # Errors
    /// A file that cannot be read, or no certificate at all.
    pub fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(path) => {
                for certificate in CertificateDer::pem_file_iter(path)? {
                    roots.add(certificate?)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("it has no certificate".into());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

impl Origin {
    /// The one of this address, `http://host[:port]` or `https://host[:port]` and nothing more; `None` for another kind of
    /// address. With TLS if there is trust.
    #[must_use]
    pub fn new(url: &Url, trust: Option<Trust>, max_answer: usize) -> Option<Self> {
        let (host, port) = (url.host()?, url.port_or_known_default()?);
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let name = match &host {
            Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
            Host::Ipv4(address) => Some(ServerName::IpAddress((*address).into())),
            Host::Ipv6(address) => Some(ServerName::IpAddress((*address).into())),
        };
        let tls = match trust {
            Some(Trust(config)) => Some((TlsConnector::from(config), name?)),
            None => None,
        };
        let shown = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        Some(Self { address: format!("{host}:{port}"), host: shown, tls, max_answer, idle: Mutex::default() })
    }

    /// Asks. Cancelled at any await, the request may have been done or not.
    ///
    /// # Errors
    /// No connection, one that broke, an answer that is no HTTP or too long.
    pub async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let mut sender = self.connection().await?;
        request.headers_mut().insert(HOST, self.host.parse()?);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, self.max_answer).collect().await?.to_bytes();
        self.keep(sender);
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        while let Some(sender) = self.take() {
            if sender.is_ready() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => shake_hands(connector.connect(name.clone(), stream).await?).await,
            None => shake_hands(stream).await,
        }
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle.lock().pop()
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(sender);
        }
    }
}

async fn shake_hands<T>(stream: T) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with its sender, or when the server closes it, which the sender tells.
    tokio::spawn(connection);
    Ok(sender)
}
