//! Shared secrets: what clients show to be let in, and what peers show each other.
//!
//! A file holds one credential a line, so that a new one can be rolled out before the old one is dropped;
//! any of them is accepted. Comparison takes the same time whatever differs; a secret is never logged.

use std::fmt;
use std::path::{Path, PathBuf};

use doorbuster_protocol::limits::MAX_CREDENTIAL_BYTES;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

/// Shorter secrets are guessed; refused.
pub const MIN_CREDENTIAL_BYTES: usize = 16;

/// A credential as it stands in the configuration. Does not show itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The credentials that are accepted. None at all: everybody is let in (only allowed on loopback, see the configuration).
#[derive(Clone, Default)]
pub struct Credentials {
    accepted: Vec<Vec<u8>>,
}

/// Why credentials could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read the credential file {path}: {source}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It holds none.
    #[error("the credential file {path} holds no credential: write one a line", path = path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// One is too short or too long.
    #[error(
        "credential {number} has {length} bytes; it must have {MIN_CREDENTIAL_BYTES} to {MAX_CREDENTIAL_BYTES}: \
         try `openssl rand -hex 32`"
    )]
    Length {
        /// Which one, from 1.
        number: usize,
        /// Its length in bytes.
        length: usize,
    },
}

impl Credentials {
    /// Loads those of the file, one a line, and the one given directly.
    ///
    /// # Errors
    /// If the file cannot be read or holds none, or a credential's length is out of range.
    pub fn load(file: Option<&Path>, direct: Option<&Secret>) -> Result<Self, CredentialError> {
        let mut accepted = Vec::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| CredentialError::Unreadable { path: path.to_owned(), source })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            accepted.extend(lines.map(|line| line.as_bytes().to_vec()));
            if accepted.is_empty() {
                return Err(CredentialError::Empty { path: path.to_owned() });
            }
        }
        accepted.extend(direct.map(|secret| secret.0.as_bytes().to_vec()));
        for (index, credential) in accepted.iter().enumerate() {
            if !(MIN_CREDENTIAL_BYTES..=MAX_CREDENTIAL_BYTES).contains(&credential.len()) {
                return Err(CredentialError::Length { number: index + 1, length: credential.len() });
            }
        }
        Ok(Self { accepted })
    }

    /// Whether nobody has to show anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.accepted.is_empty()
    }

    /// Whether the credential is one of those accepted. The time it takes does not tell how much of it was right.
    #[must_use]
    pub fn accept(&self, offered: &[u8]) -> bool {
        let any = self.accepted.iter().fold(Choice::from(0), |any, accepted| any | accepted.as_slice().ct_eq(offered));
        self.is_open() || bool::from(any)
    }

    /// The one to show to others: the first. Empty if there is none.
    #[must_use]
    pub fn own(&self) -> &[u8] {
        self.accepted.first().map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} accepted)", self.accepted.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef-old";
    const NEW: &str = "0123456789abcdef-new";

    #[test]
    fn accepts_each_line_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, format!("{NEW}\n\n  {OLD}  \n")).unwrap();
        let credentials = Credentials::load(Some(&path), None).unwrap();
        assert!(credentials.accept(OLD.as_bytes()) && credentials.accept(NEW.as_bytes()));
        for wrong in ["", "0123456789abcdef-ol", "0123456789abcdef-oldx", "0123456789abcdef-0ld"] {
            assert!(!credentials.accept(wrong.as_bytes()), "{wrong:?} was let in");
        }
        assert_eq!(credentials.own(), NEW.as_bytes());
        assert!(!credentials.is_open());
    }

    #[test]
    fn none_configured_lets_everybody_in() {
        let open = Credentials::load(None, None).unwrap();
        assert!(open.is_open() && open.accept(b"") && open.accept(b"anything"));
    }

    #[test]
    fn refuses_what_protects_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let missing = Credentials::load(Some(&path), None).unwrap_err();
        assert!(missing.to_string().contains("cannot read the credential file"), "{missing}");
        std::fs::write(&path, "\n \n").unwrap();
        assert!(matches!(Credentials::load(Some(&path), None), Err(CredentialError::Empty { .. })));
        std::fs::write(&path, format!("{NEW}\nshort\n")).unwrap();
        let short = Credentials::load(Some(&path), None).unwrap_err();
        assert!(matches!(short, CredentialError::Length { number: 2, length: 5 }), "{short}");
        let long = Secret::new("x".repeat(MAX_CREDENTIAL_BYTES + 1));
        assert!(Credentials::load(None, Some(&long)).is_err());
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let secret = Secret::new(OLD);
        let credentials = Credentials::load(None, Some(&secret)).unwrap();
        assert!(!format!("{secret:?} {credentials:?}").contains("0123"));
    }
}
