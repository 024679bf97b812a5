//! The deadlines of one product's live reservations, to tell the earliest. One entry a millisecond that
//! has any: a stampede's deadlines stand close together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use doorbuster_protocol::types::Timestamp;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Deadlines(BTreeMap<Timestamp, u32>);

impl Deadlines {
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.0.first_key_value().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn add(&mut self, deadline: Timestamp) {
        *self.0.entry(deadline).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, deadline: Timestamp) {
        let Entry::Occupied(mut count) = self.0.entry(deadline) else {
            panic!("no live reservation has the deadline {deadline}");
        };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}
