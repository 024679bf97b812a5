//! How a system is asked, whatever it is: the generator is one and the same for all of them, so that what they differ by
//! is theirs.

use crate::error::CliError;
use bytes::BytesMut;
use tokio::net::TcpStream;

/// One connection's way to ask. A new connection's is a clone of one that nothing was asked with yet.
pub trait Dialect {
    /// The next operation's number, until there is none.
    fn next(&mut self) -> Option<u64>;

    /// A new connection that can be asked, and what came behind its greeting in `input`; `None` if nobody can be reached now.
    /// What was under way on the one before is forgotten, and asked again by the caller. Cancellation safe.
    ///
    /// # Errors
    /// The system does not take this client.
    fn dial(&mut self, input: &mut BytesMut) -> impl Future<Output = Result<Option<TcpStream>, CliError>>;

    /// Adds operation `number` to what is to be written; its answer is told as `slot`'s.
    fn ask(&mut self, slot: usize, number: u64, out: &mut Vec<u8>);

    /// What was asked since the last time goes out now, together.
    fn seal(&mut self, out: &mut Vec<u8>);

    /// Takes whole answers out of `input`, and adds to `heard` what they are about.
    ///
    /// # Errors
    /// The system does not keep to its protocol.
    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError>;
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What the workload is about.
    Right,
    /// One of several things that it is about, by its name: they are measured apart, too.
    Kind(&'static str),
    /// Something else, by its name.
    Other(&'static str),
    /// Nothing: the operation has to be asked elsewhere.
    Elsewhere,
}
