//! An allocator that counts, for this thread, what is allocated: the size asked for and the 16 bytes that
//! the system's allocator adds at most.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a block takes beyond its size.
const OVERHEAD: usize = 16;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Bytes this thread has allocated and not given back.
pub fn allocated() -> usize {
    ALLOCATED.get()
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's promises are handed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|allocated| allocated.wrapping_add(layout.size() + OVERHEAD));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller's promises are handed on.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(|allocated| allocated.wrapping_sub(layout.size() + OVERHEAD));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(change: impl FnOnce(usize) -> usize) {
    let _ = ALLOCATED.try_with(|allocated| allocated.set(change(allocated.get())));
}
