//! What librdkafka says, as events of the program's own log.
use rdkafka::config::RDKafkaLogLevel;

/// Passes on a line of a client. What a client mends by itself is for those who look for it: clients say a great deal while a
/// broker restarts, and also when a property that another kind of client needs is given to them.
pub fn log_line(client: &str, level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "kafka", client, facility, "{line}");
        }
        RDKafkaLogLevel::Error => tracing::warn!(target: "kafka", client, facility, "{line}"),
        RDKafkaLogLevel::Warning if facility != "CONFWARN" => {
            tracing::info!(target: "kafka", client, facility, "{line}");
        }
        RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info
        | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "kafka", client, facility, "{line}");
        }
    }
}
