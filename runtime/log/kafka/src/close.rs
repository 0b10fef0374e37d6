//! Ends clients where nobody has to wait for them: librdkafka may block for seconds while it says goodbye to a broker that
//! does not answer.
use std::thread;

/// Drops a client on a thread of its own. The receiver hears when that is done.
pub(crate) fn elsewhere<T: Send + 'static>(client: T) -> tokio::sync::oneshot::Receiver<()> {
    let (done, heard) = tokio::sync::oneshot::channel();
    let closing = thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || {
            drop(client);
            let _ = done.send(()); // whoever asked may have gone on
        });
    if let Err(error) = closing {
        tracing::warn!(%error, "no thread to close a Kafka client on: it was closed in place");
    }
    heard
}
