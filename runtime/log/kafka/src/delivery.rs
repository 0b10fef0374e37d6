//! What becomes of records that were handed to librdkafka.
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::{
    Message,
    error::RDKafkaErrorCode,
    producer::{DeliveryResult, ProducerContext},
};
use tidewheel_log::{Appended, LogError};
use tokio::sync::oneshot;

use crate::{client::Context, error::of_record, places::Places};

/// Deliveries of a transaction: what matters is whether one of them failed, and where they begin.
#[derive(Default)]
pub(crate) struct Transactional {
    pub(crate) limit_bytes: usize,
    reports: Mutex<Reports>,
}

#[derive(Default)]
struct Reports {
    failed: Option<LogError>,
    written: Places,
}

impl Transactional {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            reports: Mutex::default(),
        }
    }

    /// Where they begin, or why the first of them failed. Forgets both.
    pub(crate) fn take(&self) -> Result<Places, LogError> {
        let Reports { failed, written } = std::mem::take(&mut *self.reports.lock());
        failed.map_or(Ok(written), Err)
    }
}

impl ProducerContext for Context<Transactional> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut reports = self.kind.reports.lock();
        match result {
            // Of a record that was stored twice, of which one is kept, the broker may not say where.
            Ok(message) if message.offset() >= 0 => {
                let (topic, partition) = (message.topic(), message.partition());
                reports.written.add(topic, partition, message.offset());
            }
            Ok(_) => {}
            // Those behind the first are taken back because of it.
            Err((error, message)) if reports.failed.is_none() => {
                let code = error.rdkafka_error_code();
                reports.failed = code
                    .filter(|code| *code != RDKafkaErrorCode::PurgeQueue)
                    .map(|code| failure(code, message, self.kind.limit_bytes));
            }
            Err(_) => {}
        }
    }
}

/// Deliveries outside of transactions: each is told where it went.
pub(crate) struct Appending {
    pub(crate) limit_bytes: usize,
}

/// A record on its way: which of a batch it is.
pub(crate) struct Ticket {
    pub(crate) batch: Arc<Batch>,
    pub(crate) index: usize,
}

/// Records that were appended together. Whoever appended them hears once all have been answered.
pub(crate) struct Batch {
    answers: Mutex<Answers>,
}

struct Answers {
    appended: Vec<Appended>,
    missing: usize,
    failed: Option<LogError>,
    tell: Option<oneshot::Sender<Result<Vec<Appended>, LogError>>>,
}

impl Batch {
    pub(crate) fn new(
        records: usize,
    ) -> (
        Arc<Self>,
        oneshot::Receiver<Result<Vec<Appended>, LogError>>,
    ) {
        let (tell, heard) = oneshot::channel();
        let nowhere = Appended {
            partition: -1,
            offset: -1,
        };
        let answers = Answers {
            appended: vec![nowhere; records],
            missing: records,
            failed: None,
            tell: Some(tell),
        };
        let batch = Self {
            answers: Mutex::new(answers),
        };
        (Arc::new(batch), heard)
    }

    /// One of the records was answered.
    pub(crate) fn answer(&self, index: usize, answer: Result<Appended, LogError>) {
        let mut answers = self.answers.lock();
        match answer {
            Ok(at) => {
                if let Some(appended) = answers.appended.get_mut(index) {
                    *appended = at;
                }
            }
            Err(error) if answers.failed.is_none() => answers.failed = Some(error),
            Err(_) => {}
        }
        answers.missing = answers.missing.saturating_sub(1);
        if answers.missing == 0
            && let Some(tell) = answers.tell.take()
        {
            let all = match answers.failed.take() {
                Some(error) => Err(error),
                None => Ok(std::mem::take(&mut answers.appended)),
            };
            let _ = tell.send(all); // whoever appended may not wait any more
        }
    }
}

impl ProducerContext for Context<Appending> {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match result {
            Ok(message) => Ok(Appended {
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, message)) => {
                let code = error.rdkafka_error_code();
                let code = code.unwrap_or(RDKafkaErrorCode::Unknown);
                Err(failure(code, message, self.kind.limit_bytes))
            }
        };
        ticket.batch.answer(ticket.index, answer);
    }
}

fn failure(code: RDKafkaErrorCode, message: &impl Message, limit_bytes: usize) -> LogError {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let size_bytes = length(message.key()) + length(message.payload());
    of_record(
        code,
        message.topic(),
        message.partition(),
        size_bytes,
        limit_bytes,
    )
}
