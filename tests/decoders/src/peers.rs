//! Messages between the nodes.

use doorbuster_raft::PeerMessage;

const FROM: u64 = 1;
const TO: u64 = 2;

/// Messages one after the other, as they stand in a peer's frame.
pub fn messages(mut bytes: &[u8]) {
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
    (0..24).map(of_kind).chain([bytes]).collect()
}
