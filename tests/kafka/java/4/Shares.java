import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The steps of {@link Groups}, and those of share groups, which came with Kafka 4. */
public final class Shares extends Groups {
    private static final long DEADLINE_NANOS = 60_000_000_000L;

    private final java.lang.reflect.Method tool;
    /** Members that stay. */
    private final List<KafkaShareConsumer<byte[], byte[]>> members = new ArrayList<>();

    private Shares(String bootstrap, String tool) throws ReflectiveOperationException {
        super(bootstrap, tool);
        this.tool = Class.forName("org.apache.kafka.tools.consumer.group.ShareGroupCommand")
                .getMethod("main", String[].class);
    }

    public static void main(String[] args) throws Exception {
        new Shares(args[0], args[1]).serve();
    }

    @Override
    void step(JsonNode step, ObjectNode answer) throws Exception {
        switch (text(step, "step")) {
            case "configure" -> {
                var resource = new ConfigResource(ConfigResource.Type.GROUP, text(step, "group"));
                var changes = properties(step).entrySet().stream().map(entry -> new AlterConfigOp(
                        new ConfigEntry(entry.getKey(), entry.getValue()), AlterConfigOp.OpType.SET)).toList();
                admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
            }
            case "share" -> share(step, answer);
            case "share-join" -> {
                var member = shareConsumer(step);
                member.subscribe(topics(step));
                // It joins in the background, where it also keeps its place.
                member.poll(POLL);
                members.add(member);
            }
            case "share-tool" -> {
                var rows = answer.putArray("rows");
                List<String> args = new ArrayList<>(List.of("--bootstrap-server", bootstrap));
                step.get("args").forEach(arg -> args.add(arg.asText()));
                for (List<String> words : printedBy(tool, args.toArray(String[]::new))) {
                    var row = rows.addArray();
                    words.forEach(row::add);
                }
            }
            default -> super.step(step, answer);
        }
    }

    private KafkaShareConsumer<byte[], byte[]> shareConsumer(JsonNode step) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", text(step, "group"));
        properties.put("share.acknowledgement.mode", "explicit");
        properties.put("metadata.max.age.ms", "500");
        var bytes = new ByteArrayDeserializer();
        return new KafkaShareConsumer<>(properties, bytes, bytes);
    }

    /**
     * A share consumer, which acknowledges each delivery as `verdicts` says, by `TOPIC:PARTITION:OFFSET`, or accepts it. It ends
     * when it has had `count` records, or has got none for `idle_ms`. `records` of the answer are the deliveries:
     * `[topic, partition, offset, delivery count]`.
     */
    private void share(JsonNode step, ObjectNode answer) {
        var deliveries = answer.putArray("records");
        Set<String> seen = new HashSet<>();
        int count = step.path("count").asInt(Integer.MAX_VALUE);
        long idle = step.get("idle_ms").asLong() * 1_000_000;
        try (var consumer = shareConsumer(step)) {
            consumer.subscribe(topics(step));
            long began = System.nanoTime(), last = began;
            while (seen.size() < count && System.nanoTime() - last < idle && System.nanoTime() - began < DEADLINE_NANOS) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    String place = record.topic() + ":" + record.partition() + ":" + record.offset();
                    var verdict = AcknowledgeType.valueOf(step.path("verdicts").path(place).asText("ACCEPT"));
                    consumer.acknowledge(record, verdict);
                    seen.add(place);
                    deliveries.addArray().add(record.topic()).add(record.partition()).add(record.offset())
                            .add(record.deliveryCount().orElseThrow());
                    last = System.nanoTime();
                }
                for (var result : consumer.commitSync().entrySet()) {
                    result.getValue().ifPresent(error -> {
                        throw new KafkaException(result.getKey() + ": " + error, error);
                    });
                }
            }
        }
    }
}
