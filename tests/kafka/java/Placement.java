import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.utils.Utils;

/** Reads keys in hex, a line each, and prints the partition of N that Kafka's producer gives each. */
public final class Placement {
    public static void main(String[] args) throws Exception {
        int partitions = Integer.parseInt(args[0]);
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        var out = new StringBuilder();
        for (String line; (line = in.readLine()) != null; ) {
            byte[] key = HexFormat.of().parseHex(line);
            out.append(Utils.toPositive(Utils.murmur2(key)) % partitions).append('\n');
        }
        System.out.print(out);
    }
}
