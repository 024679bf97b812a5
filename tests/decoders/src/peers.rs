//! Messages between the nodes.

use doorbuster_raft::PeerMessage;
use doorbuster_raft::transport::{SnapshotOffer, pack_messages, unpack_messages};

const FROM: u64 = 1;
const TO: u64 = 2;
const SHARDS: u16 = 4;
/// A frame of messages, as its first byte says behind length and checksum.
const MESSAGES: u8 = 5;

/// Messages, frames of them and offers of snapshots.
pub fn messages(bytes: &[u8]) {
    one_after_the_other(bytes);
    // As they came, and behind the length and the checksum that they should have.
    frame(bytes);
    let body = [&[MESSAGES], bytes].concat();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    frame(&[&length.to_le_bytes(), &crc32fast::hash(&body).to_le_bytes(), &body[..]].concat());
    offer(bytes);
}

fn frame(bytes: &[u8]) {
    let Ok((clock, batch)) = unpack_messages(bytes, FROM, TO, SHARDS) else { return };
    let written = pack_messages(clock, &batch);
    let (clock_again, batch_again) = unpack_messages(&written, FROM, TO, SHARDS).expect("just written");
    assert_eq!(clock_again, clock);
    assert_eq!(pack_messages(clock_again, &batch_again), written, "a frame comes back as it was");
}

fn offer(bytes: &[u8]) {
    let Ok(offer) = SnapshotOffer::decode(bytes, FROM, TO) else { return };
    let mut written = Vec::new();
    offer.encode(&mut written);
    let mut twice = Vec::new();
    SnapshotOffer::decode(&written, FROM, TO).expect("just written").encode(&mut twice);
    assert_eq!(written, twice, "an offer comes back as it was");
}

/// As they stand in a frame.
fn one_after_the_other(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let Ok(message) = PeerMessage::decode(&mut bytes, FROM, TO) else { return };
        let mut written = Vec::new();
        message.encode(&mut written);
        assert!(message.encoded_len() + 2 >= written.len() && message.encoded_len() <= written.len() + 2);
        let mut rest = &written[..];
        let again = PeerMessage::decode(&mut rest, FROM, TO).expect("just written");
        assert!(rest.is_empty(), "a message is read as a whole");
        let mut twice = Vec::new();
        again.encode(&mut twice);
        assert_eq!(written, twice, "a message comes back as it was");
    }
}

/// One message of every kind, as far as zeros and ones make sense in it.
pub fn seeds() -> Vec<Vec<u8>> {
    let of_kind = |kind: u8| {
        let mut bytes = vec![kind, 0];
        bytes.extend([1; 7 * 8]);
        bytes.push(0);
        bytes.extend([0; 16]);
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(b"abc");
        bytes
    };
    let note = PeerMessage::of_note(FROM, TO, b"note".as_slice().into());
    let mut bytes = Vec::new();
    note.encode(&mut bytes);
    // Each also behind what a frame, and an offer, say before it.
    let messages: Vec<_> = (0..24).map(of_kind).chain([bytes]).collect();
    let behind = |before: usize| messages.iter().map(move |message| [&vec![0; before][..], message].concat());
    behind(8 + 2).chain(behind(2 + 8 + 4)).chain(messages.iter().cloned()).collect()
}
