#include <sys/prctl.h>
#include <sys/socket.h>

#include "tests/bench/bench.h"

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

size_t scaled(size_t amount, size_t least) {
    const char* const divisor = getenv("DIVISOR");
    const size_t less = divisor ? amount / (size_t)atol(divisor) : amount;
    return less < least ? least : less;
}

/* Whole pages. */
size_t mib_of(const char* word) {
    const size_t size = (size_t)atol(word) << 20;
    return size ? scaled(size, 4096) & ~(size_t)4095 : 0;
}

void touch(size_t size) {
    char* const memory =
        mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap");
    madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
}

double until_waited(pid_t (*start)(void)) {
    int status = -1;
    const double before = now_us();
    const pid_t child = start();
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0, "spawn");
    return now_us() - before;
}

/* ---- Helpers ---- */

static void help(int orders, void (*prepare)(size_t), size_t size) {
    double (*once)(void);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prepare(size);
    while (read(orders, &once, sizeof once) == sizeof once) {
        const double sample = once();
        must(write(orders, &sample, sizeof sample) == sizeof sample, "helper");
    }
    _exit(EXIT_SUCCESS);
}

int helper(void (*prepare)(size_t), size_t size) {
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    fflush(stdout);
    const pid_t process = fork();
    must(process >= 0, "fork");
    if (process == 0) {
        close(ends[0]);
        help(ends[1], prepare, size);
    }
    close(ends[1]);
    return ends[0];
}

static double sample_of(const struct group* group, double (*once)(void)) {
    double sum = 0;
    if (group->helper_count == 0) return once();
    for (size_t i = 0; i < group->helper_count; ++i)
        must(write(group->helpers[i], &once, sizeof once) == sizeof once, "helper");
    for (size_t i = 0; i < group->helper_count; ++i) {
        double sample = 0;
        must(read(group->helpers[i], &sample, sizeof sample) == sizeof sample, group->name);
        sum += sample;
    }
    return sum;
}

/* ---- Rounds ---- */

struct job {
    const struct group* group;
    const struct way* way;
    double samples[MOST_SAMPLES];
};

static void shuffle(struct job** order, size_t count) {
    for (size_t i = count; i > 1; --i) {
        const size_t other = (size_t)rand() % i;
        struct job* const last = order[i - 1];
        order[i - 1] = order[other];
        order[other] = last;
    }
}

static struct job* list_jobs(const struct group* groups, size_t count, size_t* job_count) {
    for (size_t i = *job_count = 0; i < count; ++i) *job_count += groups[i].count;
    struct job* const jobs = calloc(*job_count, sizeof *jobs);
    must(jobs != NULL, "calloc");
    struct job* next = jobs;
    for (size_t i = 0; i < count; ++i) {
        for (size_t way = 0; way < groups[i].count; ++way, ++next) {
            next->group = &groups[i];
            next->way = &groups[i].ways[way];
        }
    }
    return jobs;
}

/* Those of a group stand together. */
static const struct job* print_group(const struct job* job, int rounds) {
    const struct group* const group = job->group;
    printf("{\"group\": \"%s\", \"ways\": {", group->name);
    for (size_t i = 0; i < group->count; ++i, ++job) {
        printf("%s\"%s\": [", i ? ", " : "", job->way->name);
        for (int round = 0; round < rounds; ++round)
            printf("%s%.3f", round ? ", " : "", job->samples[round]);
        printf("]");
    }
    printf("}}\n");
    return job;
}

void measure(const struct group* groups, size_t count, int rounds) {
    size_t job_count = 0;
    struct job* const jobs = list_jobs(groups, count, &job_count);
    struct job** const order = calloc(job_count, sizeof *order);
    must(order != NULL, "calloc");
    for (size_t i = 0; i < job_count; ++i) order[i] = &jobs[i];
    for (int round = -WARM_UP; round < rounds; ++round) {
        shuffle(order, job_count);
        for (size_t i = 0; i < job_count; ++i) {
            const double sample = sample_of(order[i]->group, order[i]->way->once);
            if (round >= 0) order[i]->samples[round] = sample;
        }
    }
    const struct job* printed = jobs;
    for (size_t i = 0; i < count; ++i) printed = print_group(printed, rounds);
    fflush(stdout);
    free(order);
    free(jobs);
}

void measure_sizes(const char* title, const struct way* ways, size_t count, char** words,
                   void (*prepare)(size_t), int rounds) {
    struct group groups[MOST_GROUPS] = {0};
    size_t sizes = 0;
    for (; words[sizes] && sizes < MOST_GROUPS; ++sizes) {
        struct group* const group = &groups[sizes];
        snprintf(group->name, sizeof group->name, "%s %s MiB", title, words[sizes]);
        group->ways = ways;
        group->count = count;
        group->helper_count = 1;
        group->helpers[0] = helper(prepare, mib_of(words[sizes]));
    }
    measure(groups, sizes, rounds);
}
