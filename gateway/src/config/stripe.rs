//! What a gateway is told about Stripe.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, field};

/// Longest name of an account, in bytes.
const MAX_NAME: usize = 32;

/// Stripe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StripeConfig {
    /// Where its API is; `https`, or `http` on a loopback address for tests. Default `https://api.stripe.com`.
    pub url: String,
    /// PEM file with the certificates to trust instead of the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// The account that takes the money; exactly one.
    pub accounts: Vec<AccountConfig>,
}

/// An account at Stripe. Exactly one of its two sources of the secret key is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// What the log calls it: 1 to 32 letters, digits, `-` and `_`.
    pub name: String,
    /// File with the secret key (`sk_...`, or a restricted one, `rk_...`); white space at its end is not part of it.
    pub key_file: Option<PathBuf>,
    /// Name of the environment variable with the secret key.
    pub key_env: Option<String>,
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self { url: "https://api.stripe.com".into(), ca_file: None, accounts: Vec::new() }
    }
}

impl StripeConfig {
    /// Checks the fields; not what they lead to.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.accounts.len() != 1 {
            let count = self.accounts.len().to_string();
            return Err(field(
                "payment.stripe.accounts (how many)",
                &count,
                "configure one account, with its secret key",
            ));
        }
        self.accounts.iter().try_for_each(AccountConfig::validate)
    }
}

impl AccountConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.bytes().all(fits) {
            let fix = format!("give 1 to {MAX_NAME} letters, digits, '-' and '_'");
            return Err(field("payment.stripe.accounts.name", &self.name, &fix));
        }
        if self.key_file.is_some() == self.key_env.is_some() {
            return Err(field(
                "payment.stripe.accounts",
                &self.name,
                "an account has key_file or key_env, one of them",
            ));
        }
        Ok(())
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
