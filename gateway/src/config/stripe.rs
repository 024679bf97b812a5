//! What a gateway is told about Stripe.

use std::path::PathBuf;

use doorbuster_protocol::types::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ConfigError, field, within};
use crate::saga::stripe::choice::Term;
use crate::timestamp;

/// Longest name of an account, in bytes.
const MAX_NAME: usize = 32;
/// Most accounts.
const MAX_ACCOUNTS: u64 = 16;

/// Stripe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StripeConfig {
    /// Where its API is; `https`, or `http` on a loopback address for tests. Default `https://api.stripe.com`.
    pub url: String,
    /// PEM file with the certificates to trust instead of the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// The accounts that take the money: 1 to 16, at least one without an end.
    pub accounts: Vec<AccountConfig>,
}

/// An account at Stripe. Exactly one of its two sources of the secret key is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// What logs and metrics call it, and what users are spread over: 1 to 32 letters, digits, `-` and `_`. A name stays
    /// with its account for good.
    pub name: String,
    /// File with the secret key (`sk_...`, or a restricted one, `rk_...`); white space at its end is not part of it.
    pub key_file: Option<PathBuf>,
    /// Name of the environment variable with the secret key.
    pub key_env: Option<String>,
    /// Requests a second that this gateway may send to it; all gateways together, Stripe's limit. Default 100, 1..=10000.
    pub requests_per_second: u32,
    /// It takes reservations made from then on, in RFC 3339. Default none: always.
    pub from: Option<String>,
    /// It takes no reservations made from then on; those before are still finished there. Default none: for ever.
    pub until: Option<String>,
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self { url: "https://api.stripe.com".into(), ca_file: None, accounts: Vec::new() }
    }
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self { name: String::new(), key_file: None, key_env: None, requests_per_second: 100, from: None, until: None }
    }
}

impl StripeConfig {
    /// Checks the fields, not what they lead to; says which account is for which time.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub(crate) fn terms(&self) -> Result<Vec<Term>, ConfigError> {
        if self.accounts.is_empty() {
            let fix = "configure an account, [[payment.stripe.accounts]], with its name and key_file or key_env";
            return Err(field("payment.stripe.accounts", "[]", fix));
        }
        within("payment.stripe.accounts (how many)", self.accounts.len() as u64, 1, MAX_ACCOUNTS)?;
        let terms = self.accounts.iter().map(AccountConfig::term).collect::<Result<Vec<_>, _>>()?;
        if self.accounts.iter().all(|account| account.until.is_some()) {
            let fix = "leave it out at one account at least: new reservations must be paid somewhere";
            return Err(field("payment.stripe.accounts.until", "set everywhere", fix));
        }
        for (index, term) in terms.iter().enumerate() {
            if terms[..index].iter().any(|other| other.name == term.name) {
                return Err(field("payment.stripe.accounts.name", &term.name, "give each account a name of its own"));
            }
        }
        Ok(terms)
    }
}

impl AccountConfig {
    fn term(&self) -> Result<Term, ConfigError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.bytes().all(fits) {
            let fix = format!("give 1 to {MAX_NAME} letters, digits, '-' and '_'");
            return Err(field("payment.stripe.accounts.name", &self.name, &fix));
        }
        if self.key_file.is_some() == self.key_env.is_some() {
            let fix = "an account has key_file or key_env, one of them";
            return Err(field("payment.stripe.accounts", &self.name, fix));
        }
        let rate = u64::from(self.requests_per_second);
        within("payment.stripe.accounts.requests_per_second", rate, 1, 10_000)?;
        let from = moment("payment.stripe.accounts.from", self.from.as_deref())?.unwrap_or(Timestamp(0));
        let until = moment("payment.stripe.accounts.until", self.until.as_deref())?.unwrap_or(Timestamp(u64::MAX));
        if from >= until {
            let until = self.until.as_deref().unwrap_or_default();
            return Err(field("payment.stripe.accounts.until", until, "give a time later than from"));
        }
        Ok(Term { name: self.name.clone(), from, until })
    }

    /// Reads the secret key.
    ///
    /// # Errors
    /// A file that cannot be read, or a variable that is not set.
    pub(crate) fn key(&self) -> Result<String, ConfigError> {
        let text = match (&self.key_file, &self.key_env) {
            (Some(path), _) => std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.clone(), error))?,
            (None, Some(variable)) => std::env::var(variable).map_err(|_| {
                field("payment.stripe.accounts.key_env", variable, "set that environment variable to the secret key")
            })?,
            (None, None) => String::new(),
        };
        Ok(text.trim_end().to_owned())
    }
}

fn moment(name: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, ConfigError> {
    let parse = |text: &str| {
        timestamp::parse(text).ok_or_else(|| field(name, text, "give a time such as 2026-11-27T12:00:00Z"))
    };
    text.map(parse).transpose()
}
