package dev.tidewheel.bench;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka to PostgreSQL by Kafka Streams with exactly_once_v2: windows, and for the job `rows` every event, go to topics, which
 * {@link Sink} copies to the database.
 *
 * <p>Every change of a window is emitted (at each commit, by the cache), and none is ever too late: partitions of a backlog are read
 * unevenly, and with a short grace period events of those behind would be dropped without a word.
 */
public final class Streams {
    private static final Duration SIZE = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofDays(1);
    private static final int THREADS = 2;

    private Streams() { }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int index = 0; index + 1 < arguments.length; index += 2) {
            given.put(arguments[index], arguments[index + 1]);
        }
        String kafka = given.get("--kafka");
        String topic = given.get("--topic");
        String group = given.get("--group");
        boolean writesRows = given.get("--job").equals("rows");
        String windows = group + ".streams-windows";
        String rows = group + ".streams-rows";

        int partitions;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", kafka))) {
            partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            for (String name : List.of(windows, rows)) {
                try {
                    admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
                } catch (java.util.concurrent.ExecutionException error) {
                    if (!(error.getCause() instanceof TopicExistsException)) {
                        throw error;
                    }
                }
            }
        }

        KafkaStreams streams = new KafkaStreams(topology(topic, windows, writesRows ? rows : null), properties(kafka, group, given.get("--state")));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        List<Thread> sinks = new ArrayList<>();
        sinks.add(new Thread(new Sink(kafka, given.get("--database"), windows, partitions, false)));
        if (writesRows) {
            sinks.add(new Thread(new Sink(kafka, given.get("--database"), rows, partitions, true)));
        }
        streams.start();
        sinks.forEach(Thread::start);
        for (Thread sink : sinks) {
            sink.join();
        }
    }

    private static org.apache.kafka.streams.Topology topology(String topic, String windows, String rows) {
        StreamsBuilder builder = new StreamsBuilder();
        var events = Serdes.serdeFrom((org.apache.kafka.common.serialization.Serializer<Event>) (name, event) -> {
            throw new UnsupportedOperationException("events are only read");
        }, (name, bytes) -> Event.parse(bytes));
        KStream<byte[], Event> stream = builder.stream(
            topic,
            Consumed.with(Serdes.ByteArray(), events)
                .withTimestampExtractor((record, time) -> ((Event) record.value()).atMs()));
        if (rows != null) {
            stream.mapValues(Event::line).to(rows, Produced.with(Serdes.ByteArray(), Serdes.String()));
        }
        // Only what the windows need goes through the repartition topic.
        stream.map((key, event) -> KeyValue.pair(event.method(), event.metric()))
            .groupByKey(Grouped.with("by-method", Serdes.String(), Serdes.Double()))
            .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE))
            .aggregate(
                () -> Window.EMPTY,
                (method, metric, window) -> window.with(metric),
                Materialized.<String, Window>as(Stores.inMemoryWindowStore("windows", GRACE.plus(SIZE), SIZE, false))
                    .withKeySerde(Serdes.String())
                    .withValueSerde(Window.serde())
                    .withCachingEnabled())
            .toStream((window, value) -> window.window().start() + "|" + window.key())
            .to(windows, Produced.with(Serdes.String(), Window.serde()));
        return builder.build();
    }

    private static Properties properties(String kafka, String group, String state) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, kafka);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, group + ".streams");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, THREADS);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        properties.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
        properties.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6_000);
        properties.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 1_000);
        properties.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        properties.put(StreamsConfig.producerPrefix("linger.ms"), 5);
        properties.put(StreamsConfig.producerPrefix("batch.size"), 256 << 10);
        return properties;
    }
}
