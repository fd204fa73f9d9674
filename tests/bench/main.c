/* The measurements that need a program of their own; tests/bench/run runs them and says what they mean.
 *
 *     PROC9=/proc9 build/dev/client/bench PART ROUNDS [WORD...]
 */
#include <limits.h>

#include "tests/bench/bench.h"

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

/* It lies beside this one. */
static void find_program(void) {
    const ssize_t length = readlink("/proc/self/exe", program, PATH_MAX - sizeof "nothing");
    must(length > 0, "/proc/self/exe");
    program[length] = '\0';
    strcpy(strrchr(program, '/') + 1, "nothing");
}

int main(int count, char** words) {
    const int rounds = count > 2 ? atoi(words[2]) : 0;
    find_program();
    for (size_t i = 0; i < COUNT_OF(parts); ++i) {
        if (rounds < 1 || rounds > MOST_SAMPLES || strcmp(parts[i].name, words[1]) != 0) continue;
        parts[i].run(rounds, words + 3);
        return 0;
    }
    fprintf(stderr, "usage: bench PART ROUNDS [WORD...], ROUNDS from 1 to %d\n", MOST_SAMPLES);
    return EXIT_FAILURE;
}
