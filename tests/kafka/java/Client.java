import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own clients, for what its console tools do not print or do. Records go in and out as kdir's JSON envelopes.
 * Arguments: the broker's address, then commands with a `+` between them.
 */
public final class Client {
    public static void main(String[] args) throws Exception {
        for (int start = 1, end; start < args.length; start = end + 1) {
            end = start;
            while (end < args.length && !args[end].equals("+")) {
                end++;
            }
            run(args[0], args[start], Arrays.copyOfRange(args, start + 1, end));
        }
        // A transaction that is open stays open: closing its producer would abort it.
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void run(String bootstrap, String command, String[] args) throws Exception {
        switch (command) {
            case "create" -> create(bootstrap, args);
            case "consume" -> consume(bootstrap, args[0], Arrays.copyOfRange(args, 1, args.length));
            case "member" -> member(bootstrap, args);
            case "produce" -> produce(bootstrap, args);
            case "transactions" -> transactions(bootstrap, args);
            case "delete-records" -> deleteRecords(bootstrap, args);
            case "alter" -> alter(bootstrap, args);
            case "reassign" -> reassign(bootstrap, args);
            case "churn" -> churn(bootstrap, args);
            default -> throw new IllegalArgumentException(command);
        }
    }

    /** TOPIC[,TOPIC...] PARTITIONS [KEY=VALUE...] */
    private static void create(String bootstrap, String[] args) throws Exception {
        Map<String, String> configuration = new HashMap<>();
        for (int at = 2; at < args.length; at++) {
            String[] parts = args[at].split("=", 2);
            configuration.put(parts[0], parts[1]);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var topics = Arrays.stream(args[0].split(","))
                    .map(name -> new NewTopic(name, Integer.parseInt(args[1]), (short) 1).configs(configuration));
            admin.createTopics(topics.toList()).all().get();
        }
    }

    /** TOPIC KEY=VALUE... */
    private static void alter(String bootstrap, String[] args) throws Exception {
        var operations = Arrays.stream(args).skip(1).map(property -> property.split("=", 2))
                .map(parts -> new AlterConfigOp(new ConfigEntry(parts[0], parts[1]), AlterConfigOp.OpType.SET)).toList();
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, args[0]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.incrementalAlterConfigs(Map.of(topic, operations)).all().get();
        }
    }

    /** TOPIC BROKER[,BROKER...]: moves its partitions to those brokers, and waits until they have all of it. */
    private static void reassign(String bootstrap, String[] args) throws Exception {
        String topic = args[0];
        var replicas = Arrays.stream(args[1].split(",")).map(Integer::parseInt).toList();
        var bytes = new ByteArrayDeserializer();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
                var consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap), bytes, bytes)) {
            var to = Optional.of(new NewPartitionReassignment(replicas));
            Map<TopicPartition, Optional<NewPartitionReassignment>> moves = new HashMap<>();
            consumer.listTopics().get(topic).forEach(info -> moves.put(new TopicPartition(topic, info.partition()), to));
            admin.alterPartitionReassignments(moves).all().get();
            Set<Integer> expected = Set.copyOf(replicas);
            boolean areInSync = false;
            while (!areInSync || !admin.listPartitionReassignments().reassignments().get().isEmpty()) {
                Thread.sleep(50);
                areInSync = consumer.listTopics().get(topic).stream().allMatch(info ->
                        Arrays.stream(info.inSyncReplicas()).map(Node::id).collect(Collectors.toSet()).equals(expected));
            }
        }
    }

    /** TOPIC...: sends records of the same keys to all of them until stdin ends, two of three times in a transaction. */
    private static void churn(String bootstrap, String[] topics) throws Exception {
        var hasEnded = new AtomicBoolean();
        var reader = new Thread(() -> {
            try {
                System.in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            } finally {
                hasEnded.set(true);
            }
        });
        reader.start();
        byte[] value = "x".repeat(100).getBytes(StandardCharsets.UTF_8);
        try (var plain = producer(bootstrap, new String[0]);
                var transactional = producer(bootstrap, new String[] {"transactional.id=churn"})) {
            transactional.initTransactions();
            for (int round = 0, sent = 0; !hasEnded.get(); round++) {
                boolean isPlain = round % 3 == 0;
                var producer = isPlain ? plain : transactional;
                if (!isPlain) {
                    transactional.beginTransaction();
                }
                for (int record = 0; record < 10; record++, sent++) {
                    byte[] key = ("key-" + sent % 1000).getBytes(StandardCharsets.UTF_8);
                    for (String topic : topics) {
                        producer.send(new ProducerRecord<>(topic, key, sent % 17 == 0 ? null : value));
                    }
                }
                producer.flush();
                if (round % 3 == 1) {
                    transactional.commitTransaction();
                } else if (!isPlain) {
                    transactional.abortTransaction();
                }
            }
        }
    }

    /** TOPIC PARTITION=OFFSET... */
    private static void deleteRecords(String bootstrap, String[] args) throws Exception {
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        for (int at = 1; at < args.length; at++) {
            String[] parts = args[at].split("=", 2);
            var partition = new TopicPartition(args[0], Integer.parseInt(parts[0]));
            before.put(partition, RecordsToDelete.beforeOffset(Long.parseLong(parts[1])));
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.deleteRecords(before).all().get();
        }
    }

    /** ISOLATION TOPIC...: every record, partition by partition, as an envelope; up to the end that is there now. */
    private static void consume(String bootstrap, String isolation, String[] topics) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("isolation.level", isolation);
        properties.put("auto.offset.reset", "earliest");
        // Closing a consumer, and going on to the next partition, waits for the fetch that is under way.
        properties.put("fetch.max.wait.ms", "10");
        var bytes = new ByteArrayDeserializer();
        var out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
            var partitions = Arrays.stream(topics)
                    .flatMap(topic -> consumer.partitionsFor(topic).stream()
                            .map(info -> new TopicPartition(topic, info.partition()))
                            .sorted((one, other) -> one.partition() - other.partition()))
                    .toList();
            var ends = consumer.endOffsets(partitions);
            for (TopicPartition partition : partitions) {
                consumer.assign(List.of(partition));
                consumer.seekToBeginning(List.of(partition));
                long deadline = System.nanoTime() + 30_000_000_000L;
                while (consumer.position(partition) < ends.get(partition)) {
                    if (System.nanoTime() > deadline) {
                        throw new IllegalStateException(partition + " is not served from " + consumer.position(partition));
                    }
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                        out.println(Envelope.line(
                                record.topic(), record.partition(), record.offset(), record.timestamp(),
                                record.timestampType(), record.key(), record.value(), record.headers()));
                    }
                }
            }
        }
        out.flush();
    }

    /**
     * GROUP TOPIC COUNT [KEY=VALUE...]: a member of a group that takes so many records of each partition, prints their places, and
     * commits. Where fewer come within five seconds, those.
     */
    private static void member(String bootstrap, String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", args[0]);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        for (int at = 3; at < args.length; at++) {
            String[] parts = args[at].split("=", 2);
            properties.put(parts[0], parts[1]);
        }
        int count = Integer.parseInt(args[2]);
        var bytes = new ByteArrayDeserializer();
        Map<TopicPartition, OffsetAndMetadata> taken = new HashMap<>();
        Map<TopicPartition, Integer> counts = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
            consumer.subscribe(List.of(args[1]));
            long deadline = 0;
            while (deadline == 0 || System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    var partition = new TopicPartition(record.topic(), record.partition());
                    if (counts.merge(partition, 1, Integer::sum) <= count) {
                        System.out.println(record.topic() + " " + record.partition() + " " + record.offset());
                        taken.put(partition, new OffsetAndMetadata(record.offset() + 1));
                    }
                }
                if (deadline == 0 && !consumer.assignment().isEmpty()) {
                    deadline = System.nanoTime() + 5_000_000_000L;
                }
                int complete = 0;
                for (int of : counts.values()) {
                    complete += of >= count ? 1 : 0;
                }
                if (!consumer.assignment().isEmpty() && complete == consumer.assignment().size()) {
                    break;
                }
            }
            if (!taken.isEmpty()) {
                consumer.commitSync(taken);
            }
        }
        System.out.flush();
    }

    private static KafkaProducer<byte[], byte[]> producer(String bootstrap, String[] properties, String... more) {
        Properties all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        for (String[] list : List.of(properties, more)) {
            for (String property : list) {
                String[] parts = property.split("=", 2);
                all.put(parts[0], parts[1]);
            }
        }
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** FILE [PROPERTY=VALUE...]: the envelopes of a file, `-` for stdin, with those properties of the producer. */
    private static void produce(String bootstrap, String[] args) throws Exception {
        var input = args[0].equals("-") ? System.in : new FileInputStream(args[0]);
        String[] properties = Arrays.copyOfRange(args, 1, args.length);
        try (var in = new BufferedReader(new InputStreamReader(input, StandardCharsets.UTF_8));
                KafkaProducer<byte[], byte[]> producer = producer(bootstrap, properties)) {
            for (String line; (line = in.readLine()) != null; ) {
                var node = Envelope.JSON.readTree(line);
                Integer partition = node.hasNonNull("partition") ? node.get("partition").asInt() : null;
                Long timestamp = node.hasNonNull("timestamp") ? node.get("timestamp").asLong() : null;
                byte[] key = bytes(node.get("key")), value = bytes(node.get("value"));
                var record = new ProducerRecord<>(node.get("topic").asText(), partition, timestamp, key, value);
                if (node.has("headers")) {
                    node.get("headers").forEach(header ->
                            record.headers().add(header.get("key").asText(), bytes(header.get("value"))));
                }
                producer.send(record);
            }
        }
    }

    private static byte[] bytes(JsonNode node) {
        return node == null || node.isNull() ? null : node.asText().getBytes(StandardCharsets.UTF_8);
    }

    /**
     * TOPIC PARTITIONS STEP...: two transactional producers, a and b, take turns. A step is one of `begin:a`,
     * `send:a:N` (N records over all partitions), `commit:a`, `abort:a`, and `plain:N` for records outside of any.
     * A transaction that is open at the end stays open.
     */
    private static void transactions(String bootstrap, String[] args) throws Exception {
        String topic = args[0];
        int partitions = Integer.parseInt(args[1]);
        Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
        int sent = 0;
        for (String step : Arrays.copyOfRange(args, 2, args.length)) {
            String[] parts = step.split(":");
            String name = parts[0].equals("plain") ? "plain" : parts[1];
            if (!producers.containsKey(name)) {
                boolean plain = name.equals("plain");
                String[] id = plain ? new String[0] : new String[] {"transactional.id=" + topic + "-" + name};
                var made = producer(bootstrap, id, "transaction.timeout.ms=600000", "max.block.ms=60000");
                if (!plain) {
                    made.initTransactions();
                }
                producers.put(name, made);
            }
            var producer = producers.get(name);
            switch (parts[0]) {
                case "begin" -> producer.beginTransaction();
                case "commit" -> producer.commitTransaction();
                case "abort" -> producer.abortTransaction();
                case "send", "plain" -> {
                    int count = Integer.parseInt(parts[parts.length - 1]);
                    for (int record = 0; record < count; record++, sent++) {
                        byte[] key = ("key-" + sent % 7).getBytes(StandardCharsets.UTF_8);
                        byte[] value = (name + "-" + sent).getBytes(StandardCharsets.UTF_8);
                        producer.send(new ProducerRecord<>(topic, sent % partitions, key, value));
                    }
                    producer.flush();
                }
                default -> throw new IllegalArgumentException(step);
            }
        }
    }
}
