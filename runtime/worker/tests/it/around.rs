//! Logs that are the embedded one but for some of what they do.
use async_trait::async_trait;
use tidewheel_log::{
    Appended, EmbeddedLog, Log, LogError, Member, NewRecord, Offsets, Producer, Reader, TopicInfo,
};

/// What is done otherwise.
#[async_trait]
pub(crate) trait Otherwise: Send + Sync + 'static {
    async fn producer(
        &self,
        inner: &EmbeddedLog,
        transactional_id: &str,
    ) -> Result<Box<dyn Producer>, LogError> {
        inner.producer(transactional_id).await
    }

    /// Comes between who reads and the log's own reader.
    fn reader(&self, inner: Box<dyn Reader>) -> Box<dyn Reader> {
        inner
    }
}

/// The embedded log, but for what is done otherwise.
pub(crate) struct Around<O> {
    pub(crate) inner: EmbeddedLog,
    pub(crate) otherwise: O,
}

#[async_trait]
impl<O: Otherwise> Log for Around<O> {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.inner.topic(topic).await
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        self.inner.append(records).await
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError> {
        self.otherwise.producer(&self.inner, transactional_id).await
    }

    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        let inner = self.inner.reader(topic, partition, from).await?;
        Ok(self.otherwise.reader(inner))
    }

    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        self.inner.offsets(topic, partition).await
    }

    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        self.inner.offset_at(topic, partition, append_time_ms).await
    }

    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.inner.join(group, topic).await
    }

    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        self.inner.delete_below(topic, partition, offset).await
    }
}
