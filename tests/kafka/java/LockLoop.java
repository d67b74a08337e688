import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.apache.kafka.server.util.FileLock;

/**
 * Takes the lock of a log dir with Kafka's own class and gives it back, over and over, as brokers that start and stop
 * do; fails if a log grows while it has the lock. Prints how often it got the lock and how often not.
 *
 * Arguments: LOG-DIR LOG SECONDS, and `destroy` (gives it back as 3.7 and later do, which delete the file) or
 * `unlockAndClose` (as the earlier ones, which leave it).
 */
public final class LockLoop {
    public static void main(String[] args) throws Exception {
        File file = new File(args[0], ".lock");
        Path log = Path.of(args[1]);
        long end = System.nanoTime() + Long.parseLong(args[2]) * 1_000_000_000L;
        boolean deletes = args[3].equals("destroy");
        Random random = new Random();
        int got = 0;
        int refused = 0;
        while (System.nanoTime() < end) {
            FileLock lock = new FileLock(file);
            if (!lock.tryLock()) {
                lock.unlockAndClose();
                refused++;
                Thread.sleep(random.nextInt(3));
                continue;
            }
            got++;
            long before = Files.size(log);
            Thread.sleep(1 + random.nextInt(8));
            long after = Files.size(log);
            if (before != after) {
                System.err.printf("the log grew from %d to %d in round %d%n", before, after, got);
                System.exit(1);
            }
            if (deletes) {
                lock.destroy();
            } else {
                lock.unlockAndClose();
            }
            Thread.sleep(random.nextInt(10));
        }
        System.out.println(got + " " + refused);
    }
}
