//! Token keys as they are loaded at start.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use std::fs;

use crate::config::{ConfigError, KeyAlgorithm, KeyConfig, MIN_SECRET_BYTES, field};

/// A key, and what is checked of the tokens it signs.
#[derive(Debug)]
pub struct Key {
    /// The `kid` of its tokens.
    pub kid: Option<String>,
    /// The one algorithm it is used with.
    pub algorithm: Algorithm,
    /// The key itself.
    pub decoding: DecodingKey,
    /// What is checked beside the signature.
    pub validation: Validation,
}

impl Key {
    /// Reads a key from where its configuration says.
    ///
    /// # Errors
    /// Names the key, and what is wrong with it.
    pub fn load(config: &KeyConfig, mut validation: Validation) -> Result<Self, ConfigError> {
        let material = material(config)?;
        let algorithm = match config.algorithm {
            KeyAlgorithm::HS256 => Algorithm::HS256,
            KeyAlgorithm::RS256 => Algorithm::RS256,
            KeyAlgorithm::ES256 => Algorithm::ES256,
            KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        };
        validation.algorithms = vec![algorithm];
        let decoding = decoding(config, &material)?;
        Ok(Self { kid: config.kid.clone(), algorithm, decoding, validation })
    }
}

fn decoding(config: &KeyConfig, material: &[u8]) -> Result<DecodingKey, ConfigError> {
    let parsed = match config.algorithm {
        KeyAlgorithm::HS256 => {
            let line = material.strip_suffix(b"\n").unwrap_or(material);
            let secret = line.strip_suffix(b"\r").unwrap_or(line);
            if secret.len() < MIN_SECRET_BYTES {
                let fix =
                    format!("make the secret at least {MIN_SECRET_BYTES} bytes long, such as by openssl rand -hex 32");
                return Err(field("auth.keys", &format!("{} of {} bytes", name(config), secret.len()), &fix));
            }
            Ok(DecodingKey::from_secret(secret))
        }
        KeyAlgorithm::RS256 => DecodingKey::from_rsa_pem(material),
        KeyAlgorithm::ES256 => DecodingKey::from_ec_pem(material),
        KeyAlgorithm::EdDSA => DecodingKey::from_ed_pem(material),
    };
    parsed.map_err(|error| {
        field("auth.keys", name(config), &format!("give a PEM public key for {:?} ({error})", config.algorithm))
    })
}

fn material(config: &KeyConfig) -> Result<Vec<u8>, ConfigError> {
    let file = config.secret_file.as_ref().or(config.public_key_file.as_ref());
    if let Some(path) = file {
        return fs::read(path).map_err(|error| ConfigError::File(path.clone(), error));
    }
    let variable = config.secret_env.as_ref().or(config.public_key_env.as_ref());
    let variable = variable.ok_or_else(|| field("auth.keys", name(config), "say where the key is"))?;
    std::env::var(variable)
        .map(String::into_bytes)
        .map_err(|_| field("auth.keys", name(config), &format!("set the environment variable {variable}")))
}

fn name(config: &KeyConfig) -> &str {
    config.kid.as_deref().unwrap_or("(no kid)")
}
