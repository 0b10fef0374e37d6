package dev.tidewheel.bench;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.postgresql.PGConnection;

/**
 * Copies a topic to a table, with its offsets in the same transaction: rows by COPY, windows by an upsert that replaces.
 */
final class Sink implements Runnable {
    private static final String UPSERT = """
        INSERT INTO per_method (window_start, method, count, sum_metric, min_metric, max_metric) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (window_start, method) DO UPDATE SET count = excluded.count, sum_metric = excluded.sum_metric,
            min_metric = excluded.min_metric, max_metric = excluded.max_metric""";
    private static final String COPY = "COPY events (event_id, source, ts, user_id, metric, method, code) FROM STDIN";

    private final String kafka;
    private final String database;
    private final String topic;
    private final int partitions;
    private final boolean rows;

    Sink(String kafka, String database, String topic, int partitions, boolean rows) {
        this.kafka = kafka;
        this.database = database;
        this.topic = topic;
        this.partitions = partitions;
        this.rows = rows;
    }

    @Override
    public void run() {
        try {
            copy();
        } catch (Exception error) {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private void copy() throws Exception {
        Map<String, Object> properties = Map.of(
            "bootstrap.servers", kafka,
            "isolation.level", "read_committed",
            "enable.auto.commit", false,
            "max.poll.records", 20_000,
            "fetch.max.wait.ms", 50,
            "key.deserializer", ByteArrayDeserializer.class,
            "value.deserializer", ByteArrayDeserializer.class);
        try (Connection connection = connect(); KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            connection.setAutoCommit(false);
            place(connection, consumer);
            while (true) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                if (records.isEmpty()) {
                    continue;
                }
                if (rows) {
                    copyRows(connection, records);
                } else {
                    upsertWindows(connection, records);
                }
                try (PreparedStatement move = connection.prepareStatement(
                        "UPDATE sink_offsets SET next = ? WHERE topic = ? AND partition = ?")) {
                    for (TopicPartition partition : records.partitions()) {
                        move.setLong(1, consumer.position(partition));
                        move.setString(2, topic);
                        move.setInt(3, partition.partition());
                        move.addBatch();
                    }
                    move.executeBatch();
                }
                connection.commit();
            }
        }
    }

    /** From `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, whose password is percent-encoded. */
    private Connection connect() throws Exception {
        java.net.URI url = java.net.URI.create(database);
        String[] user = url.getUserInfo().split(":", 2);
        Properties properties = new Properties();
        properties.put("user", user[0]);
        properties.put("password", user[1]);
        properties.put("reWriteBatchedInserts", "true");
        return DriverManager.getConnection("jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath(), properties);
    }

    /** Goes to where the database says that it is. */
    private void place(Connection connection, KafkaConsumer<byte[], byte[]> consumer) throws Exception {
        List<TopicPartition> all = new ArrayList<>();
        for (int partition = 0; partition < partitions; partition++) {
            all.add(new TopicPartition(topic, partition));
        }
        consumer.assign(all);
        try (Statement statement = connection.createStatement()) {
            // Both sinks make it.
            statement.execute("SELECT pg_advisory_xact_lock(1)");
            statement.execute("CREATE TABLE IF NOT EXISTS sink_offsets (topic text, partition int, next bigint, PRIMARY KEY (topic, partition))");
            for (TopicPartition partition : all) {
                statement.execute("INSERT INTO sink_offsets VALUES ('" + topic + "', " + partition.partition() + ", 0) ON CONFLICT DO NOTHING");
            }
            try (ResultSet found = statement.executeQuery("SELECT partition, next FROM sink_offsets WHERE topic = '" + topic + "'")) {
                while (found.next()) {
                    consumer.seek(new TopicPartition(topic, found.getInt(1)), found.getLong(2));
                }
            }
        }
        connection.commit();
    }

    private static void copyRows(Connection connection, ConsumerRecords<byte[], byte[]> records) throws Exception {
        ByteArrayOutputStream text = new ByteArrayOutputStream(records.count() * 160);
        for (ConsumerRecord<byte[], byte[]> record : records) {
            text.writeBytes(record.value());
        }
        connection.unwrap(PGConnection.class).getCopyAPI().copyIn(COPY, new ByteArrayInputStream(text.toByteArray()), 1 << 18);
    }

    private static void upsertWindows(Connection connection, ConsumerRecords<byte[], byte[]> records) throws Exception {
        // Only the newest of each window; a window is always in the same partition.
        Map<String, byte[]> newest = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            newest.put(new String(record.key(), StandardCharsets.UTF_8), record.value());
        }
        try (PreparedStatement upsert = connection.prepareStatement(UPSERT)) {
            for (Map.Entry<String, byte[]> one : newest.entrySet()) {
                String[] key = one.getKey().split("\\|", 2);
                Window window = Window.read(one.getValue());
                upsert.setTimestamp(1, new Timestamp(Long.parseLong(key[0])));
                upsert.setString(2, key[1]);
                upsert.setLong(3, window.count());
                upsert.setDouble(4, window.sum());
                upsert.setDouble(5, window.min());
                upsert.setDouble(6, window.max());
                upsert.addBatch();
            }
            upsert.executeBatch();
        }
    }
}
