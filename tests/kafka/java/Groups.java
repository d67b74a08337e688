import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Every way of Kafka's own clients to change what groups have committed, and the tool that shows it, in one process. Does one
 * step for each line of stdin, a JSON object, and answers with another: what came of it, or an `error` that the broker gave.
 * Arguments: the broker's address, and the class of the tool.
 */
public class Groups {
    static final Duration POLL = Duration.ofMillis(20);
    private static final long DEADLINE_NANOS = 30_000_000_000L;

    final String bootstrap;
    private final java.lang.reflect.Method tool;
    final Admin admin;
    private final KafkaProducer<byte[], byte[]> plain;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    /** What they have sent offsets of in transactions that are open, by producer and group. */
    private final Map<String, Map<String, Set<TopicPartition>>> sent = new HashMap<>();
    /** Members that stay, by their client ids. */
    private final Map<String, KafkaConsumer<byte[], byte[]>> members = new TreeMap<>();
    /** What the tool prints. */
    private final ByteArrayOutputStream printed = new ByteArrayOutputStream();

    Groups(String bootstrap, String tool) throws ReflectiveOperationException {
        this.bootstrap = bootstrap;
        this.tool = Class.forName(tool).getMethod("main", String[].class);
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        plain = producer(Map.of());
    }

    public static void main(String[] args) throws Exception {
        new Groups(args[0], args[1]).serve();
    }

    /** Does the steps that stdin has, and ends the process. */
    final void serve() throws Exception {
        PrintStream out = System.out;
        // Before the tool's class, or the one that Scala prints by, keeps the other one.
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            ObjectNode answer = Envelope.JSON.createObjectNode();
            try {
                step(Envelope.JSON.readTree(line), answer);
            } catch (ExecutionException | KafkaException error) {
                answer.put("error", error.toString());
            }
            out.write((answer + "\n").getBytes(StandardCharsets.UTF_8));
            out.flush();
        }
        // A transaction that is open stays open: closing its producer would abort it.
        Runtime.getRuntime().halt(0);
    }

    void step(JsonNode step, ObjectNode answer) throws Exception {
        String verb = step.get("step").asText(), group = text(step, "group"), topic = text(step, "topic");
        switch (verb) {
            case "create" -> admin.createTopics(List.of(new NewTopic(topic, step.get("partitions").asInt(), (short) 1)))
                    .all().get();
            case "grow" -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(step.get("partitions").asInt())))
                    .all().get();
            case "drop" -> admin.deleteTopics(List.of(topic)).all().get();
            case "produce" -> produce(plain, step);
            case "delete-records" -> {
                Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
                offsets(step).forEach((partition, of) -> before.put(partition, RecordsToDelete.beforeOffset(of.offset())));
                admin.deleteRecords(before).all().get();
            }
            case "alter" -> admin.alterConsumerGroupOffsets(group, offsets(step)).all().get();
            case "forget" -> admin.deleteConsumerGroupOffsets(group, offsets(step).keySet()).all().get();
            case "delete" -> admin.deleteConsumerGroups(List.of(group)).all().get();
            case "commit" -> {
                try (var consumer = consumer(group, Map.of())) {
                    consumer.assign(offsets(step).keySet());
                    consumer.commitSync(offsets(step));
                }
            }
            case "take" -> take(step, answer);
            case "join" -> join(step);
            case "leave" -> members.remove(text(step, "member")).close();
            case "begin" -> transactional(step).beginTransaction();
            case "send" -> produce(transactional(step), step);
            case "offsets" -> {
                transactional(step).sendOffsetsToTransaction(offsets(step), new ConsumerGroupMetadata(group));
                sent.computeIfAbsent(text(step, "producer"), name -> new HashMap<>())
                        .computeIfAbsent(group, name -> new HashSet<>()).addAll(offsets(step).keySet());
            }
            case "end" -> end(step);
            case "settle" -> settle(step);
            case "describe" -> describe(answer);
            default -> throw new IllegalArgumentException(verb);
        }
    }

    static String text(JsonNode step, String name) {
        return step.hasNonNull(name) ? step.get(name).asText() : null;
    }

    /** The offsets of a step: `[topic, partition, offset, metadata]`, of which the last two may be left out. */
    private static Map<TopicPartition, OffsetAndMetadata> offsets(JsonNode step) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode node : step.get("offsets")) {
            var partition = new TopicPartition(node.get(0).asText(), node.get(1).asInt());
            String metadata = node.has(3) ? node.get(3).asText() : "";
            offsets.put(partition, new OffsetAndMetadata(node.has(2) ? node.get(2).asLong() : 0, metadata));
        }
        return offsets;
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, String> more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("transaction.timeout.ms", "600000");
        properties.putAll(more);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaProducer<byte[], byte[]> transactional(JsonNode step) {
        return producers.computeIfAbsent(text(step, "producer"), name -> {
            var producer = producer(Map.of("transactional.id", name));
            producer.initTransactions();
            return producer;
        });
    }

    private static void produce(KafkaProducer<byte[], byte[]> producer, JsonNode step) {
        for (int record = 0; record < step.get("count").asInt(); record++) {
            byte[] value = ("value " + record).getBytes(StandardCharsets.UTF_8);
            producer.send(new ProducerRecord<>(text(step, "topic"), step.get("partition").asInt(), null, value));
        }
        producer.flush();
    }

    /**
     * Ends a transaction, and waits until the groups have its end, which the broker hands on to them later than to the producer.
     * What another transaction still holds is not waited for.
     */
    private void end(JsonNode step) {
        if (step.get("commits").asBoolean()) {
            transactional(step).commitTransaction();
        } else {
            transactional(step).abortTransaction();
        }
        var ended = sent.remove(text(step, "producer"));
        if (ended != null) {
            ended.forEach((group, partitions) -> {
                sent.values().forEach(others -> partitions.removeAll(others.getOrDefault(group, Set.of())));
                try (var consumer = consumer(group, Map.of())) {
                    consumer.committed(partitions);
                }
            });
        }
    }

    /** Waits until no transaction is open in the partitions: their markers are written after a producer has its answer. */
    private void settle(JsonNode step) throws InterruptedException {
        var partitions = offsets(step).keySet();
        try (var settled = consumer("-", Map.of("isolation.level", "read_committed")); var all = consumer("-", Map.of())) {
            while (!settled.endOffsets(partitions).equals(all.endOffsets(partitions))) {
                Thread.sleep(20);
            }
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, String> more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", group);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("fetch.max.wait.ms", "20");
        properties.put("metadata.max.age.ms", "500");
        properties.put("allow.auto.create.topics", "false");
        properties.putAll(more);
        var bytes = new ByteArrayDeserializer();
        return new KafkaConsumer<>(properties, bytes, bytes);
    }

    static Map<String, String> properties(JsonNode step) {
        Map<String, String> properties = new HashMap<>();
        step.path("properties").fields().forEachRemaining(property ->
                properties.put(property.getKey(), property.getValue().asText()));
        return properties;
    }

    static Set<String> topics(JsonNode step) {
        Set<String> topics = new HashSet<>();
        step.get("topics").forEach(topic -> topics.add(topic.asText()));
        return topics;
    }

    /**
     * A member that takes up to `count` records of each partition and commits; `firsts` of the answer is the first offset of
     * each that it got, or where it would have gone on.
     */
    private void take(JsonNode step, ObjectNode answer) throws Exception {
        long count = step.get("count").asLong();
        Map<TopicPartition, Long> firsts = new HashMap<>(), next = new HashMap<>();
        try (var consumer = consumer(text(step, "group"), properties(step))) {
            consumer.subscribe(topics(step));
            for (long end = System.nanoTime() + DEADLINE_NANOS; System.nanoTime() < end; ) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    var partition = new TopicPartition(record.topic(), record.partition());
                    firsts.putIfAbsent(partition, record.offset());
                    if (record.offset() < firsts.get(partition) + count) {
                        next.put(partition, record.offset() + 1);
                    }
                }
                boolean hasAll = !consumer.assignment().isEmpty();
                var ends = consumer.endOffsets(consumer.assignment());
                for (TopicPartition partition : consumer.assignment()) {
                    long position = consumer.position(partition);
                    firsts.putIfAbsent(partition, position);
                    long of = Math.min(firsts.get(partition) + count, ends.get(partition));
                    hasAll &= position >= of;
                }
                if (hasAll) {
                    break;
                }
            }
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            next.forEach((partition, offset) -> offsets.put(partition, new OffsetAndMetadata(offset)));
            consumer.commitSync(offsets);
        }
        ObjectNode of = answer.putObject("firsts");
        firsts.forEach((partition, offset) -> of.put(partition.toString(), offset));
    }

    /** A member that stays, and reads nothing. */
    private void join(JsonNode step) {
        Map<String, String> properties = properties(step);
        properties.put("client.id", text(step, "member"));
        var consumer = consumer(text(step, "group"), properties);
        consumer.subscribe(topics(step));
        members.put(text(step, "member"), consumer);
        for (long end = System.nanoTime() + DEADLINE_NANOS; System.nanoTime() < end && consumer.assignment().isEmpty(); ) {
            pollMembers();
        }
    }

    /** Has the members do what they have to do when others come and go. */
    private void pollMembers() {
        for (var member : members.values()) {
            member.pause(member.assignment());
            member.poll(POLL);
        }
    }

    /** The lines that a tool prints, in words. */
    final List<List<String>> printedBy(java.lang.reflect.Method tool, String... args) throws ReflectiveOperationException {
        printed.reset();
        tool.invoke(null, (Object) args);
        List<List<String>> lines = new ArrayList<>();
        for (String line : printed.toString(StandardCharsets.UTF_8).split("\n")) {
            if (!line.isBlank()) {
                lines.add(List.of(line.trim().split("\\s+")));
            }
        }
        return lines;
    }

    /**
     * The rows of the tool, in words, without the headings; of all groups the states, and what they have committed, which
     * the tool does not show of every id.
     */
    private void describe(ObjectNode answer) throws Exception {
        pollMembers();
        var rows = answer.putArray("rows");
        for (List<String> words : printedBy(tool, "--bootstrap-server", bootstrap, "--describe", "--all-groups")) {
            if (words.size() >= 9 && !words.get(0).equals("GROUP")) {
                var row = rows.addArray();
                words.forEach(row::add);
            } else if (!words.get(0).equals("GROUP")) {
                answer.withArray("said").add(String.join(" ", words));
            }
        }
        ObjectNode states = answer.putObject("states"), committed = answer.putObject("committed");
        for (var group : admin.listConsumerGroups().all().get()) {
            states.put(group.groupId(), group.state().orElseThrow().toString());
            ObjectNode of = committed.putObject(group.groupId());
            admin.listConsumerGroupOffsets(group.groupId()).partitionsToOffsetAndMetadata().get()
                    .forEach((partition, offset) -> of.put(partition.toString(), offset == null ? null : offset.offset()));
        }
    }
}
