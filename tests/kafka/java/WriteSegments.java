import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import net.jpountz.lz4.LZ4FrameOutputStream;
import net.jpountz.lz4.LZ4FrameOutputStream.BLOCKSIZE;
import net.jpountz.lz4.LZ4FrameOutputStream.FLG.Bits;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.DefaultRecordBatch;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.FileRecords;
import org.apache.kafka.common.record.LegacyRecord;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecords.RecordFilter;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.Crc32C;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.storage.internals.log.AbortedTxn;
import org.apache.kafka.storage.internals.log.TransactionIndex;
import org.xerial.snappy.Snappy;
import org.xerial.snappy.SnappyOutputStream;

/**
 * Writes a log dir with a topic for each form that Kafka's log has had, by Kafka's own record classes, and beside each
 * topic, as `TOPIC.jsonl`, what these classes read back. Arguments: the directory, and a seed for random topics in place
 * of the fixed ones. The same bytes come of every run.
 */
public final class WriteSegments {
    private static final long TIME = 1_700_000_000_000L;
    private static final TimestampType CREATE_TIME = TimestampType.CREATE_TIME;
    private static final TimestampType LOG_APPEND_TIME = TimestampType.LOG_APPEND_TIME;
    private static final Header[] NO_HEADERS = {};
    /** Values that begin so are of a transaction that was aborted or has not ended, or stand behind its beginning. */
    private static final String NOT_COMMITTED = "-";
    private static final short EPOCH = 0;

    private final Path root;

    private WriteSegments(Path root) {
        this.root = root;
    }

    public static void main(String[] args) throws Exception {
        var writer = new WriteSegments(Path.of(args[0]));
        if (args.length > 1) {
            writer.random(new Random(Long.parseLong(args[1])));
            return;
        }
        writer.everyCodec();
        writer.offsets();
        writer.nulls();
        writer.producers();
        writer.transactions();
        writer.compacted();
        writer.oddCompression();
        writer.mixed();
    }

    // What goes to disk.

    /** One segment with base offset 0. */
    private void topic(String topic, byte[]... batches) throws IOException {
        segment(topic, 0, batches);
        readBack(topic, 0);
    }

    private void segment(String topic, long baseOffset, byte[]... batches) throws IOException {
        Path folder = Files.createDirectories(root.resolve(topic + "-0"));
        Files.write(folder.resolve(String.format("%020d.log", baseOffset)), concatenated(batches));
    }

    private void readBack(String topic, long... baseOffsets) throws IOException {
        var all = new StringBuilder();
        var committed = new StringBuilder();
        for (long baseOffset : baseOffsets) {
            Path path = root.resolve(topic + "-0").resolve(String.format("%020d.log", baseOffset));
            try (FileRecords records = FileRecords.open(path.toFile(), false)) {
                for (RecordBatch batch : records.batches()) {
                    batch.ensureValid();
                    for (Record record : batch) {
                        record.ensureValid();
                        if (batch.isControlBatch()) {
                            continue;
                        }
                        byte[] value = bytes(record.value());
                        String line = Envelope.line(
                                topic, 0, record.offset(), record.timestamp(), batch.timestampType(),
                                bytes(record.key()), value, Arrays.asList(record.headers()));
                        all.append(line).append('\n');
                        if (value == null || !new String(value, StandardCharsets.UTF_8).startsWith(NOT_COMMITTED)) {
                            committed.append(line).append('\n');
                        }
                    }
                }
            }
        }
        Files.writeString(root.resolve(topic + ".jsonl"), all);
        if (topic.startsWith("transactions")) {
            Files.writeString(root.resolve(topic + ".read-committed.jsonl"), committed);
        }
    }

    // Batches.

    private record Entry(long offset, long timestamp, byte[] key, byte[] value, Header... headers) {}

    private static Entry entry(long offset, String key, String value) {
        return new Entry(offset, TIME + offset, utf8(key), utf8(value), NO_HEADERS);
    }

    private static byte[] utf8(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    private static byte[] bytes(ByteBuffer buffer) {
        return buffer == null ? null : Utils.toArray(buffer);
    }

    private static byte[] concatenated(byte[]... parts) {
        var out = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            out.writeBytes(part);
        }
        return out.toByteArray();
    }

    /** Records from one offset to before another. */
    private static Entry[] entries(long from, long to) {
        var entries = new ArrayList<Entry>();
        for (long offset = from; offset < to; offset++) {
            entries.add(entry(offset, "key-" + offset % 3, "value " + offset + ", and again: value " + offset));
        }
        return entries.toArray(Entry[]::new);
    }

    private static byte[] batch(int magic, Compression compression, TimestampType type, Entry... entries) {
        return batch(magic, compression, type, -1, (short) -1, -1, false, entries);
    }

    private static byte[] batch(int magic, Compression compression, Entry... entries) {
        return batch(magic, compression, CREATE_TIME, entries);
    }

    private static byte[] batch(
            int magic, Compression compression, TimestampType type, long producerId, short epoch, int sequence,
            boolean transactional, Entry... entries) {
        long appendTime = type == LOG_APPEND_TIME ? TIME + 1_000_000 : RecordBatch.NO_TIMESTAMP;
        MemoryRecordsBuilder builder = MemoryRecords.builder(
                ByteBuffer.allocate(1 << 16), (byte) magic, compression, magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : type,
                entries[0].offset, appendTime, producerId, epoch, sequence, transactional, magic == 2 ? 4 : -1);
        for (Entry entry : entries) {
            long timestamp = magic == 0 ? RecordBatch.NO_TIMESTAMP : entry.timestamp;
            builder.appendWithOffset(entry.offset, timestamp, entry.key, entry.value, magic == 2 ? entry.headers : NO_HEADERS);
        }
        return bytes(builder.build().buffer());
    }

    private static final Compression NONE = Compression.NONE;

    private static List<CompressionType> codecs(int magic) {
        return Arrays.stream(CompressionType.values()).filter(it -> magic == 2 || it != CompressionType.ZSTD).toList();
    }

    private static Compression of(CompressionType codec) {
        return Compression.of(codec).build();
    }

    // Fixed topics.

    private void everyCodec() throws IOException {
        for (int magic = 0; magic <= 2; magic++) {
            for (CompressionType codec : codecs(magic)) {
                String name = "v" + magic + "-" + codec.name;
                topic(name, batch(magic, of(codec), entries(0, 3)), batch(magic, of(codec), entries(3, 4)),
                        batch(magic, of(codec), entries(4, 20)));
                if (magic > 0) {
                    topic(name + "-log-append-time", batch(magic, of(codec), LOG_APPEND_TIME, entries(0, 5)),
                            batch(magic, of(codec), LOG_APPEND_TIME, entries(5, 9)));
                }
                // More than one block of the codecs that have blocks.
                if (magic > 0 && (codec == CompressionType.SNAPPY || codec == CompressionType.LZ4)) {
                    var large = new Entry[24];
                    for (int offset = 0; offset < large.length; offset++) {
                        large[offset] = entry(offset, null, ("line " + offset + " ").repeat(400));
                    }
                    topic(name + "-large", batch(magic, of(codec), large));
                }
            }
        }
    }

    private void offsets() throws IOException {
        for (int magic = 0; magic <= 2; magic++) {
            for (CompressionType codec : List.of(CompressionType.NONE, CompressionType.GZIP)) {
                String name = "v" + magic + "-" + codec.name;
                segment(name + "-from-1000", 1000, batch(magic, of(codec), entries(1003, 1009)),
                        batch(magic, of(codec), entries(1020, 1025)));
                readBack(name + "-from-1000", 1000);
                topic(name + "-gaps", batch(magic, of(codec), entry(2, "a", "1"), entry(5, "b", "2"), entry(11, "c", "3")),
                        batch(magic, of(codec), entry(12, "d", "4"), entry(40, "e", "5")));
            }
        }
        // Beyond what 32 bits hold.
        long far = 5_000_000_000L;
        segment("v2-far", far, batch(2, NONE, entries(far, far + 3)), batch(2, of(CompressionType.LZ4), entries(far + 3, far + 6)));
        readBack("v2-far", far);
        // What some versions of librdkafka sent: the wrapper's offset is 0, and those inside are taken as they are.
        topic("v1-wrapper-at-0", wrapper(1, 0, CompressionType.GZIP, gzip(messages(1, entries(0, 4)))),
                batch(1, NONE, entries(4, 6)));
    }

    private void nulls() throws IOException {
        for (int magic = 0; magic <= 2; magic++) {
            for (CompressionType codec : List.of(CompressionType.NONE, CompressionType.SNAPPY)) {
                var entries = new ArrayList<Entry>();
                String[] parts = {null, "", "x"};
                for (String key : parts) {
                    for (String value : parts) {
                        entries.add(entry(entries.size(), key, value));
                    }
                }
                byte[] binary = {0, (byte) 0xff, (byte) 0xfe, '\n', (byte) 0x80};
                entries.add(new Entry(9, TIME, binary, binary));
                topic("v" + magic + "-" + codec.name + "-nulls", batch(magic, of(codec), entries.toArray(Entry[]::new)));
            }
        }
        Header[] headers = {
            new RecordHeader("h", utf8("1")), new RecordHeader("h", utf8("1")), new RecordHeader("", null),
            new RecordHeader("empty", new byte[0]), new RecordHeader("ünï", new byte[] {(byte) 0xff}),
        };
        topic("v2-headers", batch(2, NONE, new Entry(0, TIME, null, utf8("all"), headers), entry(1, "k", "none")),
                batch(2, of(CompressionType.ZSTD), new Entry(2, TIME, utf8("k"), null, headers[0])));
        for (int magic = 1; magic <= 2; magic++) {
            topic("v" + magic + "-timestamps", batch(magic, NONE, new Entry(0, TIME, null, utf8("first")),
                    new Entry(1, TIME - 86_400_000, null, utf8("a day before")), new Entry(2, 0, null, utf8("the epoch"))),
                    batch(magic, of(CompressionType.GZIP), new Entry(3, -1, null, utf8("none")),
                            new Entry(4, TIME + 5, null, utf8("later"))));
        }
    }

    private void producers() throws IOException {
        topic("v2-idempotent", batch(2, NONE, CREATE_TIME, 7000, (short) 3, 0, false, entries(0, 4)),
                batch(2, of(CompressionType.ZSTD), CREATE_TIME, 7000, (short) 3, 4, false, entries(4, 9)),
                batch(2, NONE, CREATE_TIME, 7001, EPOCH, Integer.MAX_VALUE - 1, false, entries(9, 13)));
        var leader = new LeaderChangeMessage().setLeaderId(1);
        topic("v2-leader-change", bytes(MemoryRecords.withLeaderChangeMessage(0, TIME, 1, ByteBuffer.allocate(256), leader).buffer()),
                batch(2, NONE, entries(1, 4)));
    }

    private static byte[] inTransaction(long producerId, long offset, String... values) {
        var entries = new Entry[values.length];
        for (int at = 0; at < values.length; at++) {
            entries[at] = entry(offset + at, "p" + producerId, values[at]);
        }
        return batch(2, NONE, CREATE_TIME, producerId, EPOCH, (int) offset, true, entries);
    }

    private static byte[] plain(long offset, String value) {
        return batch(2, NONE, entry(offset, null, value));
    }

    private static byte[] end(long producerId, long offset, ControlRecordType type) {
        var marker = new EndTransactionMarker(type, 0);
        return bytes(MemoryRecords.withEndTransactionMarker(offset, TIME + offset, 4, producerId, EPOCH, marker).buffer());
    }

    private static byte[] commit(long producerId, long offset) {
        return end(producerId, offset, ControlRecordType.COMMIT);
    }

    private static byte[] abort(long producerId, long offset) {
        return end(producerId, offset, ControlRecordType.ABORT);
    }

    private void transactions() throws Exception {
        byte[][] overlapping = {
            plain(0, "before"), inTransaction(1, 1, "a", "b"), inTransaction(2, 3, "-c"), plain(4, "between"),
            inTransaction(1, 5, "d"), inTransaction(2, 6, "-e", "-f"), commit(1, 8), inTransaction(1, 9, "-g"),
            abort(2, 10), inTransaction(2, 11, "h"), abort(1, 12), commit(2, 13), commit(2, 14), plain(15, "behind"),
        };
        AbortedTxn[] aborted = {new AbortedTxn(2, 3, 10, 9), new AbortedTxn(1, 9, 12, 11)};
        topic("transactions", overlapping);
        topic("transactions-indexed", overlapping);
        transactionIndex("transactions-indexed", aborted);
        // An index that names too few, and one that names what is not so.
        topic("transactions-short-index", overlapping);
        transactionIndex("transactions-short-index", aborted[1]);
        topic("transactions-wrong-index", overlapping);
        transactionIndex("transactions-wrong-index", new AbortedTxn(1, 1, 8, 9), new AbortedTxn(2, 11, 13, 14));

        topic("transactions-open", plain(0, "before"), inTransaction(1, 1, "a"), commit(1, 2), inTransaction(2, 3, "-b"),
                plain(4, "-behind the open one"), inTransaction(1, 5, "-c"), commit(1, 6), inTransaction(2, 7, "-d"));
        segment("transactions-in-two-segments", 0, inTransaction(1, 0, "a"), inTransaction(2, 1, "-b"), plain(2, "c"));
        segment("transactions-in-two-segments", 3, inTransaction(1, 3, "d"), commit(1, 4), inTransaction(2, 5, "-e"),
                abort(2, 6), plain(7, "f"));
        readBack("transactions-in-two-segments", 0, 3);
        topic("transactions-compacted", emptyBatch(0, 2, 1, true), commit(1, 3), inTransaction(2, 6, "a"), commit(2, 7),
                emptyBatch(8, 9, 3, true), plain(10, "b"));
    }

    private void transactionIndex(String topic, AbortedTxn... aborted) throws Exception {
        Path path = root.resolve(topic + "-0").resolve(String.format("%020d.txnindex", 0));
        Files.deleteIfExists(path);
        try (var index = new TransactionIndex(0, path.toFile())) {
            for (AbortedTxn transaction : aborted) {
                index.append(transaction);
            }
        }
    }

    private static byte[] emptyBatch(long baseOffset, long lastOffset, long producerId, boolean transactional) {
        var buffer = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        DefaultRecordBatch.writeEmptyHeader(buffer, RecordBatch.MAGIC_VALUE_V2, producerId, EPOCH, 0, baseOffset, lastOffset,
                4, CREATE_TIME, TIME, transactional, false);
        return buffer.array();
    }

    /** As the cleaner leaves it: the records with an even offset, and nothing of the middle batch but its header. */
    private void compacted() throws IOException {
        for (int magic = 0; magic <= 2; magic++) {
            for (CompressionType codec : codecs(magic)) {
                Entry[] last = entries(20, 26);
                last[2] = entry(22, "key", null);
                byte[] log = concatenated(batch(magic, of(codec), entries(0, 10)),
                        batch(magic, of(codec), CREATE_TIME, magic == 2 ? 9 : -1, (short) (magic == 2 ? 0 : -1),
                                magic == 2 ? 0 : -1, false, entries(10, 20)),
                        batch(magic, of(codec), last));
                var filter = new RecordFilter(TIME + 1000, 5000) {
                    @Override
                    protected BatchRetentionResult checkBatchRetention(RecordBatch batch) {
                        return new BatchRetentionResult(
                                batch.magic() == 2 ? BatchRetention.RETAIN_EMPTY : BatchRetention.DELETE_EMPTY, false);
                    }

                    @Override
                    protected boolean shouldRetainRecord(RecordBatch batch, Record record) {
                        return record.offset() % 2 == 0 && (record.offset() < 10 || record.offset() >= 20);
                    }
                };
                var cleaned = ByteBuffer.allocate(1 << 16);
                MemoryRecords.readableRecords(ByteBuffer.wrap(log)).filterTo(new TopicPartition("t", 0), filter, cleaned,
                        Integer.MAX_VALUE, BufferSupplier.NO_CACHING);
                cleaned.flip();
                topic("v" + magic + "-" + codec.name + "-compacted", bytes(cleaned));
            }
        }
        topic("v2-empty-batches", emptyBatch(0, 4, 1, false), batch(2, NONE, entries(7, 9)), emptyBatch(9, 20, 2, false));
    }

    // Payloads that Kafka's producers do not make and its consumers read.

    private static byte[] messages(int magic, Entry... entries) throws IOException {
        var out = new ByteArrayOutputStream();
        for (Entry entry : entries) {
            out.writeBytes(message(magic, entry.offset, entry.timestamp, entry.key, entry.value, CompressionType.NONE));
        }
        return out.toByteArray();
    }

    private static byte[] message(int magic, long offset, long timestamp, byte[] key, byte[] value, CompressionType codec)
            throws IOException {
        var body = new ByteArrayOutputStream();
        LegacyRecord.write(new DataOutputStream(body), (byte) magic, magic == 0 ? -1 : timestamp,
                key == null ? null : ByteBuffer.wrap(key), value == null ? null : ByteBuffer.wrap(value), codec, CREATE_TIME);
        var out = new ByteArrayOutputStream();
        var data = new DataOutputStream(out);
        data.writeLong(offset);
        data.writeInt(body.size());
        body.writeTo(data);
        return out.toByteArray();
    }

    private static byte[] wrapper(int magic, long offset, CompressionType codec, byte[] payload) throws IOException {
        return message(magic, offset, TIME + 100, null, payload, codec);
    }

    /** A batch with that payload in the place of its records, by that codec. */
    private static byte[] withPayload(byte[] uncompressed, CompressionType codec, byte[] payload) {
        var buffer = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD + payload.length);
        buffer.put(uncompressed, 0, DefaultRecordBatch.RECORD_BATCH_OVERHEAD).put(payload);
        buffer.putInt(8, buffer.capacity() - 12);
        buffer.putShort(21, (short) codec.id);
        buffer.putInt(17, (int) Crc32C.compute(buffer.array(), 21, buffer.capacity() - 21));
        return buffer.array();
    }

    private interface Compressor {
        byte[] compress(byte[] bytes) throws IOException;
    }

    private static byte[] gzip(byte[] bytes) throws IOException {
        var out = new ByteArrayOutputStream();
        try (var gzip = new java.util.zip.GZIPOutputStream(out)) {
            gzip.write(bytes);
        }
        return out.toByteArray();
    }

    private static byte[] framedSnappy(byte[] bytes) throws IOException {
        var out = new ByteArrayOutputStream();
        try (var snappy = new SnappyOutputStream(out, 1024)) {
            snappy.write(bytes);
        }
        return out.toByteArray();
    }

    private static Compressor lz4(BLOCKSIZE size, Bits... bits) {
        return bytes -> {
            var out = new ByteArrayOutputStream();
            var all = new ArrayList<>(List.of(bits));
            all.add(Bits.BLOCK_INDEPENDENCE);
            long known = all.contains(Bits.CONTENT_SIZE) ? bytes.length : -1;
            try (var lz4 = new LZ4FrameOutputStream(out, size, known, all.toArray(Bits[]::new))) {
                lz4.write(bytes);
            }
            return out.toByteArray();
        };
    }

    private void oddCompression() throws IOException {
        Entry[] entries = entries(0, 30);
        odd("snappy-unframed", CompressionType.SNAPPY, Snappy::compress, entries);
        odd("snappy-blocks", CompressionType.SNAPPY, WriteSegments::framedSnappy, entries);
        odd("snappy-two-streams", CompressionType.SNAPPY, bytes -> concatenated(
                framedSnappy(Arrays.copyOf(bytes, 100)), framedSnappy(Arrays.copyOfRange(bytes, 100, bytes.length))), entries);
        odd("gzip-two-members", CompressionType.GZIP, bytes -> concatenated(
                gzip(Arrays.copyOf(bytes, 100)), gzip(Arrays.copyOfRange(bytes, 100, bytes.length))), entries);
        odd("lz4-256k-blocks", CompressionType.LZ4, lz4(BLOCKSIZE.SIZE_256KB), entries);
        odd("lz4-1m-blocks-checksums", CompressionType.LZ4, lz4(BLOCKSIZE.SIZE_1MB, Bits.BLOCK_CHECKSUM), entries);
        odd("lz4-4m-blocks-content", CompressionType.LZ4, lz4(BLOCKSIZE.SIZE_4MB, Bits.CONTENT_SIZE, Bits.CONTENT_CHECKSUM),
                entries);
        for (int level : new int[] {1, 9}) {
            topic("v2-gzip-level-" + level, batch(2, Compression.gzip().level(level).build(), entries));
        }
        for (int level : new int[] {-5, 1, 19}) {
            topic("v2-zstd-level-" + (level < 0 ? "minus-" : "") + Math.abs(level),
                    batch(2, Compression.zstd().level(level).build(), entries));
        }
        topic("v2-lz4-level-17", batch(2, Compression.lz4().level(17).build(), entries));
    }

    private void odd(String name, CompressionType codec, Compressor compressor, Entry... entries) throws IOException {
        int last = entries.length - 1;
        for (int magic = 0; magic <= 1; magic++) {
            topic("v" + magic + "-" + name, wrapper(magic, last, codec, compressor.compress(messages(magic, entries))));
        }
        byte[] plain = batch(2, NONE, entries);
        byte[] records = Arrays.copyOfRange(plain, DefaultRecordBatch.RECORD_BATCH_OVERHEAD, plain.length);
        topic("v2-" + name, withPayload(plain, codec, compressor.compress(records)));
    }

    /** A log that has been through three versions of Kafka, in one segment and in three, and once back. */
    private void mixed() throws IOException {
        var gzip = of(CompressionType.GZIP);
        byte[][] batches = {
            batch(0, NONE, entries(0, 3)), batch(0, gzip, entries(3, 6)), batch(1, gzip, entries(6, 9)),
            batch(1, NONE, entries(9, 12)), batch(2, NONE, entries(12, 15)), batch(2, gzip, entries(15, 18)),
        };
        topic("mixed", batches);
        segment("mixed-segments", 0, batches[0], batches[1]);
        segment("mixed-segments", 6, batches[2], batches[3]);
        segment("mixed-segments", 12, batches[4], batches[5]);
        readBack("mixed-segments", 0, 6, 12);
        topic("mixed-back", batch(2, NONE, entries(0, 3)), batch(1, gzip, entries(3, 6)), batch(0, NONE, entries(6, 8)),
                batch(2, gzip, entries(8, 10)));
    }

    // Random topics.

    private void random(Random random) throws IOException {
        for (int number = 0; number < 60; number++) {
            int magic = random.nextInt(3);
            var batches = new ArrayList<byte[]>();
            long offset = random.nextInt(5);
            for (int count = 1 + random.nextInt(6); count > 0; count--) {
                if (magic < 2 && random.nextInt(4) == 0) {
                    magic++;
                }
                List<CompressionType> codecs = codecs(magic);
                var entries = new ArrayList<Entry>();
                for (int records = 1 + random.nextInt(random.nextBoolean() ? 5 : 300); records > 0; records--) {
                    entries.add(randomEntry(random, offset));
                    offset += 1 + (random.nextInt(5) == 0 ? random.nextInt(100) : 0);
                }
                TimestampType type = magic > 0 && random.nextInt(3) == 0 ? LOG_APPEND_TIME : CREATE_TIME;
                Compression compression = of(codecs.get(random.nextInt(codecs.size())));
                boolean idempotent = magic == 2 && random.nextInt(3) == 0;
                batches.add(batch(magic, compression, type, idempotent ? random.nextInt(100) : -1,
                        (short) (idempotent ? 1 : -1), idempotent ? random.nextInt(1000) : -1, false,
                        entries.toArray(Entry[]::new)));
            }
            topic("random-" + number, batches.toArray(byte[][]::new));
        }
    }

    private static Entry randomEntry(Random random, long offset) {
        var headers = new Header[random.nextInt(4) == 0 ? random.nextInt(5) : 0];
        for (int at = 0; at < headers.length; at++) {
            headers[at] = new RecordHeader("h" + random.nextInt(3), randomBytes(random, 10));
        }
        long timestamp = random.nextInt(10) == 0 ? random.nextInt(1000) : TIME + random.nextInt(1_000_000);
        return new Entry(offset, timestamp, randomBytes(random, 20), randomBytes(random, random.nextInt(8) == 0 ? 5000 : 50), headers);
    }

    private static byte[] randomBytes(Random random, int sizeMax) {
        if (random.nextInt(5) == 0) {
            return null;
        }
        byte[] bytes = new byte[random.nextInt(sizeMax)];
        int kinds = random.nextBoolean() ? 256 : 4;
        for (int at = 0; at < bytes.length; at++) {
            bytes[at] = (byte) ((kinds == 4 ? 'a' : 0) + random.nextInt(kinds));
        }
        return bytes;
    }
}
