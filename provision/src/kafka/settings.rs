//! What is declared of a topic. Pure.
use tidewheel_planner::topics::{Cleanup, Topic};

/// How long a compacted topic writes to one segment: the cleaner never touches the one that is written to, so this, with the size
/// below, bounds what a task reads when it takes over.
const SEGMENT_MS: u64 = 10 * 60 * 1000;
const SEGMENT_BYTES: u64 = 64 << 20;
/// A dead letter is larger than the record in it; events themselves are as large as the broker allows.
const MAX_MESSAGE_BYTES: u64 = 8 << 20;

/// A setting of a topic.
pub(crate) type Setting = (&'static str, String);

/// The settings of one of our topics that do not depend on the cluster.
pub(crate) fn declared(topic: &Topic) -> Vec<Setting> {
    let mut settings = vec![
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    let forever = || "-1".to_owned();
    match topic.cleanup {
        Cleanup::After(ms) => settings.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", ms.to_string()),
        ]),
        Cleanup::Never => settings.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", forever()),
            ("retention.bytes", forever()),
        ]),
        Cleanup::Compact => settings.extend([
            ("cleanup.policy", "compact".to_owned()),
            ("segment.ms", SEGMENT_MS.to_string()),
            ("segment.bytes", SEGMENT_BYTES.to_string()),
            ("min.cleanable.dirty.ratio", "0.1".to_owned()),
        ]),
    }
    if topic.is_internal {
        settings.push(("max.message.bytes", MAX_MESSAGE_BYTES.to_string()));
    }
    settings
}

/// With `replicas` of each partition: one may be missing without anything having to wait, and what was acknowledged is on all others.
pub(crate) fn min_in_sync(replicas: usize) -> Setting {
    let least = replicas.saturating_sub(1).max(1);
    ("min.insync.replicas", least.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cleanup: Cleanup, is_internal: bool) -> String {
        let topic = Topic {
            name: "a".to_owned(),
            partitions: 1,
            cleanup,
            is_internal,
            is_named: false,
        };
        let declared = declared(&topic).into_iter();
        let mut lines: Vec<String> = declared
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.sort();
        lines.join(" ")
    }

    #[test]
    fn each_kind_of_topic_has_the_settings_of_its_use() {
        assert_eq!(
            settings(Cleanup::After(60_000), false),
            "cleanup.policy=delete message.timestamp.type=LogAppendTime retention.ms=60000 unclean.leader.election.enable=false"
        );
        assert_eq!(
            settings(Cleanup::Never, true),
            "cleanup.policy=delete max.message.bytes=8388608 message.timestamp.type=LogAppendTime retention.bytes=-1 retention.ms=-1 \
             unclean.leader.election.enable=false"
        );
        assert_eq!(
            settings(Cleanup::Compact, true),
            "cleanup.policy=compact max.message.bytes=8388608 message.timestamp.type=LogAppendTime min.cleanable.dirty.ratio=0.1 \
             segment.bytes=67108864 segment.ms=600000 unclean.leader.election.enable=false"
        );
    }

    #[test]
    fn one_replica_may_be_missing_but_never_the_last() {
        let least = |replicas| min_in_sync(replicas).1;
        assert_eq!([1, 2, 3, 5].map(least), ["1", "1", "2", "4"]);
    }
}
