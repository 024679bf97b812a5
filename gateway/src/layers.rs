//! What a request passes before its route, one file a layer, in this order: whose address it is, how often that
//! address and everybody may ask, whether there is room for one more, and who asks.

pub mod address;
pub mod auth;
pub mod buckets;
pub mod head;
pub mod limits;
pub mod shed;
