//! Doorbuster's own protocol, as lean as a client can be.

use super::dialect::{Dialect, Heard};
use super::site::Guide;
use super::work::Work;
use crate::error::CliError;
use bytes::{Buf, BytesMut};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{RequestBatch, decode_answers};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::{Millis, RequestId};
use tokio::net::TcpStream;

/// A workload, asked of whoever leads the hot product's shard.
#[derive(Clone)]
pub struct Native {
    work: Work,
    guide: Guide,
    batch: RequestBatch,
}

impl Native {
    /// This work, there.
    #[must_use]
    pub fn new(work: Work, guide: Guide) -> Self {
        Self { work, guide, batch: RequestBatch::default() }
    }
}

impl Dialect for Native {
    fn next(&mut self) -> Option<u64> {
        self.work.next()
    }

    async fn dial(&mut self, input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        self.batch = RequestBatch::default();
        self.guide.dial(input).await
    }

    fn ask(&mut self, slot: usize, number: u64, out: &mut Vec<u8>) {
        let request = Request { body: self.work.request(number), wait: Millis(0) };
        self.batch.push(RequestId(slot as u64), &request, out);
    }

    fn seal(&mut self, _out: &mut Vec<u8>) {
        // What has begun to be written is not to be added to.
        self.batch = RequestBatch::default();
    }

    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        let work = &self.work;
        let taken = decode_answers(input, &mut |id, answer| {
            let slot = usize::try_from(id.0).unwrap_or(usize::MAX);
            heard.push((slot, if is_elsewhere(&answer) { Heard::Elsewhere } else { work.judge(&answer) }));
        })
        .map_err(|error| CliError::failed(format!("the node does not keep to the protocol: {error}")))?;
        input.advance(taken);
        Ok(())
    }
}

/// Whether nothing was decided, and the operation has to go to whoever leads.
pub const fn is_elsewhere(answer: &Answer) -> bool {
    matches!(
        answer,
        Err(Failure::NotLeader { .. } | Failure::OutcomeUnknown | Failure::ShuttingDown | Failure::Diverged)
    )
}
