/* Memory as files: an exported region beside a plain memfd, what is copied into it, and copies of all of it. */
#include "tests/bench/bench.h"

static const uint64_t AT = 0x100000000;

static size_t size;
static int context;
static char* region;
static char* plain;

static void* map_plain(void) {
    const int memfd = memfd_create("plain", MFD_CLOEXEC);
    must(memfd >= 0 && ftruncate(memfd, (off_t)size) == 0, "memfd");
    void* const memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    must(memory != MAP_FAILED, "mmap");
    close(memfd);
    return memory;
}

static void* map_region(void) {
    void* const memory = proc9_mmap(context, AT, size, PROT_READ | PROT_WRITE);
    must(memory != MAP_FAILED, "proc9_mmap");
    return memory;
}

static void make_embryo(void) {
    context = proc9_efork();
    must(context >= 0, "efork");
}

static void unmake_region(void) { must(proc9_unmap(context, AT, size) == 0, "unmap"); }
static void make_region(void) {
    must(proc9_map(context, AT, size, PROT_READ | PROT_WRITE, PROC9_PRIVATE) == 0, "map");
}

static double store(char* memory) {
    const double before = now_us();
    memset(memory, (int)before, size);
    return (double)size / (now_us() - before); /* MB/s */
}

static double load(const char* memory) {
    const double before = now_us();
    unsigned long sum = 0;
    for (size_t i = 0; i < size; i += sizeof sum)
        sum += *(const volatile unsigned long*)(memory + i);
    return (double)size / (now_us() - before) + (double)(sum & 0);
}

static double store_plain(void) { return store(plain); }
static double store_region(void) { return store(region); }
static double load_plain(void) { return load(plain); }
static double load_region(void) { return load(region); }

static double touch_plain(void) {
    char* const fresh = map_plain();
    const double rate = store(fresh);
    munmap(fresh, size);
    return rate;
}

static double touch_region(void) {
    make_region();
    char* const fresh = map_region();
    const double rate = store(fresh);
    munmap(fresh, size);
    unmake_region();
    return rate;
}

static long requests(void) {
    char name[4096];
    char text[4096];
    snprintf(name, sizeof name, "%s/stats.json", getenv("PROC9"));
    FILE* const file = fopen(name, "r");
    must(file != NULL, name);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    const char* const found = strstr(text, "\"requests\":");
    return found ? atol(found + strlen("\"requests\":")) : 0;
}

/* Where the pages come to lie makes a difference of a quarter: so it is done at several places. */
static void at_another_place(int rounds) {
    static const struct way stores[] = {{"memfd", store_plain}, {"region", store_region}};
    static const struct way loads[] = {{"memfd", load_plain}, {"region", load_region}};
    static const struct way touches[] = {{"memfd", touch_plain}, {"region", touch_region}};
    const struct group warm[] = {GROUP("stores", stores), GROUP("loads", loads)};
    const struct group cold = GROUP("first touch", touches);
    make_embryo();
    make_region();
    region = map_region();
    plain = map_plain();
    const long own = requests();
    const long before = requests();
    measure(warm, COUNT_OF(warm), rounds);
    const long asked = requests() - before - (before - own);
    printf("{\"group\": \"requests\", \"ways\": {\"of a warm region\": [%ld]}}\n", asked);
    munmap(region, size);
    munmap(plain, size);
    unmake_region();
    measure(&cold, 1, rounds);
    proc9_kill(context, SIGKILL);
    close(context);
}

/* MiB of region, and how often. */
void bench_region(int rounds, char** words) {
    size = mib_of(words[0]);
    for (int times = atoi(words[1]); times > 0; --times) at_another_place(rounds);
}

/* ---- Copies into it ---- */

static int source;

static int nameless_file(void) {
    const int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    must(file >= 0, "/dev/shm");
    return file;
}

/* By writes of a MiB. */
static double write_to(int file) {
    static char block[1 << 20];
    size_t piece = sizeof block;
    memset(block, 1, sizeof block);
    const double before = now_us();
    for (size_t done = 0; done < size; done += piece) {
        if (piece > size - done) piece = size - done;
        must(pwrite(file, block, piece, (off_t)done) == (ssize_t)piece, "write");
    }
    return (double)size / (now_us() - before);
}

static double write_to_tmpfs(void) {
    const int file = nameless_file();
    const double rate = write_to(file);
    close(file);
    return rate;
}

static double write_to_region(void) {
    char name[64];
    make_region();
    snprintf(name, sizeof name, "mem/%lx", (unsigned long)AT);
    const int file = proc9_open(context, name, O_RDWR);
    must(file >= 0, name);
    const double rate = write_to(file);
    close(file);
    unmake_region();
    return rate;
}

/* By cp(1), from tmpfs. */
static double copy_to(char* target) {
    char from[64];
    int status = -1;
    snprintf(from, sizeof from, "/proc/%d/fd/%d", getpid(), source);
    const double before = now_us();
    const pid_t child = spawn_plainly("/bin/cp", (char*[]){"cp", from, target, NULL});
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0, "cp");
    return (double)size / (now_us() - before);
}

static double copy_to_tmpfs(void) {
    char name[64];
    const int file = nameless_file();
    snprintf(name, sizeof name, "/proc/%d/fd/%d", getpid(), file);
    const double rate = copy_to(name);
    close(file);
    return rate;
}

/* It makes the file and so the region. */
static double copy_to_region(void) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%d/mem/%lx", getenv("PROC9"), proc9_pid(context),
             (unsigned long)AT);
    const double rate = copy_to(name);
    unmake_region();
    return rate;
}

/* MIB */
void bench_copy(int rounds, char** words) {
    static const struct way writes[] = {{"tmpfs", write_to_tmpfs}, {"mem/", write_to_region}};
    static const struct way copies[] = {{"tmpfs", copy_to_tmpfs}, {"mem/", copy_to_region}};
    const struct group groups[] = {GROUP("writes of 1 MiB", writes), GROUP("cp", copies)};
    size = mib_of(words[0]);
    make_embryo();
    source = nameless_file();
    write_to(source);
    measure(groups, COUNT_OF(groups), rounds);
    proc9_kill(context, SIGKILL);
}

/* ---- Copies of all of it ---- */

static double forked(pid_t (*make)(void)) {
    const double before = now_us();
    const pid_t child = make();
    if (child == 0) _exit(0);
    must(child > 0 && waitpid(child, NULL, 0) == child, "fork");
    return now_us() - before;
}

static double by_fork(void) { return forked(fork); }
static double by_proc9_fork(void) { return forked(proc9_fork); }

/* MIB of the caller... */
void bench_fork(int rounds, char** words) {
    static const struct way ways[] = {{"fork(2)", by_fork}, {"proc9_fork", by_proc9_fork}};
    measure_sizes("fork", ways, COUNT_OF(ways), words, touch, rounds);
}

/* Until there is one: an embryo, or a child that ends at once. */
static double by_instance(void) {
    siginfo_t info;
    const double before = now_us();
    const int instance = proc9_instance(context);
    must(instance >= 0, "instance");
    const double time = now_us() - before;
    must(proc9_kill(instance, SIGKILL) == 0 && proc9_wait(instance, &info, WEXITED) == 0, "kill");
    close(instance);
    return time;
}

static double by_fork_alone(void) {
    const double before = now_us();
    const pid_t child = fork();
    if (child == 0) _exit(0);
    const double time = now_us() - before;
    must(child > 0 && waitpid(child, NULL, 0) == child, "fork");
    return time;
}

static void make_template(size_t bytes) {
    size = bytes;
    make_embryo();
    make_region();
    char* const filled = map_region();
    memset(filled, 1, size);
    munmap(filled, size);
    touch(size);
}

/* MIB that both hold... */
void bench_template(int rounds, char** words) {
    static const struct way ways[] = {{"fork(2)", by_fork_alone}, {"instance", by_instance}};
    measure_sizes("template", ways, COUNT_OF(ways), words, make_template, rounds);
}
