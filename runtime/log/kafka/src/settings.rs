//! The properties of each kind of client, and why. Whatever the user's Secret says comes after the defaults.
use std::time::Duration;

use rdkafka::ClientConfig;
use tidewheel_kafka::Connection;

/// How long a transaction may stay open after its owner died: nobody reads past it until then.
pub(crate) const TRANSACTION_TIMEOUT_MS: u64 = 10_000;

/// For every client.
const COMMON: [(&str, &str); 5] = [
    ("client.id", "tidewheel"),
    // A broker that comes back is found within a second, not within ten.
    ("reconnect.backoff.max.ms", "1000"),
    ("retry.backoff.ms", "20"),
    ("socket.keepalive.enable", "true"),
    ("statistics.interval.ms", "5000"),
];

/// For everything that writes.
const WRITING: [(&str, &str); 4] = [
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // A dead letter is larger than the record in it.
    ("message.max.bytes", "8388608"),
    // A topic that has just been made may not be known everywhere yet, but a wrong name should not cost half a minute.
    ("topic.metadata.propagation.max.ms", "5000"),
];

const WRITING_DECIDED: [(&str, &str); 3] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // As Java's clients do it: the same key goes to the same partition, whoever sends it.
    ("partitioner", "murmur2_random"),
];

/// For everything that reads.
const READING: [(&str, &str); 6] = [
    ("check.crcs", "true"),
    ("fetch.error.backoff.ms", "100"),
    // The defaults would stall a partition for up to a second, and delay the first fetch of another one by half of that.
    ("fetch.queue.backoff.ms", "10"),
    // A fetch costs the broker about the same, however little it answers: it answers when it has this much, or after the wait. A
    // partition that is opened meanwhile waits for it too.
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "20"),
    ("queued.min.messages", "20000"),
];

/// What is read ahead of all partitions of a topic together, beside the batches in hand, KiB.
const AHEAD_TOGETHER_KB: i32 = 64 << 10;
/// What is read ahead of one of them: at most about a large batch, and at least about a fetch.
const AHEAD_MOST_KB: i32 = 8 << 10;
const AHEAD_LEAST_KB: i32 = 1 << 10;

const READING_DECIDED: [(&str, &str); 4] = [
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
];

/// What a client gets to see of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those that are committed.
    Committed,
    /// All records.
    Uncommitted,
}

impl Isolation {
    /// Comes behind what is decided for everything that reads.
    fn decided(self) -> [(&'static str, &'static str); 1] {
        let level = match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        };
        [("isolation.level", level)]
    }
}

/// For members of groups.
const MEMBER: [(&str, &str); 6] = [
    ("heartbeat.interval.ms", "1500"),
    // How long partitions that are to move may still be worked on.
    ("max.poll.interval.ms", "30000"),
    // No user's: members take and let go partition by partition, which librdkafka refuses with every other strategy. It stands here
    // because the newer protocol takes none.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // The newer protocol's timeout is the broker's, 45 s unless somebody changed it.
    ("session.timeout.ms", "6000"),
    // Partitions that were added are shared out after this time at the latest.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("fetch.wait.max.ms", "20"),
];

pub(crate) fn transactional(connection: &Connection, transactional_id: &str) -> ClientConfig {
    let timeout = TRANSACTION_TIMEOUT_MS.to_string();
    let own = [("transaction.timeout.ms", timeout.as_str())];
    let decided = [("transactional.id", transactional_id)];
    connection.config(
        &[&COMMON[..], &WRITING, &own].concat(),
        &[&WRITING_DECIDED[..], &decided].concat(),
    )
}

pub(crate) fn appending(connection: &Connection) -> ClientConfig {
    connection.config(&[&COMMON[..], &WRITING].concat(), &WRITING_DECIDED)
}

/// How much is read ahead of each partition of a topic that has so many of them, KiB: a power of two, so that few clients have a size of
/// their own. Whoever computes for a batch has the next one at hand then, where memory allows it.
pub(crate) fn read_ahead_kb(partitions: i32) -> i32 {
    let share_kb = AHEAD_TOGETHER_KB / partitions.max(1);
    1 << share_kb.clamp(AHEAD_LEAST_KB, AHEAD_MOST_KB).ilog2()
}

/// A reader assigns by hand: the group's name is only there because librdkafka wants one. Of a partition that has more than `ahead_kb` at
/// hand no more is fetched; a fetch is a batch of the log at least, and compressed, which it is no more in memory.
pub(crate) fn reading(
    connection: &Connection,
    isolation: Isolation,
    ahead_kb: i32,
) -> ClientConfig {
    let group = [("group.id", "tidewheel.readers")];
    let ahead_kb = ahead_kb.to_string();
    let ahead = [("queued.max.messages.kbytes", ahead_kb.as_str())];
    connection.config(
        &[&COMMON[..], &READING, &ahead].concat(),
        &[&READING_DECIDED[..], &group, &isolation.decided()].concat(),
    )
}

pub(crate) fn member(connection: &Connection, group: &str) -> ClientConfig {
    connection.config(
        &[&COMMON[..], &MEMBER].concat(),
        &[&READING_DECIDED[..], &[("group.id", group)]].concat(),
    )
}

/// Whether groups use the newer protocol.
pub(crate) fn has_newer_groups(connection: &Connection) -> bool {
    connection.get("group.protocol") == Some("consumer")
}

/// Without a group: it only asks.
pub(crate) fn asking(connection: &Connection, isolation: Isolation) -> ClientConfig {
    let decided = [&READING_DECIDED[..], &isolation.decided()].concat();
    connection.config(&COMMON, &decided)
}

/// The largest record that a client of this configuration sends, bytes.
pub(crate) fn largest_record_bytes(config: &ClientConfig) -> usize {
    config
        .get("message.max.bytes")
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(1_000_000)
}

/// How long a member of this configuration may be silent.
pub(crate) fn longest_poll_interval(config: &ClientConfig) -> Duration {
    let ms = config.get("max.poll.interval.ms");
    let ms = ms.and_then(|ms| ms.parse().ok()).unwrap_or(300_000);
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_share_what_is_read_ahead() {
        let ahead_kb = [1, 6, 8, 9, 17, 60, 1_000].map(read_ahead_kb);
        assert_eq!(ahead_kb, [8_192, 8_192, 8_192, 4_096, 2_048, 1_024, 1_024]);
    }
}
