//! `doorbuster token`: a bearer token for the gateway, signed with a key file, to try things with.
//! Real shops let their own login sign tokens; the gateway only checks them.

use crate::clock;
use crate::error::CliError;
use crate::names::parse_duration;
use crate::output::Output;
use clap::{Args, ValueEnum};
use doorbuster_protocol::types::Millis;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// `doorbuster token ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    head -c 48 /dev/urandom | base64 > token.key             a secret for HS256, at least 32 bytes\n  \
    doorbuster token --key token.key --sub alice\n  \
    curl -H \"Authorization: Bearer $(doorbuster token --key token.key --sub root --admin)\" ...")]
pub struct TokenArgs {
    /// File with the signing key: the secret for HS256, the private key in PEM for the others
    #[arg(long, env = "DOORBUSTER_TOKEN_KEY", value_name = "FILE")]
    key: PathBuf,
    /// The user
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// Add the scope `admin`, which the admin routes want
    #[arg(long)]
    admin: bool,
    /// How long it is good for, with a unit
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "DURATION")]
    valid: Millis,
    /// What the key signs with
    #[arg(long, value_enum, default_value_t = SigningAlgorithm::Hs256)]
    algorithm: SigningAlgorithm,
    /// The key's id, if the gateway has several keys
    #[arg(long)]
    kid: Option<String>,
    /// The issuer, if the gateway wants one
    #[arg(long)]
    iss: Option<String>,
    /// The audience, if the gateway wants one
    #[arg(long)]
    aud: Option<String>,
    /// Print a JSON document instead of the bare token; an error too, on stderr
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SigningAlgorithm {
    /// HMAC with SHA-256
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256
    Rs256,
    /// ECDSA on P-256 with SHA-256
    Es256,
    /// Ed25519
    Eddsa,
}

/// Runs it.
pub fn run(args: &TokenArgs, output: Output) -> Result<(), CliError> {
    let bytes = std::fs::read(&args.key)
        .map_err(|error| CliError::usage(format!("cannot read the key {}: {error}", args.key.display())))?;
    let wrong = |error| CliError::usage(format!("the key {} cannot sign: {error}", args.key.display()));
    let (algorithm, key) = match args.algorithm {
        SigningAlgorithm::Hs256 => (Algorithm::HS256, EncodingKey::from_secret(without_newline(&bytes))),
        SigningAlgorithm::Rs256 => (Algorithm::RS256, EncodingKey::from_rsa_pem(&bytes).map_err(wrong)?),
        SigningAlgorithm::Es256 => (Algorithm::ES256, EncodingKey::from_ec_pem(&bytes).map_err(wrong)?),
        SigningAlgorithm::Eddsa => (Algorithm::EdDSA, EncodingKey::from_ed_pem(&bytes).map_err(wrong)?),
    };
    let header = Header { kid: args.kid.clone(), ..Header::new(algorithm) };
    let expires = clock::wall().plus(args.valid).0 / 1000;
    let token = jsonwebtoken::encode(&header, &claims(args, expires), &key).map_err(wrong)?;
    output.print(|| token.clone(), || json!({ "token": token, "sub": args.sub, "exp": expires }));
    Ok(())
}

fn claims(args: &TokenArgs, expires: u64) -> Value {
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), json!(args.sub));
    claims.insert("exp".to_owned(), json!(expires));
    if args.admin {
        claims.insert("scope".to_owned(), json!("admin"));
    }
    for (name, value) in [("iss", &args.iss), ("aud", &args.aud)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(claims)
}

/// The secret as the gateway reads it from the same file: one trailing newline is not part of it.
#[must_use]
pub fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// A token of HS256, as the demo's buyers carry.
pub fn sign(secret: &EncodingKey, sub: &str, admin: bool, expires: u64) -> Result<String, CliError> {
    let claims = if admin {
        json!({ "sub": sub, "exp": expires, "scope": "admin" })
    } else {
        json!({ "sub": sub, "exp": expires })
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, secret)
        .map_err(|error| CliError::failed(format!("cannot sign a token: {error}")))
}
