package dev.tidewheel.bench;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** What a window has of one method. */
record Window(long count, double sum, double min, double max) {
    static final Window EMPTY = new Window(0, 0, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY);

    static Serde<Window> serde() {
        Serializer<Window> serializer = (topic, window) -> window == null ? null : ByteBuffer.allocate(32)
            .putLong(window.count).putDouble(window.sum).putDouble(window.min).putDouble(window.max).array();
        Deserializer<Window> deserializer = (topic, bytes) -> bytes == null ? null : read(bytes);
        return Serdes.serdeFrom(serializer, deserializer);
    }

    static Window read(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        return new Window(buffer.getLong(), buffer.getDouble(), buffer.getDouble(), buffer.getDouble());
    }

    Window with(double metric) {
        return new Window(count + 1, sum + metric, Math.min(min, metric), Math.max(max, metric));
    }
}
