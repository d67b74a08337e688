import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka producers that do one step for each line of stdin, a JSON object, and print a line when it is done. They live as long
 * as stdin is open, also while a broker is restarted. The argument is the broker's address.
 *
 * The fields are `step`, `producer` (a name) and, for two of the steps, one more:
 * `open` with its `properties`, `begin`, `commit`, `abort`, and `send` with `records`: envelopes with topic and partition,
 * of which those of one partition become one batch.
 */
public final class Script {
    private static final Map<String, KafkaProducer<byte[], byte[]>> PRODUCERS = new HashMap<>();

    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            JsonNode step = Envelope.JSON.readTree(line);
            String verb = step.get("step").asText(), name = step.get("producer").asText();
            switch (verb) {
                case "open" -> PRODUCERS.put(name, open(args[0], step.get("properties")));
                case "begin" -> PRODUCERS.get(name).beginTransaction();
                case "commit" -> PRODUCERS.get(name).commitTransaction();
                case "abort" -> PRODUCERS.get(name).abortTransaction();
                case "send" -> send(PRODUCERS.get(name), step.get("records"));
                default -> throw new IllegalArgumentException(verb);
            }
            System.out.println(verb);
            System.out.flush();
        }
        // A transaction that is open stays open: closing its producer would abort it.
        Runtime.getRuntime().halt(0);
    }

    private static KafkaProducer<byte[], byte[]> open(String bootstrap, JsonNode more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        // A batch ends when a step does.
        properties.put("linger.ms", "100000");
        properties.put("batch.size", "900000");
        properties.put("delivery.timeout.ms", "200000");
        properties.put("transaction.timeout.ms", "600000");
        properties.put("reconnect.backoff.max.ms", "200");
        more.fields().forEachRemaining(property -> properties.put(property.getKey(), property.getValue().asText()));
        var bytes = new ByteArraySerializer();
        var producer = new KafkaProducer<>(properties, bytes, bytes);
        if (properties.containsKey("transactional.id")) {
            producer.initTransactions();
        }
        return producer;
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, JsonNode records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode node : records) {
            var record = new ProducerRecord<>(node.get("topic").asText(), node.get("partition").asInt(),
                    node.get("timestamp").asLong(), bytes(node.get("key")), bytes(node.get("value")));
            node.get("headers").forEach(header ->
                    record.headers().add(header.get("key").asText(), bytes(header.get("value"))));
            sent.add(producer.send(record));
        }
        producer.flush();
        for (var future : sent) {
            future.get();
        }
    }

    private static byte[] bytes(JsonNode node) {
        return node.isNull() ? null : node.asText().getBytes(StandardCharsets.UTF_8);
    }
}
