//! Ends clients where nobody has to wait for them: librdkafka may block for seconds while it says goodbye to a broker that
//! does not answer.
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How many clients of this process are being closed.
static CLOSING: Mutex<usize> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

/// A client that is being closed.
struct Closing;

impl Closing {
    fn begin() -> Self {
        *CLOSING.lock() += 1;
        Self
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        *CLOSING.lock() -= 1;
        CLOSED.notify_all();
    }
}

/// Drops a client on a thread of its own. The receiver hears when that is done.
pub(crate) fn elsewhere<T: Send + 'static>(client: T) -> tokio::sync::oneshot::Receiver<()> {
    let (done, heard) = tokio::sync::oneshot::channel();
    let closing = Closing::begin();
    let closing = thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || {
            drop(client);
            drop(closing);
            let _ = done.send(()); // whoever asked may have gone on
        });
    if let Err(error) = closing {
        tracing::warn!(%error, "no thread to close a Kafka client on: it was closed in place");
    }
    heard
}

/// Waits until all clients of this process that were dropped are closed, at most for `patience`; whether they are.
///
/// To be called before the process ends: what the C libraries clean up at exit, such as OpenSSL's tables, threads of a client that is still
/// there may be using.
pub fn await_closed(patience: Duration) -> bool {
    let mut closing = CLOSING.lock();
    !CLOSED
        .wait_while_for(&mut closing, |closing| *closing > 0, patience)
        .timed_out()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A client that says goodbye for as long as it is not told that this will do.
    struct Slow(Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv(); // who has ended tells as well
        }
    }

    #[test]
    fn who_ends_waits_for_clients_that_are_being_closed_but_not_for_ever() {
        let (tell, told) = channel();
        let closed = elsewhere(Slow(told));
        assert!(!await_closed(Duration::from_millis(1)));
        drop(tell);
        assert!(await_closed(Duration::from_secs(60)));
        assert_eq!(closed.blocking_recv(), Ok(()));
    }
}
