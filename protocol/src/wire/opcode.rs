//! The first byte of each message. Numbers are never reused.

// Commands of fixed layout.
pub const RESERVE: u8 = 1;
pub const BEGIN_PAYMENT: u8 = 2;
pub const PAYMENT_FAILED: u8 = 3;
pub const CONFIRM: u8 = 4;
pub const RELEASE: u8 = 5;
pub const EXTEND: u8 = 6;
pub const LATE_PAYMENT: u8 = 7;
pub const REFUND_DONE: u8 = 8;
pub const CANCEL: u8 = 9;
/// Only in the log.
pub const EXPIRE: u8 = 15;

// Commands in protobuf.
pub const CREATE_PRODUCT: u8 = 16;
pub const ADJUST_STOCK: u8 = 17;
pub const SET_STOCK: u8 = 18;
pub const CHANGE_SALE: u8 = 19;
pub const ACKNOWLEDGE_FEED: u8 = 20;

// Queries of fixed layout.
pub const GET_RESERVATION: u8 = 64;
pub const FIND_RESERVATION: u8 = 65;
pub const LIST_UNSETTLED: u8 = 66;

// Queries in protobuf.
pub const GET_PRODUCT: u8 = 80;
pub const LIST_PRODUCTS: u8 = 81;
pub const LIST_RESERVATIONS: u8 = 82;
pub const READ_FEED: u8 = 83;
pub const AUDIT: u8 = 84;
pub const STATUS: u8 = 85;
pub const SHARD_MAP: u8 = 86;

// Replies.
pub const RESERVATION: u8 = 128;
pub const PRODUCT: u8 = 129;
pub const PRODUCTS: u8 = 130;
pub const RESERVATIONS: u8 = 131;
pub const FEED: u8 = 132;
pub const FEED_ACKNOWLEDGED: u8 = 133;
pub const AUDIT_REPORT: u8 = 134;
pub const NODE_STATUS: u8 = 135;
pub const SHARDS: u8 = 136;
pub const EXPIRED: u8 = 137;
pub const UNSETTLED: u8 = 138;

/// Whether the opcode is a command's; the others of a request are queries'.
pub const fn is_command(opcode: u8) -> bool {
    opcode < GET_RESERVATION
}
