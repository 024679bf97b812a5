//! The deadlines of one product's live reservations, to tell the earliest. One entry a millisecond that
//! has any: a stampede's deadlines stand close together.

use std::collections::BTreeMap;

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
        let count = self.0.get_mut(&deadline).expect("a live reservation's deadline is listed");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&deadline);
        }
    }
}
