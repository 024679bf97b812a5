//! What replicas of a shard say to each other: raft's own message plus the stamps that leases are counted from, or a note
//! from one state machine to another, and their bytes on the wire.
//!
//! The codec is ours and total: any bytes give a message or an error, and nothing is allocated beyond what the bytes hold.
//! Only the ten kinds that a peer's raft may say have a code: raft takes some others as orders from its own process. Little
//! endian:
//!
//! ```text
//! kind u8 | flags u8 | term u64 | log_term u64 | index u64 | commit u64 | commit_term u64 | reject_hint u64 | stamp u64
//! context_length u8 | context | snapshot_index u64 | snapshot_term u64 | entries u32 | entries x (term u64 | length u32 | data)
//! ```
//! Entries are numbered from `index + 1`. Who it is from and for is not in these bytes: the connection knows.
//!
//! A note is `kind u8 (11) | length u8 | bytes`: small, opaque here, never seen by raft, lost like any other message.

use bytes::{BufMut, Bytes};
use raft::eraftpb::{Entry as RaftEntry, Message, MessageType, Snapshot};

use crate::config::MAX_ENTRY_BYTES;
use crate::storage::weight;
use crate::types::{NodeId, SnapshotMark};

/// Raft's mark on the vote requests of a node that was told to take over.
const TRANSFER: &[u8] = b"CampaignTransfer";
const MAX_CONTEXT: usize = 32;
/// Everything but context and entries.
const FIXED_BYTES: usize = 2 + 7 * 8 + 1 + 2 * 8 + 4;
const ENTRY_HEADER_BYTES: usize = 12;
/// The kind and the length before a note's bytes.
const NOTE_HEADER_BYTES: usize = 2;
const NOTE: u8 = 11;
/// Most bytes of a note.
pub const MAX_NOTE: usize = 64;
const FLAG_REJECT: u8 = 1;

/// One message between two replicas of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage {
    /// Of a note, only who it is from and for.
    pub(crate) raft: Message,
    /// From a leader: its monotonic clock (ns) when it sent this. From a follower: the newest one it has heard in this
    /// term. Zero: none.
    pub(crate) stamp: u64,
    note: Option<Bytes>,
}

/// Why bytes are not a message. The connection that brought them is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes end too early.
    #[error("the message ends after {have} bytes, {need} more are needed")]
    Short {
        /// Bytes that were there.
        have: usize,
        /// Bytes missing.
        need: usize,
    },
    /// A field cannot have this value.
    #[error("{field} cannot be {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl PeerMessage {
    /// Raft's word.
    pub(crate) fn new(raft: Message, stamp: u64) -> Self {
        Self { raft, stamp, note: None }
    }

    /// A state machine's word to its replica on another node. Raft neither sees it nor repeats it.
    ///
    /// # Panics
    /// If it has more than [`MAX_NOTE`] bytes.
    #[must_use]
    pub fn of_note(from: NodeId, to: NodeId, note: Bytes) -> Self {
        assert!(note.len() <= MAX_NOTE, "a note of {} bytes, the limit is {MAX_NOTE}", note.len());
        Self { raft: Message { from, to, ..Message::default() }, stamp: 0, note: Some(note) }
    }

    /// The note, if it is one: then it is not for [`Node::step`](crate::Node::step).
    #[must_use]
    pub fn note(&self) -> Option<&Bytes> {
        self.note.as_ref()
    }

    /// The node it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        self.raft.to
    }

    /// The node that sent it.
    #[must_use]
    pub fn from(&self) -> NodeId {
        self.raft.from
    }

    /// The snapshot it announces, if it does.
    #[must_use]
    pub fn snapshot_mark(&self) -> Option<SnapshotMark> {
        if self.raft.msg_type != MessageType::MsgSnapshot {
            return None;
        }
        let metadata = self.raft.get_snapshot().get_metadata();
        Some(SnapshotMark { index: metadata.index, term: metadata.term })
    }

    /// About as many bytes as its encoding; never more than 2 less.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        if let Some(note) = &self.note {
            return NOTE_HEADER_BYTES + note.len();
        }
        let entries = self.raft.entries.iter().map(|entry| ENTRY_HEADER_BYTES + entry.data.len());
        FIXED_BYTES + self.raft.context.len() + entries.sum::<usize>()
    }

    /// Appends its bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        if let Some(note) = &self.note {
            out.put_u8(NOTE);
            out.put_u8(u8::try_from(note.len()).unwrap_or(0));
            return out.put_slice(note);
        }
        let raft = &self.raft;
        out.put_u8(code(raft.msg_type));
        out.put_u8(if raft.reject { FLAG_REJECT } else { 0 });
        for number in
            [raft.term, raft.log_term, raft.index, raft.commit, raft.commit_term, raft.reject_hint, self.stamp]
        {
            out.put_u64_le(number);
        }
        let context = &raft.context[..raft.context.len().min(MAX_CONTEXT)];
        out.put_u8(u8::try_from(context.len()).unwrap_or(0));
        out.put_slice(context);
        let mark = self.snapshot_mark().unwrap_or_default();
        out.put_u64_le(mark.index);
        out.put_u64_le(mark.term);
        out.put_u32_le(u32::try_from(raft.entries.len()).unwrap_or(u32::MAX));
        for entry in &raft.entries {
            out.put_u64_le(entry.term);
            out.put_u32_le(u32::try_from(entry.data.len()).unwrap_or(u32::MAX));
            out.put_slice(&entry.data);
        }
    }

    /// Reads one message from the front of `bytes`, which then holds the rest.
    ///
    /// # Errors
    /// What is wrong with the bytes; `bytes` is somewhere in the message then.
    pub fn decode(bytes: &mut &[u8], from: NodeId, to: NodeId) -> Result<Self, MessageError> {
        let mut raft = Message { from, to, ..Message::default() };
        let code = u8::from_le_bytes(take(bytes)?);
        if code == NOTE {
            let length = usize::from(u8::from_le_bytes(take(bytes)?));
            if length > MAX_NOTE {
                return Err(value("note length", length as u64));
            }
            return Ok(Self::of_note(from, to, Bytes::copy_from_slice(slice(bytes, length)?)));
        }
        raft.msg_type = kind(code)?;
        raft.reject = match u8::from_le_bytes(take(bytes)?) {
            0 => false,
            FLAG_REJECT => true,
            flags => return Err(value("flags", flags.into())),
        };
        raft.term = number(bytes)?;
        raft.log_term = number(bytes)?;
        raft.index = number(bytes)?;
        raft.commit = number(bytes)?;
        raft.commit_term = number(bytes)?;
        raft.reject_hint = number(bytes)?;
        let stamp = number(bytes)?;
        if raft.term == 0 {
            // Raft would take it for an order from its own process.
            return Err(value("term", 0));
        }
        let length = usize::from(u8::from_le_bytes(take(bytes)?));
        if length > MAX_CONTEXT {
            return Err(value("context length", length as u64));
        }
        raft.context = Bytes::copy_from_slice(slice(bytes, length)?);
        decode_snapshot(bytes, &mut raft)?;
        decode_entries(bytes, &mut raft)?;
        Ok(Self::new(raft, stamp))
    }

    /// A candidate was told by its leader to take over: bound or not, replicas answer it.
    pub(crate) fn forced_vote(&self) -> bool {
        self.raft.context == TRANSFER
    }
}

/// Adds `next` to `message` if both are appends that continue each other, of at most `limit` bytes of entries together.
/// Gives it back if not.
///
/// Raft's own `batch_append` is off: it adds without a limit, and to an empty append whatever comes next for the same
/// follower, also entries from further back; the follower would file them under other indexes.
pub(crate) fn merge(message: &mut Message, next: Message, limit: u64) -> Option<Message> {
    let appends = message.msg_type == MessageType::MsgAppend && next.msg_type == MessageType::MsgAppend;
    if !appends || (message.to, message.term) != (next.to, next.term) {
        return Some(next);
    }
    let (last, last_term) = match message.entries.last() {
        Some(last) => (last.index, last.term),
        None => (message.index, message.log_term),
    };
    let together = message.entries.iter().chain(&next.entries).map(weight).sum::<u64>();
    if (next.index, next.log_term) != (last, last_term) || together > limit {
        return Some(next);
    }
    message.commit = message.commit.max(next.commit);
    let mut next = next;
    message.entries.extend(next.take_entries());
    None
}

/// An append's entries are numbered from its index on: what the codec relies on.
pub(crate) fn is_contiguous(message: &Message) -> bool {
    (message.index + 1..).zip(&message.entries).all(|(index, entry)| entry.index == index)
}

fn decode_snapshot(bytes: &mut &[u8], raft: &mut Message) -> Result<(), MessageError> {
    let mark = SnapshotMark { index: number(bytes)?, term: number(bytes)? };
    if raft.msg_type != MessageType::MsgSnapshot {
        return if mark == SnapshotMark::default() { Ok(()) } else { Err(value("snapshot index", mark.index)) };
    }
    if mark.index == 0 || mark.index == u64::MAX || mark.term == 0 || mark.term > raft.term {
        return Err(value("snapshot index", mark.index));
    }
    let mut snapshot = Snapshot::default();
    snapshot.mut_metadata().index = mark.index;
    snapshot.mut_metadata().term = mark.term;
    raft.set_snapshot(snapshot);
    Ok(())
}

fn decode_entries(bytes: &mut &[u8], raft: &mut Message) -> Result<(), MessageError> {
    let count = u32::from_le_bytes(take(bytes)?) as usize;
    let need = count.saturating_mul(ENTRY_HEADER_BYTES);
    if need > bytes.len() {
        return Err(MessageError::Short { have: bytes.len(), need: need - bytes.len() });
    }
    if count > 0 && raft.msg_type != MessageType::MsgAppend {
        return Err(value("entry count", count as u64));
    }
    if raft.index.checked_add(count as u64).is_none_or(|last| last == u64::MAX) {
        return Err(value("index", raft.index));
    }
    let mut entries = Vec::with_capacity(count);
    let mut term = raft.log_term;
    for index in (raft.index + 1..).take(count) {
        let entry = decode_entry(bytes, index)?;
        if entry.term < term || entry.term == 0 || entry.term > raft.term {
            return Err(value("entry term", entry.term));
        }
        term = entry.term;
        entries.push(entry);
    }
    raft.set_entries(entries.into());
    Ok(())
}

fn decode_entry(bytes: &mut &[u8], index: u64) -> Result<RaftEntry, MessageError> {
    let mut entry = RaftEntry { index, term: number(bytes)?, ..RaftEntry::default() };
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    if length > MAX_ENTRY_BYTES {
        return Err(value("entry length", length as u64));
    }
    // A copy: a slice would keep a whole frame alive for as long as one entry stays in memory.
    entry.data = Bytes::copy_from_slice(slice(bytes, length)?);
    Ok(entry)
}

/// 11 is a note's.
const KINDS: [(MessageType, u8); 10] = [
    (MessageType::MsgAppend, 1),
    (MessageType::MsgAppendResponse, 2),
    (MessageType::MsgHeartbeat, 3),
    (MessageType::MsgHeartbeatResponse, 4),
    (MessageType::MsgRequestVote, 5),
    (MessageType::MsgRequestVoteResponse, 6),
    (MessageType::MsgRequestPreVote, 7),
    (MessageType::MsgRequestPreVoteResponse, 8),
    (MessageType::MsgTimeoutNow, 9),
    (MessageType::MsgSnapshot, 10),
];

/// The kind's code; 0, which no decoder accepts, for what peers do not say.
fn code(kind: MessageType) -> u8 {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(0, |(_, code)| *code)
}

fn kind(code: u8) -> Result<MessageType, MessageError> {
    let found = KINDS.iter().find(|(_, known)| *known == code).map(|(kind, _)| *kind);
    found.ok_or_else(|| value("kind", code.into()))
}

/// True for what peers may say to each other.
pub(crate) fn speakable(kind: MessageType) -> bool {
    code(kind) != 0
}

fn value(field: &'static str, value: u64) -> MessageError {
    MessageError::Value { field, value }
}

fn number(bytes: &mut &[u8]) -> Result<u64, MessageError> {
    Ok(u64::from_le_bytes(take(bytes)?))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], MessageError> {
    let mut array = [0; N];
    array.copy_from_slice(slice(bytes, N)?);
    Ok(array)
}

fn slice<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], MessageError> {
    let Some((head, rest)) = bytes.split_at_checked(length) else {
        return Err(MessageError::Short { have: bytes.len(), need: length - bytes.len() });
    };
    *bytes = rest;
    Ok(head)
}

#[cfg(test)]
mod tests;
