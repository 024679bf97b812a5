//! Stripe's lists, as its API reference describes them: accounts by their keys, pages, newest first, `starting_after`,
//! `created[gte]`; and what it says when it is busy, broken or asked by the wrong one. Over real sockets. What localstripe can do
//! is tested against localstripe; this is for what it cannot: several accounts, refusals, pages while payments go on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What an account has.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub intents: Vec<Value>,
    pub refunds: Vec<Value>,
    /// The list that its key may not read.
    pub may_not: Option<&'static str>,
}

/// An answer that comes before what would.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// 0 for a connection that breaks.
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static str,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// As they came, in order.
    pub parameters: Vec<(String, String)>,
    pub headers: HeaderMap,
}

/// See the module.
#[derive(Default)]
pub struct Lists {
    accounts: Mutex<HashMap<String, Account>>,
    faults: Mutex<VecDeque<Fault>>,
    asked: Mutex<Vec<Asked>>,
    /// Made after each page that is told, at every account.
    grows: Option<Value>,
}

/// An intent of a gateway's, or of somebody else's.
pub fn intent(id: &str, created: u64, status: &str, metadata: &Value) -> Value {
    json!({
        "id": id, "object": "payment_intent", "amount": 500, "amount_received": if status == "succeeded" { 500 } else { 0 },
        "currency": "eur", "created": created, "status": status, "metadata": metadata, "latest_charge": format!("ch_{id}"),
        "last_payment_error": null, "next_action": null, "livemode": false, "payment_method_types": ["card"],
    })
}

/// A refund of an intent's.
pub fn refund(id: &str, created: u64, status: &str, intent: &str, amount: u64) -> Value {
    json!({
        "id": id, "object": "refund", "amount": amount, "currency": "eur", "created": created, "status": status,
        "payment_intent": intent, "charge": format!("ch_{intent}"), "metadata": {}, "reason": null,
    })
}

impl Lists {
    /// Serves these accounts, by their keys; returns the address.
    pub async fn start(accounts: impl IntoIterator<Item = (&'static str, Account)>) -> (Arc<Self>, String) {
        Self { accounts: Mutex::new(accounts.into_iter().map(keyed).collect()), ..Self::default() }.serve().await
    }

    /// The same while somebody pays all the time.
    pub async fn start_growing(key: &'static str, account: Account, by: Value) -> (Arc<Self>, String) {
        let accounts = Mutex::new([(key, account)].into_iter().map(keyed).collect());
        Self { accounts, grows: Some(by), ..Self::default() }.serve().await
    }

    async fn serve(self) -> (Arc<Self>, String) {
        let lists = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let all = Arc::clone(&lists);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let answer = all.answer(&request);
                        async move { answer }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (lists, url)
    }

    /// Changes what an account has.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Account)) {
        change(self.accounts.lock().get_mut(key).unwrap());
    }

    /// Comes before everything that is asked from now on, in order.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().extend(faults);
    }

    /// What came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    fn answer(&self, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, String> {
        let asked = Asked {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            parameters: parameters(request.uri().query().unwrap_or_default()),
            headers: request.headers().clone(),
        };
        let (status, headers, body) = match self.faults.lock().pop_front() {
            Some(Fault { status: 0, .. }) => return Err("it breaks".into()),
            Some(Fault { status, headers, body }) => (status, headers, body.to_owned()),
            None => {
                let (status, body) = self.page(&asked);
                (status, &[][..], body.to_string())
            }
        };
        self.asked.lock().push(asked);
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Ok(response.body(Full::new(body.into())).unwrap())
    }

    fn page(&self, asked: &Asked) -> (u16, Value) {
        let refused = |status: u16, code: Option<&str>, message: &str| {
            let error = json!({ "type": "invalid_request_error", "code": code, "message": message });
            (status, json!({ "error": error }))
        };
        let mut accounts = self.accounts.lock();
        let bearer = asked.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        let key = bearer.strip_prefix("Bearer ").unwrap_or_default();
        let Some(account) = accounts.get_mut(key) else {
            return refused(401, None, &format!("Invalid API Key provided: {key}"));
        };
        if asked.method != "GET" || account.may_not == Some(asked.path.as_str()) {
            let message = format!("The provided key '{key}' does not have the required permissions for this endpoint");
            return refused(403, Some("more_permissions_required"), &message);
        }
        let all = match asked.path.as_str() {
            "/v1/payment_intents" => &account.intents,
            "/v1/refunds" => &account.refunds,
            other => return refused(404, None, &format!("Unrecognized request URL ({other})")),
        };
        let parameter =
            |name: &str| asked.parameters.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
        let created = |item: &Value| item["created"].as_u64().unwrap();
        let since = parameter("created[gte]").map_or(0, |since| since.parse().unwrap());
        let mut list: Vec<&Value> = all.iter().filter(|item| created(item) >= since).collect();
        list.sort_by_key(|item| std::cmp::Reverse(created(item)));
        let from = match parameter("starting_after") {
            None => 0,
            Some(after) => match list.iter().position(|item| item["id"] == after) {
                Some(place) => place + 1,
                None => return refused(400, Some("resource_missing"), "No such payment_intent"),
            },
        };
        let limit: usize = parameter("limit").unwrap_or("10").parse().unwrap();
        if !(1..=100).contains(&limit) {
            return refused(400, Some("parameter_invalid_integer"), "limit");
        }
        let data: Vec<&Value> = list[from..].iter().copied().take(limit).collect();
        let has_more = from + data.len() < list.len();
        let page = json!({ "object": "list", "url": asked.path, "has_more": has_more, "data": data });
        if let Some(mut new) = self.grows.clone() {
            new["id"] = format!("pi_new_{}", account.intents.len()).into();
            account.intents.push(new);
        }
        (200, page)
    }
}

fn keyed((key, account): (&'static str, Account)) -> (String, Account) {
    (key.to_owned(), account)
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let plain = |text: &str| text.replace("%5B", "[").replace("%5D", "]");
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (plain(name), plain(value))).collect()
}
