//! Who asks: bearer JSON web tokens, checked with configured keys. A key is used with the one algorithm it is configured
//! for, whatever a token's head says, so neither `none` nor a public key taken for a shared secret gets anywhere. `exp`
//! is required, `nbf` respected, `iss` and `aud` checked when configured. The scope `admin` opens the admin routes.
//!
//! With `insecure_dev`, and no keys, `Bearer dev:<sub>[:admin]` is believed from anybody.

use std::borrow::Cow;

use doorbuster_protocol::types::UserId;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;

use crate::config::{AuthConfig, ConfigError, GatewayConfig};
use crate::ids;
use crate::problem::{Problem, kinds};

mod keys;

use keys::Key;

/// Longest subject, in bytes.
const MAX_SUBJECT: usize = 256;

/// Who a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user the token's subject stands for.
    pub user: UserId,
    /// Whether the token's scope contains `admin`.
    pub admin: bool,
}

/// Who a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Probes and metrics: no token, no limits.
    Probe,
    /// Anybody.
    Public,
    /// Whoever has a token.
    User,
    /// Whoever has a token with the scope `admin`.
    Admin,
}

/// Checks tokens.
#[derive(Debug)]
pub enum Auth {
    /// With these keys.
    Keys(Vec<Key>),
    /// Not at all: `insecure_dev`.
    Dev,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    scope: Scope,
}

/// One text with spaces between (RFC 8693), or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scope {
    Text(String),
    List(Vec<String>),
}

impl Default for Scope {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Scope {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text.split(' ').any(|scope| scope == wanted),
            Self::List(list) => list.iter().any(|scope| scope == wanted),
        }
    }
}

impl Auth {
    /// Reads the keys.
    ///
    /// # Errors
    /// A key that cannot be read or is not one of its algorithm.
    pub fn load(config: &GatewayConfig) -> Result<Self, ConfigError> {
        if config.insecure_dev {
            return Ok(Self::Dev);
        }
        let load = |key| Key::load(key, validation(&config.auth));
        Ok(Self::Keys(config.auth.keys.iter().map(load).collect::<Result<_, _>>()?))
    }

    /// Lets a request through to a route with this access; `None` where nobody is asked who they are.
    ///
    /// # Errors
    /// 401 without a valid token, 403 without the scope.
    pub fn admit(&self, access: Access, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        if matches!(access, Access::Probe | Access::Public) {
            return Ok(None);
        }
        let caller = self.caller(bearer(headers)?)?;
        if access == Access::Admin && !caller.admin {
            return Err(Problem::new(&kinds::FORBIDDEN, "This needs a token whose scope contains admin."));
        }
        Ok(Some(caller))
    }

    fn caller(&self, token: &str) -> Result<Caller, Problem> {
        let keys = match self {
            Self::Dev => return dev_caller(token),
            Self::Keys(keys) => keys,
        };
        let head = jsonwebtoken::decode_header(token).map_err(|_| invalid("it is no signed JSON web token"))?;
        let mut why = invalid("no configured key has its kid and algorithm");
        for key in candidates(keys, head.kid.as_deref()).filter(|key| key.algorithm == head.alg) {
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation) {
                Ok(data) => return claimed(&data.claims),
                Err(error) => why = explain(error.kind()),
            }
        }
        Err(why)
    }
}

/// The keys of this `kid`; those without one, when there is none.
fn candidates<'a>(keys: &'a [Key], kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
    let named = kid.filter(|kid| keys.iter().any(|key| key.kid.as_deref() == Some(kid)));
    // A token that names no key may be from any.
    let any = kid.is_none();
    keys.iter().filter(move |key| any || key.kid.as_deref() == named)
}

fn validation(config: &AuthConfig) -> Validation {
    // The algorithm is set for each key as it is loaded.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = config.leeway_seconds;
    validation.validate_nbf = true;
    validation.validate_aud = config.audience.is_some();
    let mut required = vec!["exp", "sub"];
    if let Some(audience) = &config.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &config.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || Problem::new(&kinds::UNAUTHENTICATED, "Send Authorization: Bearer and a token.");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

fn claimed(claims: &Claims) -> Result<Caller, Problem> {
    caller_of(&claims.sub, claims.scope.contains("admin"))
}

fn dev_caller(token: &str) -> Result<Caller, Problem> {
    let subject = token.strip_prefix("dev:").ok_or_else(|| invalid("this gateway takes dev:<sub>[:admin] only"))?;
    match subject.strip_suffix(":admin") {
        Some(subject) => caller_of(subject, true),
        None => caller_of(subject, false),
    }
}

fn caller_of(subject: &str, admin: bool) -> Result<Caller, Problem> {
    if subject.is_empty() || subject.len() > MAX_SUBJECT {
        return Err(invalid(format!("its sub must have 1 to {MAX_SUBJECT} bytes")));
    }
    Ok(Caller { user: ids::user(subject), admin })
}

fn invalid(why: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(&kinds::INVALID_TOKEN, format!("The token is not accepted: {}.", why.into()))
}

fn explain(kind: &ErrorKind) -> Problem {
    match kind {
        ErrorKind::ExpiredSignature => Problem::new(&kinds::TOKEN_EXPIRED, "The token has expired; get a new one."),
        ErrorKind::ImmatureSignature => invalid("it is not valid yet"),
        ErrorKind::MissingRequiredClaim(claim) => invalid(format!("it lacks {claim}")),
        ErrorKind::InvalidIssuer => invalid("it is from another issuer"),
        ErrorKind::InvalidAudience => invalid("it is for another audience"),
        ErrorKind::InvalidSignature => invalid("its signature does not fit"),
        _ => invalid("it cannot be read"),
    }
}

#[cfg(test)]
mod tests;
