//! The end of a node that must not go on: a disk that failed, peers that refuse it, a thread that panicked.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Raised once, by whoever finds that the node must end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Fatal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reason: OnceLock<String>,
    raised: CancellationToken,
}

impl Fatal {
    /// The node must end, for this reason. The first reason counts.
    pub fn raise(&self, reason: String) {
        tracing::error!(reason, "this node must end");
        let _earlier = self.shared.reason.set(reason);
        self.shared.raised.cancel();
    }

    /// Returns with the reason when there is one. Cancellation-safe.
    pub async fn raised(&self) -> String {
        self.shared.raised.cancelled().await;
        self.reason().unwrap_or_default().to_owned()
    }

    /// Why the node must end, if it must.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.shared.reason.get().map(String::as_str)
    }

    /// Raised when the returned guard is dropped by a panic of its thread.
    #[must_use]
    pub fn on_panic(&self, thread: &'static str) -> PanicGuard {
        PanicGuard { fatal: self.clone(), thread }
    }
}

/// See [`Fatal::on_panic`].
#[derive(Debug)]
pub struct PanicGuard {
    fatal: Fatal,
    thread: &'static str,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fatal.raise(format!("the {} thread panicked", self.thread));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts() {
        let fatal = Fatal::default();
        fatal.raise("the disk".into());
        fatal.raise("the cat".into());
        assert_eq!(fatal.raised().await, "the disk");
    }

    #[test]
    fn a_panic_is_fatal_and_a_normal_end_is_not() {
        let fatal = Fatal::default();
        let guard = fatal.on_panic("quiet");
        std::thread::spawn(move || drop(guard)).join().expect("ends normally");
        assert_eq!(fatal.reason(), None);
        let guard = fatal.on_panic("shard");
        let ended = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert_eq!(fatal.reason(), Some("the shard thread panicked"));
    }
}
