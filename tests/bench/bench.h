/* What the parts of the benchmark share: times, ways that are measured in turns, and the samples as JSON. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/proc9.h"

enum { MOST_SAMPLES = 2000, MOST_GROUPS = 8, MOST_HELPERS = 8, WARM_UP = 3 };
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Once, in microseconds or whatever the group is in. */
struct way {
    const char* name;
    double (*once)(void);
};

/* Ways whose figures are compared; the first is the peer. They are done here or, if there are any, by
 * all the helpers at once: what these answer is added up. */
struct group {
    char name[64];
    const struct way* ways;
    size_t count;
    size_t helper_count;
    int helpers[MOST_HELPERS];
};
#define GROUP(title, table) {.name = title, .ways = table, .count = COUNT_OF(table)}

/* All ways of all groups, round by round and each round in another order, so that what disturbs one
 * disturbs the others, and none has always the same one before it. Prints a line of JSON a group. */
void measure(const struct group* groups, size_t count, int rounds);

/* A process of its own that measures, after prepare(size) there: what a group holds of it. */
int helper(void (*prepare)(size_t size), size_t size);

/* A group "TITLE WORD MiB" for each word, done by a helper that is prepared with as much. */
void measure_sizes(const char* title, const struct way* ways, size_t count, char** words,
                   void (*prepare)(size_t size), int rounds);

double now_us(void);
__attribute__((noreturn)) void give_up(const char* what);
void must(int condition, const char* what);

/* `amount`, or as much less as a quick run wants ($DIVISOR), but never less than `least`. */
size_t scaled(size_t amount, size_t least);
size_t mib_of(const char* word);

/* `size` bytes that are there, in pages of 4 KiB. */
void touch(size_t size);

/* The smallest program, and how it is started. */
extern char program[];
extern char* const program_words[];
extern char* const program_variables[];

/* From the start of a child to the end of waiting for it. */
double until_waited(pid_t (*start)(void));

/* The C library's, not what may have been loaded before it. The pid, or -1. */
pid_t spawn_plainly(const char* path, char* const words[]);

/* Each part: rounds, and what else it was told. */
void bench_spawn(int rounds, char** words);
void bench_settings(int rounds, char** words);
void bench_efork(int rounds, char** words);
void bench_throughput(int rounds, char** words);
void bench_crowd(int rounds, char** words);
void bench_region(int rounds, char** words);
void bench_copy(int rounds, char** words);
void bench_fork(int rounds, char** words);
void bench_template(int rounds, char** words);

/* Ways of more than one part. */
double by_posix_spawn(void);
double by_proc9_spawn(void);
