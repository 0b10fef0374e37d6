package dev.tidewheel.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.OffsetDateTime;

/** An event of the measurements: what their EventSource declares. */
record Event(String eventId, String source, String timestamp, long atMs, String userId, double metric, String method, long code) {
    private static final JsonFactory JSON = new JsonFactory();

    static Event parse(byte[] value) {
        String eventId = null, source = null, timestamp = null, userId = null, method = null;
        double metric = 0;
        long code = 0;
        try (JsonParser parser = JSON.createParser(value)) {
            for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
                if (token != JsonToken.FIELD_NAME) {
                    continue;
                }
                String name = parser.currentName();
                token = parser.nextToken();
                // Members of `attributes` have names that no other member has.
                switch (name) {
                    case "event_id" -> eventId = parser.getText();
                    case "source" -> source = parser.getText();
                    case "timestamp" -> timestamp = parser.getText();
                    case "user_id" -> userId = parser.getText();
                    case "method" -> method = parser.getText();
                    case "metric" -> metric = parser.getDoubleValue();
                    case "code" -> code = parser.getLongValue();
                    case "attributes" -> { }
                    default -> parser.skipChildren();
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        long atMs = OffsetDateTime.parse(timestamp).toInstant().toEpochMilli();
        return new Event(eventId, source, timestamp, atMs, userId, metric, method, code);
    }

    /** A line of COPY's text format. */
    String line() {
        return new StringBuilder(160)
            .append(eventId).append('\t').append(escaped(source)).append('\t').append(timestamp).append('\t')
            .append(escaped(userId)).append('\t').append(metric).append('\t').append(escaped(method)).append('\t')
            .append(code).append('\n').toString();
    }

    private static String escaped(String text) {
        for (int index = 0; index < text.length(); index++) {
            char letter = text.charAt(index);
            if (letter == '\\' || letter < ' ') {
                return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r");
            }
        }
        return text;
    }
}
