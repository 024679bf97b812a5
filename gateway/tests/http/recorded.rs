//! A Stripe that reads from a script, for what localstripe never does: refusals of busy and broken servers, old keys,
//! refunds that take their time. The shapes are those of Stripe's API reference. Real sockets, with TLS if asked.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// One answer of the script, to the one request that must come now.
pub struct Line {
    request: &'static str,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    /// Comes so late.
    after: Duration,
}

/// A request that came: `METHOD /path`, its headers and its parameters.
#[derive(Clone, Debug)]
pub struct Heard {
    pub request: String,
    pub headers: HeaderMap,
    pub form: String,
}

#[derive(Default)]
pub struct Recorded {
    script: Mutex<VecDeque<Line>>,
    heard: Mutex<Vec<Heard>>,
}

impl Line {
    /// `request` is a method and a path.
    pub fn new(request: &'static str, status: u16, body: &Value) -> Self {
        Self { request, status, headers: Vec::new(), body: body.to_string(), after: Duration::ZERO }
    }

    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer is this text instead.
    pub fn text(mut self, text: &str) -> Self {
        self.body = text.to_owned();
        self
    }

    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }
}

impl Recorded {
    /// Serves the script; returns the address.
    pub async fn start(script: Vec<Line>) -> (Arc<Self>, String) {
        Self::serve(script, None).await
    }

    /// The same with TLS, as `localhost`.
    pub async fn start_tls(script: Vec<Line>) -> (Arc<Self>, String) {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        let chain = CertificateDer::pem_file_iter(keys.join("provider.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(keys.join("provider.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::serve(script, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(script: Vec<Line>, tls: Option<TlsAcceptor>) -> (Arc<Self>, String) {
        let recorded = Arc::new(Self { script: Mutex::new(script.into()), heard: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let all = Arc::clone(&recorded);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, tls) = (Arc::clone(&all), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                all.speak(stream).await;
                            }
                        }
                        None => all.speak(stream).await,
                    }
                });
            }
        });
        (recorded, url)
    }

    /// What came, in order; everything the script expects must have.
    pub fn heard(&self) -> Vec<Heard> {
        assert!(self.script.lock().is_empty(), "not asked for: {}", self.script.lock()[0].request);
        self.heard.lock().clone()
    }

    /// How many requests have come.
    pub fn heard_so_far(&self) -> usize {
        self.heard.lock().len()
    }

    async fn speak<T: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, stream: T) {
        let service = service_fn(|request| self.answer(request));
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, String> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let form =
            if body.is_empty() { head.uri.query().unwrap_or_default().into() } else { String::from_utf8_lossy(&body) };
        let request = format!("{} {}", head.method, head.uri.path());
        self.heard.lock().push(Heard { request: request.clone(), headers: head.headers, form: form.into_owned() });
        let line = self.script.lock().pop_front();
        let Some(line) = line.filter(|line| request == line.request) else {
            // 404 is believed, so whoever asks this fails.
            let body =
                json!({ "error": { "type": "invalid_request_error", "code": format!("unexpected: {request}") } });
            return Ok(Response::builder().status(404).body(Full::new(body.to_string().into())).unwrap());
        };
        tokio::time::sleep(line.after).await;
        if line.status == 0 {
            // The connection breaks.
            return Err("as the script says".into());
        }
        let mut response = Response::builder().status(line.status);
        for (name, value) in line.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(line.body.into())).unwrap())
    }
}
