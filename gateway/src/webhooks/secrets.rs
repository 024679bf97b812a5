//! The secrets that a provider signs with, as they are read at start.

use crate::config::{ConfigError, MIN_SECRET_BYTES, PaymentConfig, Provider, field};
use crate::webhooks::signature::Secrets;

const FIELD: &str = "payment.webhook_secrets_file";

/// Reads them from where the configuration says; none if it says nothing.
///
/// # Errors
/// A file or variable that cannot be read, fewer secrets in it than accounts or more than twice as many, or one too short. What is there is
/// not shown.
pub fn load(config: &PaymentConfig) -> Result<Option<Secrets>, ConfigError> {
    let (name, source, text) = match (&config.webhook_secrets_file, &config.webhook_secrets_env) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.clone(), error))?;
            (FIELD, path.display().to_string(), text)
        }
        (None, Some(variable)) => {
            let missing = |_| field("payment.webhook_secrets_env", variable, "set that environment variable");
            ("payment.webhook_secrets_env", variable.clone(), std::env::var(variable).map_err(missing)?)
        }
        (None, None) => return Ok(None),
    };
    let accounts = match config.provider {
        Provider::Simulator => 1,
        Provider::Stripe => config.stripe.accounts.len(),
    };
    read(&text, accounts).map(Some).map_err(|fix| field(name, &source, &fix))
}

/// For each of the provider's accounts one secret, or the one in force and the one before it; with white space between.
fn read(text: &str, accounts: usize) -> Result<Secrets, String> {
    let secrets: Vec<&[u8]> = text.split_ascii_whitespace().map(str::as_bytes).collect();
    if !(accounts..=accounts * 2).contains(&secrets.len()) {
        let most = accounts * 2;
        return Err(format!(
            "it must have {accounts} to {most}: one for each account, two while the provider changes it"
        ));
    }
    if secrets.iter().any(|secret| secret.len() < MIN_SECRET_BYTES) {
        return Err(format!("a secret has at least {MIN_SECRET_BYTES} bytes, such as by openssl rand -hex 32"));
    }
    Ok(Secrets::any_of(&secrets))
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::Timestamp;

    use super::*;

    #[test]
    fn one_secret_or_two() {
        let (new, old) = ("n".repeat(32), "o".repeat(38));
        let signed = |secret: &str| Secrets::new(secret.as_bytes(), None).sign(Timestamp(5000), b"{}").to_string();
        for (text, takes_old) in [(format!("{new}\n"), false), (format!("{new}\n{old}\n"), true)] {
            let secrets = read(&text, 1).unwrap();
            let believes = |header: String| secrets.verify(header.as_bytes(), b"{}", Timestamp(5000)).is_ok();
            assert!(believes(signed(&new)));
            assert_eq!(believes(signed(&old)), takes_old);
        }
        for (text, says) in [
            (String::new(), "1 to 2"),
            (" \n".into(), "1 to 2"),
            (format!("{new} {old} {new}"), "1 to 2"),
            ("short".into(), "32 bytes"),
            (format!("{new}\nshort"), "32 bytes"),
        ] {
            let error = read(&text, 1).unwrap_err();
            assert!(error.contains(says) && !error.contains("short"), "{text:?}: {error}");
        }
    }

    #[test]
    fn as_many_as_there_are_accounts() {
        let text = |count: usize| vec!["s".repeat(32); count].join("\n");
        for (count, is_fine) in [(2, false), (3, true), (6, true), (7, false)] {
            assert_eq!(read(&text(count), 3).is_ok(), is_fine, "{count}");
        }
    }

    #[test]
    fn what_is_in_the_file_is_not_shown_when_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        let config = PaymentConfig { webhook_secrets_file: Some(path.clone()), ..PaymentConfig::default() };
        assert!(load(&config).unwrap_err().to_string().contains("secrets"));
        std::fs::write(&path, "whsec_private").unwrap();
        let error = load(&config).unwrap_err().to_string();
        assert!(error.contains(FIELD) && !error.contains("private"), "{error}");
        let config =
            PaymentConfig { webhook_secrets_env: Some("DOORBUSTER_NO_SUCH".into()), ..PaymentConfig::default() };
        assert!(load(&config).unwrap_err().to_string().contains("DOORBUSTER_NO_SUCH"));
        assert!(load(&PaymentConfig::default()).unwrap().is_none());
    }
}
