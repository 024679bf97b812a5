//! A server that does nothing but answer: for so many bytes in, so many out. What it does in a second is what sockets and the
//! generator allow on this machine, with frames as long as Doorbuster's.

use super::in_order::InOrder;
use bytes::{Buf, BytesMut};
use doorbuster_cli::bench::dialect::{Dialect, Heard};
use doorbuster_cli::bench::work::Work;
use doorbuster_cli::error::CliError;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::frame::{RequestBatch, encode_answer};
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::{Millis, RequestId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Room for one read.
const READ_BYTES: usize = 64 << 10;

/// How long a question and its answer are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of a request.
    pub request: usize,
    /// Of its answer.
    pub answer: usize,
}

impl Sizes {
    /// Those of a reserve that is refused because everything is sold.
    #[must_use]
    pub fn of_a_refusal(work: &Work) -> Self {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        let asked = Request { body: work.request(0), wait: Millis(0) };
        RequestBatch::default().push(RequestId(0), &asked, &mut request);
        encode_answer(RequestId(0), &Err(Failure::Refused(Refusal::SoldOut)), &mut answer);
        Self { request: request.len(), answer: answer.len() }
    }
}

/// Answers whoever connects, until it is dropped.
///
/// # Errors
/// If no more connections can be taken.
pub async fn serve(listener: TcpListener, sizes: Sizes) -> std::io::Result<()> {
    loop {
        let (stream, _from) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that breaks is its client's affair.
        tokio::spawn(async move { answer(stream, sizes).await });
    }
}

async fn answer(mut stream: TcpStream, sizes: Sizes) -> std::io::Result<()> {
    let mut input = vec![0; READ_BYTES];
    let answers = vec![0; (READ_BYTES / sizes.request + 1) * sizes.answer];
    let mut rest = 0;
    loop {
        let got = stream.read(&mut input).await?;
        if got == 0 {
            return Ok(());
        }
        rest += got;
        let whole = rest / sizes.request;
        rest %= sizes.request;
        stream.write_all(&answers[..whole * sizes.answer]).await?;
    }
}

/// A workload, asked of such a server.
#[derive(Clone)]
pub struct Echo {
    work: Work,
    address: String,
    sizes: Sizes,
    order: InOrder,
}

impl Echo {
    /// So many bytes for each operation.
    #[must_use]
    pub fn new(work: Work, address: String, sizes: Sizes) -> Self {
        Self { work, address, sizes, order: InOrder::default() }
    }
}

impl Dialect for Echo {
    fn next(&mut self) -> Option<u64> {
        self.work.next()
    }

    async fn dial(&mut self, _input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        Ok(self.order.dial(&self.address).await)
    }

    fn ask(&mut self, slot: usize, _number: u64, out: &mut Vec<u8>) {
        out.resize(out.len() + self.sizes.request, 0);
        self.order.ask(slot);
    }

    fn seal(&mut self, _out: &mut Vec<u8>) {}

    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        let whole = input.len() / self.sizes.answer;
        for _ in 0..whole {
            self.order.answered(Heard::Right)?;
        }
        self.order.release(heard);
        input.advance(whole * self.sizes.answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_cli::bench::work::Ask;
    use doorbuster_protocol::types::ProductId;

    #[test]
    fn its_frames_are_as_long_as_those_of_a_refusal() {
        let sizes = Sizes::of_a_refusal(&Work::endless(Ask::Refusal, ProductId(1), 7));
        assert!((64..200).contains(&sizes.request), "two ids and a product: {sizes:?}");
        assert!((16..64).contains(&sizes.answer), "a header and a code: {sizes:?}");
    }
}
