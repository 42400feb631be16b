// Writes the golden files beside it: what HdrHistogram's own Java library makes of a few histograms.
// How to run it is in README.md.

import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.Base64;
import org.HdrHistogram.Histogram;

public class Golden {
    public static void main(String[] arguments) throws Exception {
        for (String name : new String[] {"few", "spread", "same", "empty", "long", "ties"}) {
            Histogram histogram = filled(name);
            try (PrintStream out = new PrintStream(new FileOutputStream(name + ".hgrm"))) {
                histogram.outputPercentileDistribution(out, 5, 1000000.0);
            }
            ByteBuffer buffer = ByteBuffer.allocate(histogram.getNeededByteBufferCapacity());
            int length = histogram.encodeIntoCompressedByteBuffer(buffer);
            byte[] bytes = Arrays.copyOf(buffer.array(), length);
            String text = Base64.getEncoder().encodeToString(bytes) + "\n";
            Files.write(Paths.get(name + ".b64"), text.getBytes("US-ASCII"));
        }
    }

    private static Histogram filled(String name) {
        Histogram histogram = new Histogram(1, 3600000000000L, 3);
        long chance = 12345;
        switch (name) {
            case "few":
                for (long value : new long[] {1, 2, 3, 1000000, 1000000000L}) {
                    histogram.recordValue(value);
                }
                break;
            case "spread":
                for (int index = 0; index < 20000; index++) {
                    chance = (chance * 1103515245L + 12345L) & 0x7fffffffL;
                    long pause = index % 1000 == 0 ? 900000000L : 0;
                    histogram.recordValue(100000 + chance % 5000000 + pause);
                }
                break;
            case "same":
                histogram.recordValueWithCount(1234567, 1000);
                break;
            case "long":
                histogram.recordValueWithCount(40000, 3000000);
                histogram.recordValueWithCount(3599999999999L, 7);
                break;
            case "ties":
                // values whose thousandths of a millisecond end in a half
                for (long value = 500; value < 2048; value += 1000) {
                    histogram.recordValueWithCount(value, value);
                }
                break;
            default:
                break;
        }
        return histogram;
    }
}
