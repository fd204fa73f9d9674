/* Embryos: what it costs to make them, to furnish them, and to have many. */
#include <ctype.h>
#include <dirent.h>
#include <sys/stat.h>

#include "tests/bench/bench.h"

/* ---- Settings ---- */

static const char twelve[] =
    "umask 22\nnice 1\nlimit NOFILE 100\nlimit CORE 0\noom 5\nsigignore HUP\n"
    "comm bench\nchdir /\nlimit CPU 100\npersonality\nsigmask USR1\nnonewprivs\n";

static pid_t with_settings(void) {
    return proc9_spawn(twelve, program, program_words, program_variables);
}

static pid_t with_a_write_each(void) {
    const int context = proc9_efork();
    must(context >= 0, "efork");
    const pid_t child = proc9_pid(context);
    for (const char* line = twelve; *line; line = strchr(line, '\n') + 1) {
        const int length = (int)(strchr(line, '\n') - line);
        must(proc9_tell(context, "%.*s\n", length, line) == 0, line);
    }
    must(proc9_exec(context, program, program_words, program_variables) == 0, "exec");
    close(context);
    return child;
}

static pid_t with_env(void) {
    return spawn_plainly("/usr/bin/env",
                         (char*[]){"env", "-i", "A=1", "B=2", "C=3", "D=4", "E=5", "F=6", "G=7",
                                   "H=8", "I=9", "J=10", "K=11", "L=12", program, NULL});
}

static pid_t with_variables(void) {
    return proc9_spawn("env A=1\nenv B=2\nenv C=3\nenv D=4\nenv E=5\nenv F=6\n"
                       "env G=7\nenv H=8\nenv I=9\nenv J=10\nenv K=11\nenv L=12\n",
                       program, program_words, NULL);
}

static double by_settings(void) { return until_waited(with_settings); }
static double by_twelve_writes(void) { return until_waited(with_a_write_each); }
static double by_env(void) { return until_waited(with_env); }
static double by_variables(void) { return until_waited(with_variables); }

void bench_settings(int rounds, char** words) {
    static const struct way settings[] = {{"posix_spawn, none", by_posix_spawn},
                                          {"none", by_proc9_spawn},
                                          {"12 in one write", by_settings},
                                          {"12 writes", by_twelve_writes}};
    static const struct way variables[] = {{"env -i, 12 variables", by_env},
                                           {"12 variables in one write", by_variables}};
    const struct group groups[] = {GROUP("settings", settings), GROUP("variables", variables)};
    (void)words;
    measure(groups, COUNT_OF(groups), rounds);
}

/* ---- One ---- */

static int root_ctl(void) {
    static int ctl = -1;
    char name[4096];
    snprintf(name, sizeof name, "%s/ctl", getenv("PROC9"));
    if (ctl < 0) ctl = open(name, O_RDWR | O_CLOEXEC);
    must(ctl >= 0, name);
    return ctl;
}

static void say(const char* line) {
    must(write(root_ctl(), line, strlen(line)) == (ssize_t)strlen(line), line);
}

static double by_efork(void) {
    const double before = now_us();
    say("efork\n");
    const double time = now_us() - before;
    say("kill\n");
    return time;
}

static double by_vfork(void) {
    const double before = now_us();
    const pid_t child = vfork();
    if (child == 0) _exit(0);
    must(waitpid(child, NULL, 0) == child, "vfork");
    return now_us() - before;
}

void bench_efork(int rounds, char** words) {
    static const struct way ways[] = {{"vfork+_exit+wait", by_vfork}, {"efork", by_efork}};
    const struct group group = GROUP("efork", ways);
    (void)words;
    measure(&group, 1, rounds);
}

/* ---- Many ---- */

enum { CYCLES = 3, MOST_EMBRYOS = 20000 };

static int crowd[MOST_EMBRYOS];
static size_t crowd_size;

static int newest(void) {
    char answer[64] = "";
    must(pread(root_ctl(), answer, sizeof answer - 1, 0) > 0, "ctl");
    return atoi(answer);
}

static void grow(size_t number) {
    must(number <= MOST_EMBRYOS, "too many embryos");
    while (crowd_size < number) {
        say("efork\n");
        crowd[crowd_size++] = newest();
    }
}

static void disperse(void) {
    char name[4096];
    while (crowd_size > 0) {
        snprintf(name, sizeof name, "%s/%d", getenv("PROC9"), crowd[--crowd_size]);
        must(rmdir(name) == 0, name);
    }
}

/* The number of KiB behind a word at the start of a line, or -1. */
static double kib_in(const char* name, const char* key) {
    FILE* const file = fopen(name, "r");
    char line[256];
    double kib = -1;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) kib = atof(line + strlen(key));
    }
    if (file) fclose(file);
    return kib;
}

/* What processes take. Not what is left: that changes with what the kernel caches, and takes back. */
static double used_kib(void) {
    static const char* const kinds[] = {
        "AnonPages:", "Shmem:", "SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:"};
    double sum = 0;
    for (size_t i = 0; i < COUNT_OF(kinds); ++i) sum += kib_in("/proc/meminfo", kinds[i]);
    return sum;
}

/* When what others have given back has arrived there: unchanged for a fifth of a second, five seconds at most. */
static double settled_kib(void) {
    double now = used_kib();
    for (int i = 0, calm = 0; i < 50 && calm < 2; ++i) {
        const double before = now;
        usleep((useconds_t)scaled(100000, 1000));
        now = used_kib();
        calm = now - before < 512 && before - now < 512 ? calm + 1 : 0;
    }
    return now;
}

static double daemon_kib(void) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%s/smaps_rollup", getenv("DAEMON"));
    return kib_in(name, "Pss:");
}

static void grow_and_weigh(const char* level, size_t number) {
    const double daemon = daemon_kib();
    const double used = settled_kib();
    const double more = (double)(number - crowd_size);
    grow(number);
    const double all = settled_kib() - used;
    printf("{\"group\": \"memory %s\", \"ways\": {\"KiB of an embryo\": [%.1f], "
           "\"of these in the daemon\": [%.1f]}}\n",
           level, all / more, (daemon_kib() - daemon) / more);
}

typedef void visitor(DIR* directory, const char* name);
static void see_name(DIR* directory, const char* name) { (void)directory, (void)name; }
static void see_status(DIR* directory, const char* name) {
    struct stat found;
    (void)fstatat(dirfd(directory), name, &found, 0); /* it may have gone */
}

/* Microseconds for each directory of a process. */
static double walk(const char* place, visitor* visit) {
    int count = 0;
    const double before = now_us();
    DIR* const directory = opendir(place);
    must(directory != NULL, place);
    for (struct dirent* entry; (entry = readdir(directory));) {
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        visit(directory, entry->d_name);
        ++count;
    }
    closedir(directory);
    return (now_us() - before) / (count ? count : 1);
}

static double by_list_of_kernel(void) { return walk("/proc", see_name); }
static double by_list_of_proc9(void) { return walk(getenv("PROC9"), see_name); }
static double by_stat_of_kernel(void) { return walk("/proc", see_status); }
static double by_stat_of_proc9(void) { return walk(getenv("PROC9"), see_status); }

static void measure_crowd(const char* level, int rounds) {
    static const struct way spawns[] = {{"posix_spawn", by_posix_spawn},
                                        {"proc9_spawn", by_proc9_spawn}};
    static const struct way lists[] = {{"/proc", by_list_of_kernel}, {"proc9", by_list_of_proc9}};
    static const struct way stats[] = {{"/proc", by_stat_of_kernel}, {"proc9", by_stat_of_proc9}};
    struct group spawning = GROUP("", spawns);
    struct group walking[] = {GROUP("", lists), GROUP("", stats)};
    snprintf(spawning.name, sizeof spawning.name, "crowd %s", level);
    snprintf(walking[0].name, sizeof walking[0].name, "readdir %s", level);
    snprintf(walking[1].name, sizeof walking[1].name, "readdir+stat %s", level);
    measure(&spawning, 1, rounds);
    if (crowd_size > 0) measure(walking, COUNT_OF(walking), 1);
}

/* NUMBER... of them alive, growing; over and over, so that a number has the others before and after it. Memory
 * is weighed the first time: later the daemon has some that was used before. */
void bench_crowd(int rounds, char** words) {
    by_proc9_spawn();
    for (int cycle = 0; cycle < CYCLES; ++cycle) {
        for (char** level = words; *level; ++level) {
            const size_t number = scaled((size_t)atol(*level), 0);
            if (cycle == 0 && atol(*level) >= 1000)
                grow_and_weigh(*level, number);
            else
                grow(number);
            measure_crowd(*level, rounds);
        }
        disperse();
    }
}
