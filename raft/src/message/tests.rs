//! The codec: every message comes back as it was, and any bytes give a message or an error.

use proptest::prelude::*;

use super::*;

fn append(index: u64, entries: Vec<(u64, Vec<u8>)>) -> Message {
    let mut message = Message { from: 2, to: 1, term: 9, index, log_term: 1, ..Message::default() };
    message.msg_type = MessageType::MsgAppend;
    let entries = (index + 1..).zip(entries);
    message.set_entries(
        entries
            .map(|(index, (term, data))| RaftEntry { index, term, data: data.into(), ..RaftEntry::default() })
            .collect::<Vec<_>>()
            .into(),
    );
    message
}

fn any_append() -> impl Strategy<Value = Message> {
    let entries = prop::collection::vec((1u64..=9, prop::collection::vec(any::<u8>(), 0..40)), 0..8);
    (0u64..1 << 40, entries).prop_map(|(index, mut entries)| {
        entries.sort_by_key(|(term, _)| *term);
        append(index, entries)
    })
}

fn any_other() -> impl Strategy<Value = Message> {
    let numbers = prop::array::uniform5(any::<u64>());
    (1usize..9, 1u64.., numbers, any::<bool>(), prop::collection::vec(any::<u8>(), 0..=MAX_CONTEXT)).prop_map(
        |(kind, term, [log_term, index, commit, commit_term, reject_hint], reject, context)| {
            let mut message = Message { from: 2, to: 1, term, log_term, index, commit, ..Message::default() };
            message.msg_type = KINDS[kind].0;
            message.index = message.index.min(u64::MAX - 1);
            message.commit_term = commit_term;
            message.reject_hint = reject_hint;
            message.reject = reject;
            message.context = context.into();
            message
        },
    )
}

fn any_snapshot() -> impl Strategy<Value = Message> {
    (1u64..1000, 1u64..1000, 1u64..u64::MAX).prop_map(|(term, more, index)| {
        let mut message = Message { from: 2, to: 1, term: term + more, ..Message::default() };
        message.msg_type = MessageType::MsgSnapshot;
        message.mut_snapshot().mut_metadata().index = index;
        message.mut_snapshot().mut_metadata().term = term;
        message
    })
}

fn any_note() -> impl Strategy<Value = PeerMessage> {
    prop::collection::vec(any::<u8>(), 0..=MAX_NOTE).prop_map(|note| PeerMessage::of_note(2, 1, note.into()))
}

fn any_message() -> impl Strategy<Value = PeerMessage> {
    let raft = prop_oneof![any_append(), any_other(), any_snapshot()];
    let raft = (raft, any::<u64>()).prop_map(|(raft, stamp)| PeerMessage::new(raft, stamp));
    prop_oneof![4 => raft, 1 => any_note()]
}

proptest! {
    #[test]
    fn comes_back_as_it_was(messages in prop::collection::vec(any_message(), 1..4)) {
        let mut bytes = Vec::new();
        for message in &messages {
            let before = bytes.len();
            message.encode(&mut bytes);
            prop_assert_eq!(bytes.len() - before, message.encoded_len());
        }
        let mut rest = &bytes[..];
        for message in &messages {
            prop_assert_eq!(&PeerMessage::decode(&mut rest, 2, 1).unwrap(), message);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_message_cut_short_is_an_error(message in any_message(), at in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let mut rest = &bytes[..at.index(bytes.len())];
        let short = matches!(PeerMessage::decode(&mut rest, 2, 1), Err(MessageError::Short { .. }));
        prop_assert!(short);
    }

    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = PeerMessage::decode(&mut &bytes[..], 2, 1);
    }

    #[test]
    fn any_changed_byte_gives_a_message_or_an_error(
        message in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = PeerMessage::decode(&mut &bytes[..], 2, 1) {
            let raft = message.raft.term > 0 && speakable(message.raft.msg_type);
            prop_assert!(message.note().map_or(raft, |note| note.len() <= MAX_NOTE));
        }
    }

    #[test]
    fn appends_that_continue_each_other_become_one(message in any_append(), at in any::<prop::sample::Index>()) {
        let at = at.index(message.entries.len() + 1);
        let (mut first, mut second) = (message.clone(), message.clone());
        first.set_entries(message.entries.to_vec()[..at].to_vec().into());
        second.set_entries(message.entries.to_vec()[at..].to_vec().into());
        if let Some(last) = first.entries.last() {
            (second.index, second.log_term) = (last.index, last.term);
        }
        second.commit = 77;
        let mut merged = first.clone();
        prop_assert_eq!(merge(&mut merged, second.clone(), u64::MAX), None);
        prop_assert_eq!(&merged.entries, &message.entries);
        prop_assert_eq!((merged.index, merged.commit), (message.index, 77));
        prop_assert!(is_contiguous(&merged));
        prop_assume!(!second.entries.is_empty());
        let mut full = first.clone();
        let limit = message.entries.iter().map(weight).sum::<u64>() - 1;
        prop_assert_eq!(merge(&mut full, second.clone(), limit), Some(second.clone()));
        prop_assert_eq!(&full, &first);
    }
}

/// What raft's own batching does: after an empty append for index 151, entries from 136 on.
#[test]
fn an_append_from_further_back_stays_its_own() {
    let mut empty = append(150, vec![]);
    empty.log_term = 2;
    let mut back = append(135, vec![(2, vec![1]), (2, vec![2])]);
    back.log_term = 2;
    assert_eq!(merge(&mut empty, back.clone(), u64::MAX), Some(back.clone()));
    back.to = 3;
    back.index = 150;
    assert_eq!(merge(&mut empty, back.clone(), u64::MAX), Some(back.clone()), "for another follower");
    assert!(!is_contiguous(&back) && is_contiguous(&empty));
}

#[test]
fn orders_to_ones_own_process_cannot_be_said() {
    let mut message = append(0, vec![]);
    for kind in
        [MessageType::MsgHup, MessageType::MsgPropose, MessageType::MsgReadIndex, MessageType::MsgTransferLeader]
    {
        message.msg_type = kind;
        let mut bytes = Vec::new();
        PeerMessage::new(message.clone(), 0).encode(&mut bytes);
        let decoded = PeerMessage::decode(&mut &bytes[..], 2, 1);
        assert_eq!(decoded, Err(MessageError::Value { field: "kind", value: 0 }));
    }
    message.msg_type = MessageType::MsgAppend;
    message.term = 0;
    let mut bytes = Vec::new();
    PeerMessage::new(message, 0).encode(&mut bytes);
    assert_eq!(PeerMessage::decode(&mut &bytes[..], 2, 1), Err(MessageError::Value { field: "term", value: 0 }));
}

#[test]
fn a_count_of_entries_is_not_believed() {
    let mut bytes = Vec::new();
    PeerMessage::new(append(0, vec![]), 0).encode(&mut bytes);
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(PeerMessage::decode(&mut &bytes[..], 2, 1), Err(MessageError::Short { .. })));
}
