import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;

/** A record as `kdir consume -o json` prints it. */
final class Envelope {
    static final ObjectMapper JSON = new ObjectMapper();

    static String line(
            String topic, int partition, long offset, long timestamp, TimestampType type, byte[] key, byte[] value,
            Iterable<Header> headers) {
        ObjectNode line = JSON.createObjectNode();
        line.put("topic", topic).put("partition", partition).put("offset", offset);
        line.put("timestamp", timestamp).put("timestamp_type", type.name);
        put(line, "key", key);
        put(line, "value", value);
        var list = line.putArray("headers");
        for (Header header : headers) {
            ObjectNode node = list.addObject();
            node.put("key", header.key());
            put(node, "value", header.value());
        }
        try {
            return JSON.writeValueAsString(line);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    private static void put(ObjectNode node, String name, byte[] bytes) {
        if (bytes == null) {
            node.putNull(name);
            return;
        }
        try {
            node.put(name, StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString());
        } catch (CharacterCodingException notText) {
            node.put(name + "_b64", Base64.getEncoder().encodeToString(bytes));
        }
    }
}
