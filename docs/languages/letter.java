// A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program.
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;

class Letter {
    static void tell(RandomAccessFile ctl, Path job, String lines) throws IOException {
        try {
            ctl.write(lines.getBytes());
        } catch (IOException refused) {
            System.err.print(Files.readString(job.resolve("error")));
            System.exit(1);
        }
    }

    public static void main(String[] arguments) throws IOException {
        var proc9 = Path.of(System.getenv().getOrDefault("PROC9", "/proc9"));
        var ctl = new RandomAccessFile(proc9 + "/clone", "rw"); // opening it makes the child; writing builds it
        var job = proc9.resolve(ctl.readLine());
        tell(ctl, job, "map 0x600000 4K rw- shared\n");
        var memory = new RandomAccessFile(job + "/mem/600000", "rw");
        memory.writeBytes("world\n");
        tell(ctl, job, """
            inherit cwd
            env 'GREETING=good morning'
            limit NOFILE 64
            fd 1 open letter w
            fd 2 self:2
            fd 3 mem 0x600000
            exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; \
            echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'
            """);
        var ended = Files.readString(job.resolve("wait")).split(" ", 5)[4]; // PID UTIME STIME RTIME 'STATUS'
        var letter = Files.readString(Path.of("letter"));
        System.out.printf("ended: %sletter: %smemory: %s%n", ended, letter, memory.readLine());
    }
}
