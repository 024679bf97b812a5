//! Tokens as a table: which are believed, which are not, and why not.

use std::path::PathBuf;

use hyper::header::HeaderValue;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::config::{KeyAlgorithm, KeyConfig};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// {"alg":"none","typ":"JWT"} . {"sub":"alice","exp":4102444800,"scope":"admin"} . nothing
const NONE: &str =
    "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMCwic2NvcGUiOiJhZG1pbiJ9.";

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn public(kid: &str, algorithm: KeyAlgorithm, name: &str) -> KeyConfig {
    KeyConfig { kid: Some(kid.into()), algorithm, public_key_file: Some(file(name)), ..KeyConfig::default() }
}

fn auth(change: impl FnOnce(&mut GatewayConfig)) -> Auth {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [SECRET, b"\n"].concat()).unwrap();
    let mut config = GatewayConfig::default();
    config.auth.keys = vec![
        KeyConfig { secret_file: Some(secret), ..KeyConfig::default() },
        public("rsa", KeyAlgorithm::RS256, "rsa.pub.pem"),
        public("ec", KeyAlgorithm::ES256, "ec.pub.pem"),
        public("ed", KeyAlgorithm::EdDSA, "ed.pub.pem"),
    ];
    change(&mut config);
    config.validate().unwrap();
    Auth::load(&config).unwrap()
}

fn claims(add: &Value) -> Value {
    let mut claims = json!({ "sub": "alice", "exp": in_seconds(60) });
    let extra = add.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(extra);
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(clock::wall().0 / 1000).unwrap() + seconds
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let head = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&head, claims, key).unwrap()
}

fn hs256(add: &Value) -> String {
    signed(Algorithm::HS256, None, &EncodingKey::from_secret(SECRET), &claims(add))
}

fn ask(auth: &Auth, access: Access, authorization: &str) -> Result<Option<Caller>, &'static str> {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())]);
    auth.admit(access, &headers).map_err(|problem| problem.kind.code)
}

fn user(auth: &Auth, token: &str) -> Result<Option<Caller>, &'static str> {
    ask(auth, Access::User, &format!("Bearer {token}"))
}

fn alice(admin: bool) -> Result<Option<Caller>, &'static str> {
    Ok(Some(Caller { user: ids::user("alice"), admin }))
}

#[test]
fn every_algorithm_with_its_own_key() {
    let auth = auth(|_| {});
    let pem = |name: &str| std::fs::read(file(name)).unwrap();
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa.pem")).unwrap();
    let ec = EncodingKey::from_ec_pem(&pem("ec.pem")).unwrap();
    let ed = EncodingKey::from_ed_pem(&pem("ed.pem")).unwrap();
    let good = claims(&json!({}));
    for (algorithm, kid, key) in
        [(Algorithm::RS256, "rsa", &rsa), (Algorithm::ES256, "ec", &ec), (Algorithm::EdDSA, "ed", &ed)]
    {
        assert_eq!(user(&auth, &signed(algorithm, Some(kid), key, &good)), alice(false), "{kid}");
        assert_eq!(user(&auth, &signed(algorithm, None, key, &good)), alice(false), "{kid} unnamed");
        let wrong = if kid == "rsa" { "ec" } else { "rsa" };
        assert_eq!(user(&auth, &signed(algorithm, Some(wrong), key, &good)), Err("invalid_token"), "{kid} as {wrong}");
    }
    assert_eq!(user(&auth, &hs256(&json!({}))), alice(false));
}

#[test]
fn claims_are_checked() {
    let auth = auth(|_| {});
    for (add, expected) in [
        (json!({}), alice(false)),
        (json!({ "scope": "read admin" }), alice(true)),
        (json!({ "scope": ["read", "admin"] }), alice(true)),
        (json!({ "scope": "administrator" }), alice(false)),
        (json!({ "exp": in_seconds(-3) }), alice(false)), // within the leeway
        (json!({ "exp": in_seconds(-60) }), Err("token_expired")),
        (json!({ "exp": null }), Err("invalid_token")),
        (json!({ "exp": "tomorrow" }), Err("invalid_token")),
        (json!({ "nbf": in_seconds(-60) }), alice(false)),
        (json!({ "nbf": in_seconds(60) }), Err("invalid_token")),
        (json!({ "sub": null }), Err("invalid_token")),
        (json!({ "sub": "" }), Err("invalid_token")),
        (json!({ "sub": "x".repeat(257) }), Err("invalid_token")),
        (json!({ "sub": 7 }), Err("invalid_token")),
        (json!({ "aud": "anything" }), alice(false)), // not configured, not looked at
    ] {
        assert_eq!(user(&auth, &hs256(&add)), expected, "{add}");
    }
}

#[test]
fn issuer_and_audience_when_configured() {
    let auth = auth(|config| {
        config.auth.issuer = Some("https://issuer".into());
        config.auth.audience = Some("shop".into());
    });
    for (add, fine) in [
        (json!({ "iss": "https://issuer", "aud": "shop" }), true),
        (json!({ "iss": "https://issuer", "aud": ["other", "shop"] }), true),
        (json!({ "iss": "https://other", "aud": "shop" }), false),
        (json!({ "iss": "https://issuer", "aud": "other" }), false),
        (json!({ "iss": "https://issuer" }), false),
        (json!({ "aud": "shop" }), false),
    ] {
        assert_eq!(user(&auth, &hs256(&add)).is_ok(), fine, "{add}");
    }
}

#[test]
fn forgeries_are_refused() {
    let auth = auth(|_| {});
    let good = hs256(&json!({}));
    let (front, signature) = good.rsplit_once('.').unwrap();
    let admin = hs256(&json!({ "scope": "admin" }));
    let swapped = format!("{}.{signature}", admin.rsplit_once('.').unwrap().0);
    let other_secret = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    // The classic: the public key's text as an HMAC secret.
    let public = std::fs::read(file("rsa.pub.pem")).unwrap();
    let confused = signed(Algorithm::HS256, Some("rsa"), &EncodingKey::from_secret(&public), &claims(&json!({})));
    let hs384 = signed(Algorithm::HS384, None, &EncodingKey::from_secret(SECRET), &claims(&json!({})));
    for token in [
        NONE,
        &swapped,
        &format!("{front}."),
        front,
        &signed(Algorithm::HS256, None, &other_secret, &claims(&json!({}))),
        &confused,
        &hs384,
        "",
        "...",
        "garbage",
        "dev:alice",
        "dev:alice:admin",
    ] {
        assert_eq!(user(&auth, token), Err("invalid_token"), "{token}");
    }
}

#[test]
fn the_header_must_be_a_bearer() {
    let auth = auth(|_| {});
    for header in ["Basic YTpi", "Bearer", "", "Token x"] {
        assert_eq!(ask(&auth, Access::User, header), Err("unauthenticated"), "{header}");
    }
    let token = hs256(&json!({}));
    assert_eq!(ask(&auth, Access::User, &format!("bearer {token}")), alice(false), "schemes ignore case");
    let missing = auth.admit(Access::User, &HeaderMap::new()).unwrap_err();
    assert_eq!(missing.kind, &kinds::UNAUTHENTICATED);
}

#[test]
fn routes_are_for_whom_they_say() {
    let auth = auth(|_| {});
    let (plain, admin) = (hs256(&json!({})), hs256(&json!({ "scope": "admin" })));
    let admit = |access, token: &str| ask(&auth, access, &format!("Bearer {token}")).map(|caller| caller.is_some());
    assert_eq!(admit(Access::Admin, &plain), Err("forbidden"));
    assert_eq!(admit(Access::Admin, &admin), Ok(true));
    assert_eq!(admit(Access::User, &admin), Ok(true));
    assert_eq!(admit(Access::Public, "garbage"), Ok(false));
    assert_eq!(admit(Access::Probe, "garbage"), Ok(false));
}

#[test]
fn dev_tokens_only_in_dev() {
    let auth = auth(|config| {
        config.auth.keys.clear();
        config.insecure_dev = true;
    });
    assert_eq!(user(&auth, "dev:alice"), alice(false));
    assert_eq!(user(&auth, "dev:alice:admin"), alice(true));
    for token in ["dev:", "dev::admin", "alice", NONE] {
        assert_eq!(user(&auth, token), Err("invalid_token"), "{token}");
    }
}

#[test]
fn keys_that_are_none_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, "31 bytes are not quite enough..\n").unwrap();
    let secret = |path: PathBuf| KeyConfig { secret_file: Some(path), ..KeyConfig::default() };
    let variable = |name: &str| KeyConfig { secret_env: Some(name.into()), ..KeyConfig::default() };
    for (key, says) in [
        (secret(short), "at least 32 bytes"),
        (secret(folder.path().join("missing")), "missing"),
        (variable("DOORBUSTER_TEST_NO_SUCH_VARIABLE"), "DOORBUSTER_TEST_NO_SUCH_VARIABLE"),
        (public("k", KeyAlgorithm::RS256, "ed.pub.pem"), "RS256"),
        (public("k", KeyAlgorithm::ES256, "rsa.pub.pem"), "ES256"),
    ] {
        let mut config = GatewayConfig::default();
        config.auth.keys = vec![key];
        let error = Auth::load(&config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
