//! Ends clients where nobody has to wait for them: librdkafka may block for seconds while it says goodbye to a broker that
//! does not answer.
use std::{
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// How many clients are being closed.
static CLOSING: Mutex<usize> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

/// Drops a client on a thread of its own. The receiver hears when that is done.
pub(crate) fn elsewhere<T: Send + 'static>(client: T) -> tokio::sync::oneshot::Receiver<()> {
    let (done, heard) = tokio::sync::oneshot::channel();
    let counted = Counted::new();
    let closing = thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || {
            drop(client);
            drop(counted);
            let _ = done.send(()); // whoever asked may have gone on
        });
    if let Err(error) = closing {
        tracing::warn!(%error, "no thread to close a Kafka client on: it was closed in place");
    }
    heard
}

/// Waits until all clients that were dropped are closed, and says whether they are. For the end of a process: what librdkafka's threads still
/// use of OpenSSL is taken away from them when it exits, and they crash.
#[must_use]
pub fn wait_until_closed(within: Duration) -> bool {
    let deadline = Instant::now() + within;
    let mut closing = CLOSING.lock();
    while *closing > 0 {
        if CLOSED.wait_until(&mut closing, deadline).timed_out() {
            return *closing == 0;
        }
    }
    true
}

/// A client that is being closed.
struct Counted;

impl Counted {
    fn new() -> Self {
        *CLOSING.lock() += 1;
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *CLOSING.lock() -= 1;
        CLOSED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(300));
        }
    }

    #[test]
    fn who_ends_hears_whether_all_are_closed() {
        drop(elsewhere(Slow));
        assert!(!wait_until_closed(Duration::from_millis(1)));
        assert!(wait_until_closed(Duration::from_secs(60)));
    }
}
