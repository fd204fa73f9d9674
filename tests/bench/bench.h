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

enum { MOST_SAMPLES = 2000, WARM_UP = 3 };

/* Once, in microseconds or whatever the group is in. */
struct way {
    const char* name;
    double (*once)(void);
};

/* All of them, round by round, so that what disturbs one disturbs the others. Prints a line of JSON. */
void measure(const char* group, const struct way* ways, size_t count, int rounds);
#define MEASURE(group, ways, rounds) measure(group, ways, sizeof(ways) / sizeof *(ways), rounds)

double now_us(void);
__attribute__((noreturn)) void give_up(const char* what);
void must(int condition, const char* what);

/* `size` bytes that are there, in pages of 4 KiB. */
char* touched(size_t size);
size_t mib_of(const char* word);

/* The smallest program, and how it is started. */
extern char program[];
extern char* const program_words[];
extern char* const program_variables[];

/* From the start of a child to the end of waiting for it. */
double until_waited(pid_t (*start)(void));

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
