/* The measurements that need a program of their own; tests/bench/run runs them and says what they mean.
 *
 *     PROC9=/proc9 build/dev/client/bench PART ROUNDS [WORD...]
 */
#include "tests/bench/bench.h"

#include <limits.h>

char program[PATH_MAX];
char* const program_words[] = {"nothing", NULL};
char* const program_variables[] = {"A=1", NULL};

static const struct part {
    const char* name;
    void (*run)(int rounds, char** words);
} parts[] = {{"spawn", bench_spawn},      {"settings", bench_settings},
             {"efork", bench_efork},      {"throughput", bench_throughput},
             {"crowd", bench_crowd},      {"region", bench_region},
             {"copy", bench_copy},        {"fork", bench_fork},
             {"template", bench_template}};

double now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

void give_up(const char* what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

void must(int condition, const char* what) {
    if (!condition) give_up(what);
}

char* touched(size_t size) {
    char* const memory =
        mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap");
    madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
    return memory;
}

size_t mib_of(const char* word) { return word ? (size_t)atol(word) << 20 : 0; }

double until_waited(pid_t (*start)(void)) {
    int status = -1;
    const double before = now_us();
    const pid_t child = start();
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0, "spawn");
    return now_us() - before;
}

void measure(const char* group, const struct way* ways, size_t count, int rounds) {
    double* const samples = calloc(count * MOST_SAMPLES, sizeof *samples);
    must(samples != NULL, "calloc");
    for (int round = -WARM_UP; round < rounds; ++round) {
        for (size_t i = 0; i < count; ++i) {
            const double sample = ways[i].once();
            if (round >= 0) samples[i * MOST_SAMPLES + (size_t)round] = sample;
        }
    }
    printf("{\"group\": \"%s\", \"ways\": {", group);
    for (size_t i = 0; i < count; ++i) {
        printf("%s\"%s\": [", i ? ", " : "", ways[i].name);
        for (int round = 0; round < rounds; ++round)
            printf("%s%.3f", round ? ", " : "", samples[i * MOST_SAMPLES + (size_t)round]);
        printf("]");
    }
    printf("}}\n");
    fflush(stdout);
    free(samples);
}

int main(int count, char** words) {
    const int rounds = count > 2 ? atoi(words[2]) : 0;
    const ssize_t length = readlink("/proc/self/exe", program, PATH_MAX - sizeof "nothing");
    must(length > 0, "/proc/self/exe");
    program[length] = '\0';
    strcpy(strrchr(program, '/') + 1, "nothing");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
        if (rounds < 1 || rounds > MOST_SAMPLES || strcmp(parts[i].name, words[1]) != 0) continue;
        parts[i].run(rounds, words + 3);
        return 0;
    }
    fprintf(stderr, "usage: bench PART ROUNDS [WORD...], ROUNDS from 1 to %d\n", MOST_SAMPLES);
    return EXIT_FAILURE;
}
