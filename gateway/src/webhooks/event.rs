//! An event, whoever sent it.

use crate::saga::provider::Key;

/// Longest id and longest type, in bytes.
const MAX_NAME: usize = 255;

/// What a webhook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The provider's id of it, the same at each delivery.
    pub id: String,
    /// Its type, as the provider names it.
    pub type_name: String,
    /// What it tells, if it is something that matters here.
    pub kind: Option<Kind>,
    /// The payment it is about, if it is one of ours.
    pub payment: Option<Key>,
}

/// What matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Money was taken.
    Succeeded,
    /// It was not, and will not be.
    Declined,
    /// It was given back.
    Refunded,
}

/// The body was signed, and is no event all the same.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It has not the shape.
    #[error("{0}")]
    Shape(#[from] serde_json::Error),
    /// It cannot be kept under this name.
    #[error("its {0} has not 1 to {MAX_NAME} visible ASCII characters")]
    Name(&'static str),
}

impl Event {
    /// The event, if it has an id and a type that can be kept.
    ///
    /// # Errors
    /// Names the one that cannot.
    pub fn checked(self) -> Result<Self, Unreadable> {
        let is_name =
            |text: &str| (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        match (is_name(&self.id), is_name(&self.type_name)) {
            (false, _) => Err(Unreadable::Name("id")),
            (_, false) => Err(Unreadable::Name("type")),
            (true, true) => Ok(self),
        }
    }
}
