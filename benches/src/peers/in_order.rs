//! Which answer is whose, on a connection that is answered in the order of the questions; and answers that count only once
//! something behind them was answered too: a commit, a replica.

use doorbuster_cli::bench::dialect::Heard;
use doorbuster_cli::error::CliError;
use std::collections::VecDeque;
use tokio::net::TcpStream;

/// What is under way on one connection.
#[derive(Clone, Debug, Default)]
pub struct InOrder {
    asked: VecDeque<Asked>,
    /// Answered, and not yet counting.
    held: Vec<(usize, Heard)>,
    /// Something was asked since the last seal.
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Operation(usize),
    Seal,
}

impl InOrder {
    /// Nothing is under way any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// A new connection, on which nothing is under way yet; `None` while nobody listens there.
    pub async fn dial(&mut self, address: &str) -> Option<TcpStream> {
        self.forget();
        let stream = TcpStream::connect(address).await.ok()?;
        let _best_effort = stream.set_nodelay(true);
        Some(stream)
    }

    /// This slot's operation was asked.
    pub fn ask(&mut self, slot: usize) {
        self.asked.push_back(Asked::Operation(slot));
        self.open = true;
    }

    /// Whether there is something to seal; then the seal has to be asked for, and is what is answered next.
    pub fn seal(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        if open {
            self.asked.push_back(Asked::Seal);
        }
        open
    }

    /// The next answer is an operation's.
    ///
    /// # Errors
    /// No operation's answer was next.
    pub fn answered(&mut self, heard: Heard) -> Result<(), CliError> {
        match self.asked.pop_front() {
            Some(Asked::Operation(slot)) => {
                self.held.push((slot, heard));
                Ok(())
            }
            _ => Err(out_of_turn("an answer")),
        }
    }

    /// Whether a seal's answer is next.
    #[must_use]
    pub fn expects_seal(&self) -> bool {
        self.asked.front() == Some(&Asked::Seal)
    }

    /// The next answer is a seal's: what was answered before counts.
    ///
    /// # Errors
    /// No seal's answer was next.
    pub fn sealed(&mut self, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        match self.asked.pop_front() {
            Some(Asked::Seal) => {
                self.release(heard);
                Ok(())
            }
            _ => Err(out_of_turn("an end")),
        }
    }

    /// What was answered so far counts.
    pub fn release(&mut self, heard: &mut Vec<(usize, Heard)>) {
        heard.append(&mut self.held);
    }
}

fn out_of_turn(what: &str) -> CliError {
    CliError::failed(format!("the peer does not keep to its protocol: {what} came that nothing was asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_once_they_are_sealed() {
        let (mut order, mut heard) = (InOrder::default(), Vec::new());
        assert!(!order.seal(), "nothing was asked");
        order.ask(4);
        order.ask(2);
        assert!(order.seal() && !order.seal());
        order.ask(7);
        order.answered(Heard::Right).expect("4 is next");
        order.answered(Heard::Other("late")).expect("2 is next");
        assert!(order.expects_seal() && heard.is_empty());
        assert!(order.answered(Heard::Right).is_err(), "the seal is next");
        let mut order = InOrder { asked: [Asked::Seal, Asked::Operation(7)].into(), ..order };
        order.sealed(&mut heard).expect("the seal is next");
        assert_eq!(heard, [(4, Heard::Right), (2, Heard::Other("late"))]);
        assert!(order.sealed(&mut heard).is_err(), "7 is next");
    }

    #[test]
    fn without_seals_answers_count_when_they_are_released() {
        let (mut order, mut heard) = (InOrder::default(), Vec::new());
        order.ask(1);
        order.answered(Heard::Right).expect("1 is next");
        order.release(&mut heard);
        assert_eq!(heard, [(1, Heard::Right)]);
        order.ask(5);
        order.forget();
        assert!(order.answered(Heard::Right).is_err(), "5 was asked on a connection that is gone");
    }
}
