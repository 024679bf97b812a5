//! The hot path allocates nothing, and bytes from outside cannot ask for memory beyond the limits.

use std::cell::Cell;

use doorbuster_protocol::command::{Command, Reserve, Target};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::frame::*;
use doorbuster_protocol::limits::MAX_BATCH_REQUESTS;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;
use proptest::prelude::*;

/// Counts what this thread allocates.
mod counting_allocator {
    #![allow(unsafe_code)]

    use std::alloc::{GlobalAlloc, Layout, System};

    use super::ALLOCATED;

    pub struct Counting;

    // SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
            // SAFETY: the caller's promise about `layout` is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: `memory` came from `System.alloc` with this layout.
            unsafe { System.dealloc(memory, layout) }
        }
    }
}

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: counting_allocator::Counting = counting_allocator::Counting;

/// Bytes allocated on this thread while `work` ran, freed ones included.
fn allocated_by(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.get();
    work();
    ALLOCATED.get() - before
}

fn hot_requests() -> Vec<(RequestId, Request)> {
    let target = Target { product: ProductId(1), reservation: ReservationId(2), user: UserId(3) };
    let reserve = Reserve {
        product: ProductId(1),
        reservation: ReservationId(2),
        user: UserId(3),
        quantity: Quantity(1),
        ttl: Millis(0),
    };
    [
        RequestBody::Command(Command::Reserve(reserve)),
        RequestBody::Command(Command::Confirm(target)),
        RequestBody::Command(Command::Release(target)),
        RequestBody::Query(Query::Reservation(target)),
    ]
    .into_iter()
    .map(|body| (RequestId(9), Request { body, wait: Millis(100) }))
    .collect()
}

#[test]
fn hot_requests_are_decoded_without_allocation() {
    let mut bytes = Vec::new();
    encode_requests(&hot_requests(), &mut bytes);
    for (id, request) in hot_requests() {
        encode_request(id, &request, &mut bytes);
    }
    let mut read = 0;
    let allocated = allocated_by(|| {
        decode_requests(&bytes, &mut |_, request| read += usize::from(request.is_ok())).expect("whole frames");
    });
    assert_eq!((read, allocated), (8, 0));
}

#[test]
fn refusals_are_encoded_and_decoded_without_allocation() {
    let refusal = |refusal| (RequestId(1), Err(Failure::Refused(refusal)));
    let batch = [
        refusal(Refusal::SoldOut),
        refusal(Refusal::AllHeld { next_expiry: Timestamp(5) }),
        refusal(Refusal::LimitReached { limit: Quantity(1), used: Quantity(1) }),
    ];
    let mut bytes = Vec::with_capacity(1024);
    let allocated = allocated_by(|| {
        encode_answers(&batch, &mut bytes);
        decode_answers(&bytes, &mut |_, answer| assert!(answer.is_err())).expect("whole frames");
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_list_that_claims_to_be_long_gets_no_memory() {
    // An answer with a page of 4096 products, of which none follows.
    let mut bytes = vec![0, 0, 0, 0, VERSION, 6, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&[0, 0, 130, 0, 0x10, 0, 0]);
    bytes[0] = u8::try_from(bytes.len()).expect("short");
    let allocated = allocated_by(|| assert!(decode_answers(&bytes, &mut |_, _| ()).is_err()));
    assert!(allocated < 1024, "{allocated}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// A request's own explanation of what is wrong is the most that garbage can cost beside its bytes.
    #[test]
    fn garbage_costs_memory_in_proportion_to_its_length(kind in 4..=7_u8, content in prop::collection::vec(any::<u8>(), 0..2000)) {
        let length = u32::try_from(HEADER_BYTES + content.len()).expect("short");
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[VERSION, kind, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend_from_slice(&content);
        let mut items = 0;
        let requests = allocated_by(|| { let _ = decode_requests(&bytes, &mut |_, _| items += 1); });
        prop_assert!(items <= MAX_BATCH_REQUESTS);
        prop_assert!(requests <= 512 * (items + 1) + bytes.len(), "{} bytes for {}", requests, bytes.len());
        let answers = allocated_by(|| { let _ = decode_answers(&bytes, &mut |_, _| ()); });
        prop_assert!(answers <= 64 * bytes.len() + 1024, "{} bytes for {}", answers, bytes.len());
    }
}
