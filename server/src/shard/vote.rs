//! What replicas of a shard tell each other about their states: 18 bytes that travel beside Raft's messages.
//!
//! `version u8 | kind u8 | index u64 | hash u64`, little-endian; index and hash are 0 in one that says "stopped".
//! Decoding is total: any bytes give a vote or nothing.

use bytes::{BufMut, Bytes, BytesMut};
use doorbuster_protocol::types::{LogIndex, StateHash};
use doorbuster_raft::MAX_NOTE;

const VERSION: u8 = 1;
const BYTES: usize = 18;
const CLAIM: u8 = 1;
const QUESTION: u8 = 2;
const STOPPED: u8 = 3;

const _: () = assert!(BYTES <= MAX_NOTE);

/// One replica's word on its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// "This is my digest there."
    Claim(Digest),
    /// "This is my digest there; what is yours?"
    Question(Digest),
    /// "I have stopped: most others' state is another."
    Stopped,
}

/// A state's digest after the command at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The last command that was applied.
    pub index: LogIndex,
    /// Of the state then.
    pub hash: StateHash,
}

impl Vote {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let (kind, index, hash) = match self {
            Self::Claim(digest) => (CLAIM, digest.index.0, digest.hash.0),
            Self::Question(digest) => (QUESTION, digest.index.0, digest.hash.0),
            Self::Stopped => (STOPPED, 0, 0),
        };
        let mut bytes = BytesMut::with_capacity(BYTES);
        bytes.put_u8(VERSION);
        bytes.put_u8(kind);
        bytes.put_u64_le(index);
        bytes.put_u64_le(hash);
        bytes.freeze()
    }

    /// Reads one; `None` if these bytes are none, or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (hash, []) = rest.split_first_chunk()? else { return None };
        let digest = Digest { index: LogIndex(u64::from_le_bytes(*index)), hash: StateHash(u64::from_le_bytes(*hash)) };
        match (*head, digest.index.0, digest.hash.0) {
            ([VERSION, CLAIM], 1.., _) => Some(Self::Claim(digest)),
            ([VERSION, QUESTION], 1.., _) => Some(Self::Question(digest)),
            ([VERSION, STOPPED], 0, 0) => Some(Self::Stopped),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_vote() -> impl Strategy<Value = Vote> {
        let digest =
            (1_u64.., any::<u64>()).prop_map(|(index, hash)| Digest { index: LogIndex(index), hash: StateHash(hash) });
        prop_oneof![digest.clone().prop_map(Vote::Claim), digest.prop_map(Vote::Question), Just(Vote::Stopped),]
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(vote in any_vote()) {
            let bytes = vote.encode();
            prop_assert_eq!(bytes.len(), BYTES);
            prop_assert_eq!(Vote::decode(&bytes), Some(vote));
            prop_assert_eq!(Vote::decode(&bytes[..BYTES - 1]), None);
        }

        #[test]
        fn any_bytes_give_a_vote_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..40), kind in 0_u8..5) {
            let mut bytes = bytes;
            let _ = Vote::decode(&bytes);
            bytes.resize(BYTES, 0);
            (bytes[0], bytes[1]) = (VERSION, kind);
            if let Some(vote) = Vote::decode(&bytes) {
                prop_assert_eq!(&vote.encode()[..], &bytes[..]);
            }
        }
    }
}
