package dev.tidewheel.bench;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.TimeZone;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Kafka to PostgreSQL by Flink SQL: windows, and for the job `rows` every event, in one job with exactly-once checkpoints, on a cluster
 * within this process. It goes on from the newest checkpoint in its folder.
 */
public final class Flink {
    private Flink() { }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int index = 0; index + 1 < arguments.length; index += 2) {
            given.put(arguments[index], arguments[index + 1]);
        }
        // The connector for JDBC has no type for a moment: both Flink and the driver take local time, which is UTC then.
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        Path checkpoints = Path.of(given.get("--state")).resolve("checkpoints");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(configuration(checkpoints));
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);

        tables.executeSql("""
            CREATE TABLE clicks (
                event_id STRING,
                source STRING,
                `timestamp` TIMESTAMP_LTZ(3),
                attributes ROW<user_id STRING, metric DOUBLE, `method` STRING, code BIGINT>,
                WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '5' SECOND
            ) WITH (
                'connector' = 'kafka',
                'topic' = '%s',
                'properties.bootstrap.servers' = '%s',
                'properties.group.id' = '%s',
                'scan.startup.mode' = 'earliest-offset',
                'format' = 'json',
                'json.timestamp-format.standard' = 'ISO-8601'
            )""".formatted(given.get("--topic"), given.get("--kafka"), given.get("--group")));
        tables.executeSql("""
            CREATE TABLE per_method (
                window_start TIMESTAMP(3),
                `method` STRING,
                `count` BIGINT,
                sum_metric DOUBLE,
                min_metric DOUBLE,
                max_metric DOUBLE,
                PRIMARY KEY (window_start, `method`) NOT ENFORCED
            ) WITH (%s)""".formatted(jdbc(given.get("--database"), "per_method")));
        tables.executeSql("""
            CREATE TABLE events (
                event_id STRING,
                source STRING,
                ts TIMESTAMP(3),
                user_id STRING,
                metric DOUBLE,
                `method` STRING,
                code BIGINT
            ) WITH (%s)""".formatted(jdbc(given.get("--database"), "events")));

        tables.executeSql("""
            CREATE TEMPORARY VIEW metrics AS
            SELECT `timestamp`, attributes.`method` AS `method`, attributes.metric AS metric FROM clicks""");

        StatementSet statements = tables.createStatementSet();
        statements.addInsertSql("""
            INSERT INTO per_method
            SELECT CAST(window_start AS TIMESTAMP(3)), `method`, count(*), sum(metric), min(metric), max(metric)
            FROM TABLE(TUMBLE(
                TABLE metrics, DESCRIPTOR(`timestamp`), INTERVAL '10' SECOND))
            GROUP BY window_start, window_end, `method`""");
        if (given.get("--job").equals("rows")) {
            statements.addInsertSql("""
                INSERT INTO events
                SELECT event_id, source, CAST(`timestamp` AS TIMESTAMP(3)), attributes.user_id, attributes.metric, attributes.`method`, attributes.code
                FROM clicks""");
        }
        statements.execute().await();
    }

    private static Configuration configuration(Path checkpoints) throws IOException {
        Map<String, String> settings = new HashMap<>(Map.of(
            "parallelism.default", "2",
            "taskmanager.numberOfTaskSlots", "2",
            "pipeline.object-reuse", "true",
            "state.backend.type", "hashmap",
            "table.local-time-zone", "UTC",
            "execution.checkpointing.mode", "EXACTLY_ONCE",
            "execution.checkpointing.interval", "1 s",
            "execution.checkpointing.dir", checkpoints.toUri().toString(),
            "execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION",
            "restart-strategy.type", "none"));
        newest(checkpoints).ifPresent(checkpoint -> settings.put("execution.state-recovery.path", checkpoint.toUri().toString()));
        return Configuration.fromMap(settings);
    }

    /** A checkpoint is complete once it has its metadata. */
    private static Optional<Path> newest(Path checkpoints) throws IOException {
        if (!Files.isDirectory(checkpoints)) {
            return Optional.empty();
        }
        try (Stream<Path> files = Files.walk(checkpoints)) {
            return files.filter(file -> file.endsWith("_metadata"))
                .max(Comparator.comparing(file -> file.toFile().lastModified()))
                .map(Path::getParent);
        }
    }

    /** From `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, whose password is percent-encoded. */
    private static String jdbc(String database, String table) {
        URI url = URI.create(database);
        String[] user = url.getUserInfo().split(":", 2);
        // Text becomes a uuid where the column is one; a batch is one statement.
        String place = "jdbc:postgresql://%s:%d%s?stringtype=unspecified&reWriteBatchedInserts=true"
            .formatted(url.getHost(), url.getPort(), url.getPath());
        return """
            'connector' = 'jdbc', 'url' = '%s', 'table-name' = '%s', 'username' = '%s', 'password' = '%s',
            'sink.buffer-flush.max-rows' = '5000', 'sink.buffer-flush.interval' = '100 ms'
            """.formatted(place, table, user[0], user[1].replace("'", "''"));
    }
}
