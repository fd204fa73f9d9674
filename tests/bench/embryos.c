/* Embryos: what it costs to make them, to furnish them, and to have many. */
#include <dirent.h>
#include <sys/stat.h>

#include "tests/bench/bench.h"

static const char twelve[] =
    "umask 22\nnice 1\nlimit NOFILE 100\nlimit CORE 0\noom 5\nsigignore HUP\n"
    "comm bench\nchdir /\nlimit CPU 100\npersonality\nsigmask USR1\nnonewprivs\n";

static double by_settings_in_one_write(void) {
    int status = -1;
    const double before = now_us();
    const pid_t child = proc9_spawn(twelve, program, program_words, program_variables);
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0, "spawn");
    return now_us() - before;
}

static double by_twelve_writes(void) {
    int status = -1;
    const double before = now_us();
    const int context = proc9_efork();
    must(context >= 0, "efork");
    const pid_t child = proc9_pid(context);
    for (const char* line = twelve; *line; line = strchr(line, '\n') + 1) {
        const int length = (int)(strchr(line, '\n') - line);
        must(proc9_tell(context, "%.*s\n", length, line) == 0, line);
    }
    must(proc9_exec(context, program, program_words, program_variables) == 0, "exec");
    close(context);
    must(waitpid(child, &status, 0) == child && status == 0, "wait");
    return now_us() - before;
}

void bench_settings(int rounds, char** words) {
    static const struct way ways[] = {{"posix_spawn", by_posix_spawn},
                                      {"none", by_proc9_spawn},
                                      {"12 in one write", by_settings_in_one_write},
                                      {"12 writes", by_twelve_writes}};
    (void)words;
    MEASURE("settings", ways, rounds);
}

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
    (void)words;
    MEASURE("efork", ways, rounds);
}

/* ---- Many ---- */

static double available_kib(void) {
    FILE* const file = fopen("/proc/meminfo", "r");
    char line[256];
    long kib = 0;
    must(file != NULL, "/proc/meminfo");
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %ld", &kib) == 1) break;
    }
    fclose(file);
    return (double)kib;
}

static double by_listing(void) {
    const double before = now_us();
    DIR* const directory = opendir(getenv("PROC9"));
    must(directory != NULL, "opendir");
    while (readdir(directory)) continue;
    closedir(directory);
    return now_us() - before;
}

static double by_stat_of_each(void) {
    struct stat found;
    DIR* const directory = opendir(getenv("PROC9"));
    must(directory != NULL, "opendir");
    int count = 0;
    const double before = now_us();
    for (struct dirent* entry; count < 1000 && (entry = readdir(directory)); ++count)
        (void)fstatat(dirfd(directory), entry->d_name, &found, 0);
    const double time = now_us() - before;
    closedir(directory);
    return time / count;
}

/* NUMBER of them, besides those there are. They go with the daemon. */
void bench_crowd(int rounds, char** words) {
    static const struct way ways[] = {{"posix_spawn", by_posix_spawn},
                                      {"proc9_spawn", by_proc9_spawn},
                                      {"readdir of all", by_listing},
                                      {"stat of one", by_stat_of_each}};
    const int number = words[0] ? atoi(words[0]) : 0;
    char group[64];
    by_proc9_spawn();
    const double before = available_kib();
    for (int i = 0; i < number; ++i) say("efork\n");
    const double taken = available_kib() - before;
    if (number >= 20)
        printf("{\"group\": \"memory %d\", \"ways\": {\"KiB of an embryo\": [%.1f]}}\n", number,
               -taken / number);
    snprintf(group, sizeof group, "crowd %d", number);
    MEASURE(group, ways, rounds);
}
