//! The state machine under test: it remembers every entry, so that states can be compared whole.

use std::io;

use doorbuster_raft::{Frozen, StateMachine};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<(u64, u64)>);

impl Words {
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = Self::default();
        words.restore(bytes).unwrap();
        words
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(index, word)| [index.to_le_bytes(), word.to_le_bytes()].concat()).collect()
    }
}

impl StateMachine for Words {
    type Outcome = u64;

    fn apply(&mut self, index: u64, data: &[u8]) -> u64 {
        assert!(self.0.last().is_none_or(|(last, _)| *last < index), "index {index} is applied twice or late");
        let word = u64::from_le_bytes(data[..8].try_into().unwrap());
        self.0.push((index, word));
        word
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(self.clone())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        self.0 = snapshot.chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect();
        if snapshot.len().is_multiple_of(16) { Ok(()) } else { Err("cut".into()) }
    }
}

impl Frozen for Words {
    fn write_to(self: Box<Self>, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&self.to_bytes())
    }
}
