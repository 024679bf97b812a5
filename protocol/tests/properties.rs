//! Whatever can be said comes back as it was said; whatever else arrives is an error, never a panic.

mod support;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::cursor::Cursor;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::*;
use doorbuster_protocol::handshake::*;
use doorbuster_protocol::limits::{MAX_BATCH_REQUESTS, MAX_FRAME_BYTES, MAX_WAIT};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

type Requests = Vec<(RequestId, Result<Request, Failure>)>;

fn read_requests(bytes: &[u8]) -> Result<(usize, Requests), FrameError> {
    let mut all = Vec::new();
    let taken = decode_requests(bytes, &mut |id, request| all.push((id, request)))?;
    Ok((taken, all))
}

fn read_answers(bytes: &[u8]) -> Result<(usize, Vec<(RequestId, Answer)>), FrameError> {
    let mut all = Vec::new();
    let taken = decode_answers(bytes, &mut |id, answer| all.push((id, answer)))?;
    Ok((taken, all))
}

fn request_id() -> impl Strategy<Value = RequestId> {
    any::<u64>().prop_map(RequestId)
}

fn hello() -> impl Strategy<Value = Hello> {
    (any::<[u8; 2]>(), "[a-z0-9-]{0,64}", vec(any::<u8>(), 0..=256), "[ -~]{0,64}").prop_map(
        |(versions, cluster, credential, client)| Hello {
            versions: versions[0]..=versions[1],
            cluster,
            credential,
            client,
        },
    )
}

fn welcome() -> impl Strategy<Value = WelcomeOrFailure> {
    let taken = (any::<u8>(), "[a-z0-9-]{0,64}", any::<u16>(), any::<[u32; 3]>(), shard_map()).prop_map(
        |(version, cluster, node, limits, shards)| {
            let [max_frame_bytes, max_batch_requests, max_in_flight] = limits;
            let limits = ServerLimits { max_frame_bytes, max_batch_requests, max_in_flight };
            WelcomeOrFailure::Welcome(Welcome { version, cluster, node: NodeId(node), limits, shards })
        },
    );
    prop_oneof![taken, failure().prop_map(WelcomeOrFailure::Refused)]
}

/// Bytes that are nearly right: some of them changed, cut or added.
fn damage(mut bytes: Vec<u8>, edits: &[(usize, u8, u8)]) -> Vec<u8> {
    for &(place, value, how) in edits {
        let place = place % (bytes.len() + 1);
        match how % 4 {
            0 if place < bytes.len() => bytes[place] = value,
            1 if place < bytes.len() => bytes[place] ^= 1 << (value % 8),
            2 => bytes.truncate(place),
            _ => bytes.insert(place, value),
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..4)
}

/// None of the decoders panics.
fn read_all(bytes: &[u8]) {
    let _ = read_requests(bytes);
    let _ = read_answers(bytes);
    let _ = decode_hello(bytes);
    let _ = decode_welcome(bytes);
    let _ = Command::decode(&mut Cursor::new(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn requests_come_back(batch in vec((request_id(), request()), 0..20)) {
        let mut bytes = Vec::new();
        encode_requests(&batch, &mut bytes);
        let expected: Requests = batch.into_iter().map(|(id, request)| (id, Ok(request))).collect();
        prop_assert_eq!(read_requests(&bytes), Ok((bytes.len(), expected)));
    }

    #[test]
    fn answers_come_back(batch in vec((request_id(), answer()), 0..20)) {
        let mut bytes = Vec::new();
        encode_answers(&batch, &mut bytes);
        prop_assert_eq!(read_answers(&bytes), Ok((bytes.len(), batch)));
    }

    #[test]
    fn commands_in_a_row_come_back(commands in vec(command(), 0..20)) {
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| command.encode(&mut bytes));
        let mut cursor = Cursor::new(&bytes);
        for command in commands {
            prop_assert_eq!(Command::decode(&mut cursor), Ok(command));
        }
        prop_assert!(cursor.is_empty());
    }

    #[test]
    fn handshakes_come_back(hello in hello(), welcome in welcome()) {
        let mut bytes = Vec::new();
        encode_hello(&hello, &mut bytes);
        prop_assert_eq!(decode_hello(&bytes), Ok(Some((hello, bytes.len()))));
        bytes.clear();
        encode_welcome(&welcome, &mut bytes);
        prop_assert_eq!(decode_welcome(&bytes), Ok(Some((welcome, bytes.len()))));
    }

    #[test]
    fn a_part_of_a_stream_gives_its_whole_frames_and_asks_for_more(
        requests in vec((request_id(), request()), 1..6), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (id, request) in &requests {
            encode_request(*id, request, &mut bytes);
            ends.push(bytes.len());
        }
        let cut = cut.index(bytes.len());
        let whole = ends.iter().filter(|&&end| end <= cut).count() - 1;
        let (taken, read) = read_requests(&bytes[..cut]).expect("a prefix is no error");
        prop_assert_eq!(taken, ends[whole]);
        prop_assert_eq!(read.len(), whole);
    }

    #[test]
    fn a_part_of_a_handshake_asks_for_more(hello in hello(), welcome in welcome(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        encode_hello(&hello, &mut bytes);
        prop_assert_eq!(decode_hello(&bytes[..cut.index(bytes.len())]), Ok(None));
        bytes.clear();
        encode_welcome(&welcome, &mut bytes);
        prop_assert_eq!(decode_welcome(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn any_content_in_a_frame_gives_a_value_or_an_error(kind in 0..9_u8, content in vec(any::<u8>(), 0..300)) {
        for version in [0, VERSION] {
            let length = u32::try_from(HEADER_BYTES + content.len()).expect("short");
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[version, kind, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
            bytes.extend_from_slice(&content);
            read_all(&bytes);
        }
    }

    #[test]
    fn damaged_bytes_give_a_value_or_an_error(
        requests in vec((request_id(), request()), 1..4), answers in vec((request_id(), answer()), 1..4),
        hello in hello(), welcome in welcome(), edits in edits(),
    ) {
        let mut bytes = Vec::new();
        encode_requests(&requests, &mut bytes);
        read_all(&damage(bytes, &edits));
        let mut bytes = Vec::new();
        encode_answers(&answers, &mut bytes);
        read_all(&damage(bytes, &edits));
        let mut bytes = Vec::new();
        encode_hello(&hello, &mut bytes);
        read_all(&damage(bytes, &edits));
        let mut bytes = Vec::new();
        encode_welcome(&welcome, &mut bytes);
        read_all(&damage(bytes, &edits));
    }

    #[test]
    fn a_request_with_bytes_left_over_is_refused_alone(requests in vec((request_id(), request()), 2..6), extra in 1..9_u8) {
        let mut bytes = Vec::new();
        for (place, (id, request)) in requests.iter().enumerate() {
            let start = bytes.len();
            encode_request(*id, request, &mut bytes);
            if place == 0 {
                bytes.extend(std::iter::repeat_n(0xAA, extra.into()));
                let length = u32::try_from(bytes.len() - start).expect("short");
                bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
            }
        }
        let (_, read) = read_requests(&bytes).expect("the frames are whole");
        prop_assert!(matches!(&read[0].1, Err(Failure::Malformed(_))), "{:?}", read[0]);
        prop_assert!(read[1..].iter().all(|(_, request)| request.is_ok()));
    }
}

#[test]
fn a_batch_beyond_the_limits_is_split_over_frames() {
    let request = |reservation| Request {
        body: RequestBody::Query(doorbuster_protocol::query::Query::FindReservation {
            shard: ShardId(0),
            reservation: ReservationId(reservation),
        }),
        wait: MAX_WAIT,
    };
    let batch: Vec<_> = (0..10_000).map(|i| (RequestId(i), request(i.into()))).collect();
    let mut bytes = Vec::new();
    encode_requests(&batch, &mut bytes);
    let (taken, read) = read_requests(&bytes).expect("every frame is within the limits");
    assert_eq!(taken, bytes.len());
    assert_eq!(read.len(), batch.len());
    assert!(read.iter().zip(&batch).all(|(read, sent)| read.1.as_ref() == Ok(&sent.1)));
    assert!(frame_length(&bytes).expect("complete") < MAX_BATCH_REQUESTS * 64);
}

#[test]
fn long_requests_are_split_by_bytes() {
    let spec = doorbuster_protocol::command::ProductSpec {
        product: ProductId(u64::MAX),
        name: "n".repeat(200),
        stock: Quantity(u32::MAX),
        price: Money { minor: u64::MAX, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(u32::MAX),
        limit_per_reservation: Quantity(u32::MAX),
        ttl: Millis(u64::MAX),
        max_life: Millis(u64::MAX),
        payment_cap: Millis(u64::MAX),
        opens_at: Timestamp(u64::MAX),
        closes_at: Timestamp(u64::MAX),
        late_payment: doorbuster_protocol::command::LatePaymentPolicy::AlwaysRefund,
    };
    let request = Request { body: RequestBody::Command(Command::CreateProduct(Box::new(spec))), wait: Millis(0) };
    let batch: Vec<_> = (0..4096).map(|i| (RequestId(i), request.clone())).collect();
    let mut bytes = Vec::new();
    encode_requests(&batch, &mut bytes);
    assert!(bytes.len() > MAX_FRAME_BYTES, "one frame would be too long");
    assert_eq!(read_requests(&bytes).expect("every frame is within the limits").1.len(), batch.len());
}

#[test]
fn a_time_entry_from_a_client_is_malformed() {
    let request = Request { body: RequestBody::Command(Command::Expire), wait: Millis(0) };
    let mut bytes = Vec::new();
    encode_request(RequestId(7), &request, &mut bytes);
    let (_, read) = read_requests(&bytes).expect("the frame is whole");
    assert!(matches!(&read[..], [(RequestId(7), Err(Failure::Malformed(_)))]), "{read:?}");
}

#[test]
fn what_cannot_be_a_frame_is_refused_at_its_header() {
    let over = u32::try_from(MAX_FRAME_BYTES + 1).expect("small").to_le_bytes();
    assert!(matches!(read_requests(&over), Err(FrameError::TooLong { .. })));
    assert!(read_answers(&over).is_ok(), "answers may be longer");
    assert_eq!(read_requests(&[15, 0, 0, 0]), Err(FrameError::TooShort { length: 15 }));
    let header = |version, kind, flags| [99, 0, 0, 0, version, kind, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for found in [VERSION - 1, VERSION + 1] {
        let refused = FrameError::Version { found, expected: VERSION };
        assert_eq!(read_requests(&header(found, 4, 0)), Err(refused));
    }
    assert_eq!(read_requests(&header(VERSION, 6, 0)), Err(FrameError::Kind { found: 6 }));
    assert_eq!(read_requests(&header(VERSION, 4, 1)), Err(FrameError::Flags { found: 1 }));
    assert!(matches!(decode_hello(b"GET / HTTP/1.1\r\n"), Err(FrameError::TooLong { .. })));
}

/// Nothing of a batch is handed on before all of it is known to keep the rules; what stood in frames before it is.
#[test]
fn a_batch_that_breaks_the_rules_has_no_effect() {
    let request = Request { body: RequestBody::Query(doorbuster_protocol::query::Query::Status), wait: Millis(0) };
    let count = |bytes: &[u8]| {
        let mut handed_on = 0;
        (decode_requests(bytes, &mut |_, _| handed_on += 1), handed_on)
    };
    let mut whole = Vec::new();
    encode_requests(&vec![(RequestId(1), request.clone()); MAX_BATCH_REQUESTS], &mut whole);
    let mut bytes = whole.clone();
    encode_request(RequestId(2), &request, &mut bytes);
    assert_eq!(count(&bytes), (Ok(bytes.len()), MAX_BATCH_REQUESTS + 1));

    let before = bytes.len();
    bytes.extend_from_slice(&whole);
    bytes.extend_from_slice(&[0; ITEM_HEADER_BYTES]); // a 4097th item, empty
    set_length(&mut bytes, before, whole.len() + ITEM_HEADER_BYTES);
    assert_eq!(count(&bytes), (Err(FrameError::BatchTooLong { limit: MAX_BATCH_REQUESTS }), MAX_BATCH_REQUESTS + 1));

    for missing in 1..60 {
        set_length(&mut whole, 0, bytes.len() - before - ITEM_HEADER_BYTES - missing);
        let (taken, handed_on) = count(&whole);
        let item = ITEM_HEADER_BYTES + 9;
        if missing % item == 0 {
            assert_eq!(handed_on, MAX_BATCH_REQUESTS - missing / item, "a shorter batch, then garbage");
        } else {
            assert!(matches!(taken, Err(FrameError::Content(_))), "{taken:?}");
            assert_eq!(handed_on, 0, "{missing} bytes are missing");
        }
    }
}

fn set_length(bytes: &mut [u8], at: usize, length: usize) {
    bytes[at..at + 4].copy_from_slice(&u32::try_from(length).expect("short").to_le_bytes());
}

#[test]
fn an_answer_beyond_a_frame_becomes_a_failure() {
    let product = doorbuster_protocol::reply::ProductCount {
        product: ProductId(1),
        stock: Quantity(1),
        available: Quantity(1),
        held: Quantity(0),
        sold: Quantity(0),
    };
    let report = doorbuster_protocol::reply::AuditReport {
        shard: ShardId(0),
        index: LogIndex(1),
        state_hash: StateHash(1),
        recounted_hash: StateHash(1),
        products: vec![product; 200_000],
        confirmed: 0,
        problems: Vec::new(),
    };
    let mut bytes = Vec::new();
    let batch = [(RequestId(1), Ok(doorbuster_protocol::reply::Reply::Audit(Box::new(report))))];
    encode_answers(&batch, &mut bytes);
    let (_, read) = read_answers(&bytes).expect("a whole frame");
    assert!(matches!(&read[..], [(RequestId(1), Err(Failure::Malformed(_)))]));
}
