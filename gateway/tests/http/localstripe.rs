//! localstripe, a Stripe of its authors' making, as a process, and what stands before it: a front that adds the two things
//! which Stripe does and localstripe does not. It keeps the answers of idempotency keys (the same request again is answered
//! from there, another one under the same key is refused), and it lets a confirmation name its card, which it carries out as
//! an update and a confirmation. Lists can be asked for what was made since some time, which localstripe does not know either: it
//! has just been started, so that is everything. All else is localstripe's.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1 as client;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// How long localstripe may take to start.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// On the loopback interface alone, and without the file in which it keeps its state.
const SCRIPT: &str = "
import sys
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda store: None
web.run_app(server.app, host='127.0.0.1', port=int(sys.argv[1]), print=None)
";

pub struct LocalStripe {
    process: Child,
    pub front: Arc<Front>,
    pub url: String,
}

/// See the module.
pub struct Front {
    behind: SocketAddr,
    kept: Mutex<HashMap<String, Kept>>,
    /// Confirmations wait before they are carried out.
    pub confirmations_wait: AtomicBool,
    /// Confirmations are carried out and never answered.
    pub confirmations_are_lost: AtomicBool,
    /// Confirmations that were carried out, with what came of them.
    pub confirmed: Mutex<Vec<StatusCode>>,
}

struct Kept {
    request: String,
    answer: Option<(StatusCode, Bytes)>,
}

impl LocalStripe {
    /// `None` if it is not installed; `./test` installs it.
    pub async fn start() -> Option<Self> {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/localstripe/bin/python");
        if !python.exists() {
            let is_required = std::env::var_os("DOORBUSTER_REQUIRE_LOCALSTRIPE").is_some();
            assert!(!is_required, "no localstripe in {}", python.display());
            eprintln!("skipped: no localstripe in target/localstripe; ./test installs it");
            return None;
        }
        let behind = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(python)
            .args(["-c", SCRIPT, &behind.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let up = async {
            while TcpStream::connect(behind).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(UP_WITHIN, up).await.expect("localstripe starts");
        let front = Arc::new(Front {
            behind,
            kept: Mutex::default(),
            confirmations_wait: AtomicBool::new(false),
            confirmations_are_lost: AtomicBool::new(false),
            confirmed: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Arc::clone(&front)));
        Some(Self { process, front, url })
    }

    /// Has every event sent there, signed with this secret.
    pub async fn tell(&self, url: &str, secret: &str) {
        let body = format!("url={url}&secret={secret}");
        let (status, body) = self.front.pass("POST", "/_config/webhooks/doorbuster", body.into()).await;
        assert_eq!(status, 200, "{body:?}");
    }

    /// A list of localstripe's own, such as `charges`.
    pub async fn list(&self, what: &str) -> Vec<Value> {
        let (status, body) = self.front.pass("GET", &format!("/v1/{what}?limit=100"), Bytes::new()).await;
        assert_eq!(status, 200, "{body:?}");
        let list: Value = serde_json::from_slice(&body).unwrap();
        list["data"].as_array().unwrap().clone()
    }
}

impl Drop for LocalStripe {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("localstripe ends when it is killed");
    }
}

async fn serve(listener: tokio::net::TcpListener, front: Arc<Front>) {
    while let Ok((stream, _)) = listener.accept().await {
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                // A request that was read is carried out, whoever has stopped waiting for it.
                let front = Arc::clone(&front);
                async move { tokio::spawn(async move { front.answer(request).await }).await }
            });
            let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Front {
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path_and_query().unwrap().to_string();
        let key = head.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        let whole = format!("{path} {}", String::from_utf8_lossy(&body));
        if let Some(known) = key.as_ref().and_then(|key| self.kept(key, &whole)) {
            return known;
        }
        let (status, body) = if path.ends_with("/confirm") {
            self.confirm(&path, body).await
        } else {
            self.pass(head.method.as_str(), &without_since(&path), body).await
        };
        if let Some(key) = key {
            // What was refused before it was carried out is not kept.
            let mut kept = self.kept.lock();
            if status.is_success() || status == StatusCode::PAYMENT_REQUIRED {
                kept.get_mut(&key).unwrap().answer = Some((status, body.clone()));
            } else {
                kept.remove(&key);
            }
        }
        answer(status, body, false)
    }

    /// The answer to a key that was used before; takes the key if it was not.
    fn kept(&self, key: &str, request: &str) -> Option<Response<Full<Bytes>>> {
        let error = |status, kind, code| {
            let body = json!({ "error": { "type": kind, "code": code, "message": "as Stripe says" } }).to_string();
            Some(answer(status, body.into(), false))
        };
        let mut kept = self.kept.lock();
        let Some(known) = kept.get(key) else {
            kept.insert(key.to_owned(), Kept { request: request.to_owned(), answer: None });
            return None;
        };
        match &known.answer {
            _ if known.request != request => error(StatusCode::BAD_REQUEST, "idempotency_error", Value::Null),
            None => error(StatusCode::CONFLICT, "invalid_request_error", json!("idempotency_key_in_use")),
            Some((status, body)) => Some(answer(*status, body.clone(), true)),
        }
    }

    async fn confirm(&self, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        while self.confirmations_wait.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, refused) = self.pass("POST", path.strip_suffix("/confirm").unwrap(), body).await;
        let done = if status == 200 { self.pass("POST", path, Bytes::new()).await } else { (status, refused) };
        self.confirmed.lock().push(done.0);
        while self.confirmations_are_lost.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        done
    }

    /// Asks localstripe itself.
    pub async fn pass(&self, method: &str, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        let stream = TcpStream::connect(self.behind).await.unwrap();
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localstripe")
            .header(AUTHORIZATION, "Bearer sk_test_12345")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(body))
            .unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        driver.abort();
        (head.status, body)
    }
}

/// The path without its `created[gte]`.
fn without_since(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("created%5Bgte%5D=")).collect();
    format!("{path}?{}", kept.join("&"))
}

fn answer(status: StatusCode, body: Bytes, is_kept: bool) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if is_kept {
        response = response.header("idempotent-replayed", "true");
    }
    response.body(Full::new(body)).unwrap()
}
