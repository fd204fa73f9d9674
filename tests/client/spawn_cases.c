/* What a program sees of posix_spawn(3), system(3), popen(3) and vfork(2), one case a run:
 *
 *     spawn_cases NAME       does it in the current directory, which should be empty, and prints what came of it
 *     spawn_cases            the names of the cases
 *     spawn_cases -r WORD... what this process is, a line or more for each word
 *
 * Nothing here knows of proc9, and nothing is checked: with LD_PRELOAD the same must be printed as without.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SELF "/proc/self/exe"
#define SELF_OF_PARENT "exec /proc/$PPID/exe"

/* ----------------------------------------------------------------------------------------------------------
 * What a process is */

/* Without the numbers, which are others each time. */
static void print_target(int fd) {
    char link[32];
    char target[256] = "";
    char here[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, target, sizeof target - 1) < 0) return;
    target[strcspn(target, "[")] = '\0';
    const char* const name = strrchr(target, '/');
    const int is_here =
        getcwd(here, sizeof here) && name && strncmp(here, target, (size_t)(name - target)) == 0;
    printf(" %s", is_here && strncmp(target, "/dev", 4) != 0 ? name + 1 : target);
}

static void report_descriptors(void) {
    for (int fd = 0; fd < 64; ++fd) {
        const int flags = fcntl(fd, F_GETFL);
        if (flags < 0) continue;
        printf("fd %d %s%s%s", fd, (const char*[]){"r", "w", "rw", "?"}[flags & O_ACCMODE],
               flags & O_APPEND ? " append" : "", flags & O_NONBLOCK ? " nonblock" : "");
        print_target(fd);
        puts("");
    }
}

static void report_lines(const char* const* wanted) {
    char line[256];
    FILE* const status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        for (const char* const* key = wanted; *key; ++key) {
            if (strncmp(line, *key, strlen(*key)) == 0) fputs(line, stdout);
        }
    }
    if (status) fclose(status);
}

/* Without the two that the C library keeps for itself. */
static void report_signals(void) {
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number <= SIGRTMAX; ++number) {
        struct sigaction action;
        if (sigismember(&blocked, number) == 1) printf("%d is blocked\n", number);
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            printf("%d is ignored\n", number);
    }
}
static void report_ids(void) { report_lines((const char* const[]){"Uid", "Gid", "Groups", NULL}); }
static void report_umask(void) { report_lines((const char* const[]){"Umask", NULL}); }

static const char* whose(pid_t id, pid_t of_parent) {
    return id == getpid() ? "own" : id == of_parent ? "parent's" : "other";
}

static void report_groups(void) {
    printf("group %s session %s\n", whose(getpgrp(), getpgid(getppid())),
           whose(getsid(0), getsid(getppid())));
}

static void report_scheduling(void) {
    struct sched_param parameters = {0};
    sched_getparam(0, &parameters);
    printf("policy %d priority %d\n", sched_getscheduler(0), parameters.sched_priority);
}

static void report_resources(void) {
    struct rlimit files = {0, 0};
    cpu_set_t processors;
    getrlimit(RLIMIT_NOFILE, &files);
    sched_getaffinity(0, sizeof processors, &processors);
    printf("nice %d files %lu %lu processors %d\n", nice(0), (unsigned long)files.rlim_cur,
           (unsigned long)files.rlim_max, CPU_COUNT(&processors));
}

static void report_directory(void) {
    char path[4096] = "";
    puts(getcwd(path, sizeof path) ? strrchr(path, '/') : "no directory");
}

static void report_terminal(void) {
    const int terminal = open("/dev/tty", O_RDWR | O_NOCTTY);
    const char* const ground = terminal < 0                       ? "none"
                               : tcgetpgrp(terminal) == getpgrp() ? "foreground"
                                                                  : "background";
    printf("terminal %s\n", ground);
}

static int by_text(const void* left, const void* right) {
    return strcmp(*(char* const*)left, *(char* const*)right);
}

static void report_environment(void) {
    size_t count = 0;
    while (environ[count]) ++count;
    qsort(environ, count, sizeof *environ, by_text);
    for (char** variable = environ; *variable; ++variable) {
        if (strncmp(*variable, "PROC9", 5) != 0 && strncmp(*variable, "LD_PRELOAD", 10) != 0)
            puts(*variable);
    }
}

static const struct {
    const char* word;
    void (*report)(void);
} reports[] = {
    {"fds", report_descriptors}, {"signals", report_signals},     {"ids", report_ids},
    {"umask", report_umask},     {"groups", report_groups},       {"sched", report_scheduling},
    {"dir", report_directory},   {"resources", report_resources}, {"tty", report_terminal},
    {"env", report_environment},
};

static int report(char* const* words) {
    for (; *words; ++words) {
        for (size_t i = 0; i < sizeof reports / sizeof *reports; ++i) {
            if (strcmp(*words, reports[i].word) == 0) reports[i].report();
        }
    }
    return 0;
}

/* ----------------------------------------------------------------------------------------------------------
 * Spawning */

static posix_spawnattr_t attributes;
static posix_spawn_file_actions_t actions;

static void print_end(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child) printf("waitpid: %s\n", strerror(errno));
    if (WIFEXITED(status)) printf("exit %d\n", WEXITSTATUS(status));
    if (WIFSIGNALED(status)) printf("signal %d\n", WTERMSIG(status));
}

static void print_that_nothing_is_left(void) {
    const pid_t child = wait(NULL);
    printf("wait: %d %s\n", child, strerrorname_np(errno));
}

static void print_outcome(int problem, pid_t child) {
    if (!problem) {
        print_end(child);
        return;
    }
    printf("refused: %s, pid %d\n", strerrorname_np(problem), child);
    print_that_nothing_is_left();
}

static void run_words(const char* file, char* const* words, char* const* variables) {
    pid_t child = -7;
    const int problem = posix_spawn(&child, file, &actions, &attributes, words, variables);
    print_outcome(problem, child);
}

static void run_searched(const char* file, char* const* words) {
    pid_t child = -7;
    const int problem = posix_spawnp(&child, file, &actions, &attributes, words, environ);
    print_outcome(problem, child);
}

static void run_report(char* what) {
    run_words(SELF, (char*[]){"self", "-r", what, NULL}, environ);
}
static void run_shell(char* script) {
    run_words("/bin/sh", (char*[]){"sh", "-c", script, NULL}, environ);
}

/* From here on there may be something that remembers how the caller was. */
static void spawn_once(void) {
    pid_t child = -1;
    if (posix_spawn(&child, "/bin/true", NULL, NULL, (char*[]){"true", NULL}, environ) == 0)
        waitpid(child, NULL, 0);
}

static void set_flags(short flags) {
    const int problem = posix_spawnattr_setflags(&attributes, flags);
    if (problem) printf("setflags: %s\n", strerrorname_np(problem));
}

static void print_added(const char* what, int problem) {
    printf("%s: %s\n", what, strerrorname_np(problem));
}

static void write_file(const char* path, const char* text, mode_t mode) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (write(file, text, strlen(text)) < 0) perror(path);
    fchmod(file, mode);
    close(file);
}

static void open_at(const char* path, int flags, int number) {
    const int opened = open(path, flags, 0600);
    if (opened == number) return;
    dup3(opened, number, flags & O_CLOEXEC);
    close(opened);
}

static sigset_t set_of(int first, int second) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, first);
    sigaddset(&set, second);
    return set;
}

/* ----------------------------------------------------------------------------------------------------------
 * Attributes */

static void plain(void) {
    run_report("fds");
    run_report("signals");
    run_report("ids");
    run_report("groups");
    run_report("sched");
}

static void no_attributes_and_no_actions(void) {
    pid_t child = -1;
    char* const words[] = {"self", "-r", "groups", "signals", NULL};
    const int problem = posix_spawn(&child, SELF, NULL, NULL, words, environ);
    print_outcome(problem, child);
    if (posix_spawn(NULL, SELF, NULL, NULL, words, environ) != 0 || wait(NULL) <= 0)
        puts("refused");
}

static void group_new(void) {
    set_flags(POSIX_SPAWN_SETPGROUP);
    run_report("groups");
}

static void group_joined(void) {
    setpgid(0, 0);
    set_flags(POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, getpgrp());
    run_report("groups");
}

static void group_of_nobody(void) {
    set_flags(POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 1);
    run_report("groups");
    posix_spawnattr_setpgroup(&attributes, -5);
    run_report("groups");
    posix_spawnattr_setpgroup(&attributes, 0x3fffffff);
    run_report("groups");
}

static void session_new(void) {
    set_flags(POSIX_SPAWN_SETSID);
    run_report("groups");
}

static void session_and_group(void) {
    set_flags(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETPGROUP);
    run_report("groups");
    posix_spawnattr_setpgroup(&attributes, getpgrp());
    run_report("groups");
}

static void mask_of_caller(void) {
    const sigset_t blocked = set_of(SIGUSR1, SIGRTMIN + 3);
    spawn_once();
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    run_report("signals");
    run_report("signals");
}

static void mask_given(void) {
    const sigset_t blocked = set_of(SIGTERM, SIGRTMAX);
    sigset_t all;
    sigfillset(&all);
    set_flags(POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &blocked);
    run_report("signals");
    posix_spawnattr_setsigmask(&attributes, &all);
    run_report("signals");
}

static void ignore_nothing(int number) { (void)number; }

static void signals_ignored_and_handled(void) {
    spawn_once();
    signal(SIGHUP, SIG_IGN);
    signal(SIGRTMIN, SIG_IGN);
    signal(SIGUSR2, ignore_nothing);
    run_report("signals");
    signal(SIGHUP, SIG_DFL);
    run_report("signals");
}

static void signals_by_default(void) {
    const sigset_t reset = set_of(SIGHUP, SIGUSR2);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    set_flags(POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigdefault(&attributes, &reset);
    run_report("signals");
}

static void caller_keeps_its_signals(void) {
    sigset_t blocked = set_of(SIGUSR1, SIGUSR2);
    sigset_t now;
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    run_shell("exit 1");
    run_words("/nonexistent", (char*[]){"x", NULL}, environ);
    sigprocmask(SIG_SETMASK, NULL, &now);
    printf("as before: %d\n", memcmp(&now, &blocked, sizeof(long)) == 0);
}

static void try_scheduling(short flags, int policy, int priority) {
    const struct sched_param parameters = {.sched_priority = priority};
    set_flags(flags);
    posix_spawnattr_setschedpolicy(&attributes, policy);
    posix_spawnattr_setschedparam(&attributes, &parameters);
    run_report("sched");
}

static void scheduler(void) {
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_BATCH, 0);
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_IDLE, 0);
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_OTHER, 0);
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_RR, 3);
}

static void scheduler_refused(void) {
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, 77, 0);
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_OTHER, 5);
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_FIFO, 1000);
    try_scheduling(POSIX_SPAWN_SETSCHEDULER, SCHED_FIFO, -1);
}

static void scheduling_parameter_alone(void) {
    const struct sched_param none = {0};
    spawn_once();
    try_scheduling(POSIX_SPAWN_SETSCHEDPARAM, SCHED_IDLE, 0);
    try_scheduling(POSIX_SPAWN_SETSCHEDPARAM, SCHED_IDLE, 4);
    sched_setscheduler(0, SCHED_BATCH, &none);
    try_scheduling(POSIX_SPAWN_SETSCHEDPARAM, SCHED_IDLE, 0);
}

static void ids_reset(void) {
    set_flags(POSIX_SPAWN_RESETIDS);
    run_report("ids");
}

static void flag_without_effect(void) {
    set_flags(POSIX_SPAWN_USEVFORK);
    run_shell("exit 6");
    set_flags(0x4000);
}

/* ----------------------------------------------------------------------------------------------------------
 * Heritage */

static void change_settings(void) {
    const struct rlimit files = {77, 99};
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    umask(027);
    setrlimit(RLIMIT_NOFILE, &files);
    sched_setaffinity(0, sizeof one, &one);
    if (nice(3) < 0) puts("nice");
}

static void print_settings(void) {
    run_report("umask");
    run_report("resources");
    run_shell(">made; stat -c %a made");
}

static void settings(void) {
    change_settings();
    print_settings();
}

static void settings_changed_between(void) {
    spawn_once();
    change_settings();
    print_settings();
}

static void group_and_session_changed_between(void) {
    spawn_once();
    setpgid(0, 0);
    run_report("groups");
    if (fork() == 0) {
        setsid();
        spawn_once();
        run_report("groups");
        exit(0);
    }
    wait(NULL);
}

static void directory_of_caller(void) {
    spawn_once();
    mkdir("inner", 0700);
    if (chdir("inner") < 0) perror("chdir");
    run_report("dir");
}

static void descriptors_of_caller(void) {
    spawn_once();
    write_file("text", "one two", 0600);
    open_at("text", O_RDONLY, 40);
    open_at("text", O_RDWR | O_APPEND | O_NONBLOCK, 41);
    open_at("text", O_RDWR | O_CLOEXEC, 42);
    run_report("fds");
    run_shell("head -c 4 <&40 >&2; cat <&40 >/dev/null");
    printf("offset %ld\n", (long)lseek(40, 0, SEEK_CUR));
}

static void environment_given(void) {
    char* const variables[] = {
        "B=2", "A=1 \"x\" 'y' \\ $z", "EMPTY=", "LINES=a\nb\tc", "\xc3\xa4=\xff\x01", NULL};
    run_words(SELF, (char*[]){"self", "-r", "env", NULL}, variables);
    run_words(SELF, (char*[]){"self", "-r", "env", NULL}, (char*[]){NULL});
}

static void arguments(void) {
    char* const words[] = {"any name",
                           "-c",
                           "for i; do printf '<%s>' \"$i\"; done",
                           "sh",
                           "",
                           "a b",
                           "\"'\\$`",
                           "\n\t\x01\x7f",
                           "\xc3\xa4\xff",
                           "#",
                           "{",
                           NULL};
    run_words("/bin/sh", words, environ);
    puts("");
    run_words("/bin/sh", (char*[]){"", "-c", "echo \"<$0>\"", NULL}, environ);
}

static void long_argument(void) {
    char* const text = malloc(120000);
    memset(text, 'x', 119999);
    text[119999] = '\0';
    run_words("/bin/sh", (char*[]){"sh", "-c", "echo ${#1}", "sh", text, NULL}, environ);
}

/* ----------------------------------------------------------------------------------------------------------
 * Actions */

static void add_open(int fd, const char* path, int flags, mode_t mode) {
    const int problem = posix_spawn_file_actions_addopen(&actions, fd, path, flags, mode);
    if (problem) print_added("addopen", problem);
}
static void add_close(int fd) {
    const int problem = posix_spawn_file_actions_addclose(&actions, fd);
    if (problem) print_added("addclose", problem);
}
static void add_dup2(int from, int to) {
    const int problem = posix_spawn_file_actions_adddup2(&actions, from, to);
    if (problem) print_added("adddup2", problem);
}
static void add_chdir(const char* path) {
    const int problem = posix_spawn_file_actions_addchdir_np(&actions, path);
    if (problem) print_added("addchdir", problem);
}
static void add_fchdir(int fd) {
    const int problem = posix_spawn_file_actions_addfchdir_np(&actions, fd);
    if (problem) print_added("addfchdir", problem);
}
static void add_closefrom(int fd) {
    const int problem = posix_spawn_file_actions_addclosefrom_np(&actions, fd);
    if (problem) print_added("addclosefrom", problem);
}
static void add_tcsetpgrp(int fd) {
    const int problem = posix_spawn_file_actions_addtcsetpgrp_np(&actions, fd);
    if (problem) print_added("addtcsetpgrp", problem);
}

static void forget_actions(void) {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawn_file_actions_init(&actions);
}

static void numbers_that_cannot_be(void) {
    for (int i = 0; i < 2; ++i) {
        const int fd = i == 0 ? -1 : (int)sysconf(_SC_OPEN_MAX);
        add_open(fd, "/dev/null", O_RDONLY, 0);
        add_close(fd);
        add_dup2(fd, 1);
        add_dup2(1, fd);
        add_fchdir(fd);
        add_closefrom(fd);
        add_tcsetpgrp(fd);
    }
    run_shell("exit 2");
}

/* Of every kind, on a file that is there and on one that is not; and what is in the file then. */
static void try_open(int flags) {
    write_file("there", "old text", 0600);
    const char* const names[] = {"there", "new"};
    for (size_t i = 0; i < 2; ++i) {
        printf("-- %x %s\n", (unsigned)flags, names[i]);
        add_open(30, names[i], flags, 0640);
        run_shell("echo more >&30; head -c 4 <&30; echo");
        run_report("fds");
        run_shell("stat -c '%a %s' there new");
        forget_actions();
        unlink("new");
    }
}

static void opened(void) {
    if (freopen("/dev/null", "w", stderr)) umask(022);
    try_open(O_RDONLY);
    try_open(O_WRONLY);
    try_open(O_RDWR);
    try_open(O_WRONLY | O_APPEND);
    try_open(O_RDWR | O_NONBLOCK);
    try_open(O_WRONLY | O_CREAT | O_TRUNC);
    try_open(O_RDWR | O_CREAT | O_TRUNC);
    try_open(O_WRONLY | O_CREAT | O_APPEND);
    try_open(O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK);
    try_open(O_WRONLY | O_CREAT | O_EXCL);
    try_open(O_RDWR | O_CREAT | O_EXCL | O_TRUNC);
}

static void opened_in_rarer_ways(void) {
    if (freopen("/dev/null", "w", stderr)) umask(022);
    try_open(O_WRONLY | O_CREAT);
    try_open(O_RDWR | O_CREAT);
    try_open(O_RDONLY | O_CREAT);
    try_open(O_WRONLY | O_TRUNC);
    try_open(O_WRONLY | O_SYNC);
    try_open(O_RDONLY | O_DIRECTORY);
    try_open(O_PATH);
}

static void opened_through_links(void) {
    if (symlink("/dev/null", "link") < 0) perror("symlink");
    add_open(30, "link", O_RDWR | O_NOFOLLOW, 0);
    run_report("fds");
    forget_actions();
    add_open(30, "link", O_RDWR, 0);
    run_report("fds");
}

static void open_refused(void) {
    add_open(30, "made", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    add_open(31, "missing", O_RDONLY, 0);
    add_open(32, "never", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    run_report("fds");
    printf("made %d never %d\n", access("made", F_OK), access("never", F_OK));
    forget_actions();
    add_open(30, "", O_RDONLY, 0);
    run_report("fds");
    forget_actions();
    add_open(30, "made/below", O_RDONLY, 0);
    run_report("fds");
}

static void open_closes_first(void) {
    open_at("/dev/null", O_RDONLY, 30);
    add_open(30, "/dev/fd/30", O_RDONLY, 0);
    run_report("fds");
    forget_actions();
    add_open(31, "/dev/fd/30", O_RDONLY, 0);
    run_report("fds");
}

static void open_with_close_on_exec(void) {
    add_open(0, "/dev/zero", O_RDONLY | O_CLOEXEC, 0);
    run_report("fds");
    forget_actions();
    add_open(30, "/dev/zero", O_RDONLY | O_CLOEXEC, 0);
    run_report("fds");
}

static void close_of_every_kind(void) {
    open_at("/dev/null", O_RDONLY, 30);
    open_at("/dev/null", O_RDONLY | O_CLOEXEC, 31);
    add_close(30);
    add_close(30);
    add_close(31);
    add_close(50);
    run_report("fds");
    add_dup2(30, 33);
    run_report("fds");
}

static void close_beyond_the_limit(void) {
    const struct rlimit few = {40, 40};
    add_close(45);
    setrlimit(RLIMIT_NOFILE, &few);
    run_report("fds");
}

static void duplicates(void) {
    open_at("/dev/null", O_RDONLY, 30);
    open_at("/dev/zero", O_RDONLY | O_CLOEXEC, 31);
    add_dup2(30, 33);
    add_dup2(31, 34);
    add_dup2(34, 35);
    add_dup2(31, 30);
    run_report("fds");
}

static void duplicate_of_itself(void) {
    open_at("/dev/zero", O_RDONLY | O_CLOEXEC, 30);
    add_dup2(30, 30);
    add_dup2(1, 1);
    run_report("fds");
    add_dup2(50, 50);
    run_report("fds");
}

static void duplicate_of_nothing(void) {
    add_dup2(50, 30);
    run_report("fds");
}

static void duplicate_beyond_the_limit(void) {
    const struct rlimit few = {40, 40};
    add_dup2(1, 45);
    setrlimit(RLIMIT_NOFILE, &few);
    run_report("fds");
}

static void output_and_errors_exchanged(void) {
    open_at("/dev/null", O_WRONLY, 2);
    add_dup2(1, 30);
    add_dup2(2, 1);
    add_dup2(30, 2);
    add_close(30);
    run_shell("echo heard >&2; echo unheard");
}

static void directories(void) {
    mkdir("inner", 0700);
    mkdir("inner/deep", 0700);
    write_file("inner/text", "in the inner one\n", 0600);
    add_chdir("inner");
    add_open(0, "text", O_RDONLY, 0);
    add_chdir("deep");
    add_open(30, "made", O_RDWR | O_CREAT, 0600);
    run_shell("cat; pwd -P | grep -c inner/deep; ls");
    run_words("../../inner/text", (char*[]){"x", NULL}, environ);
    add_chdir("nowhere");
    run_report("dir");
    add_chdir("");
    run_report("dir");
}

static void directories_of_descriptors(void) {
    mkdir("inner", 0700);
    open_at("inner", O_RDONLY | O_CLOEXEC, 30);
    open_at("inner", O_PATH, 31);
    add_fchdir(30);
    run_report("dir");
    run_report("fds");
    add_fchdir(31);
    run_report("dir");
    add_fchdir(1);
    run_report("dir");
    forget_actions();
    add_fchdir(50);
    run_report("dir");
}

static void directory_opened_before(void) {
    mkdir("inner", 0700);
    add_open(30, "inner", O_RDONLY, 0);
    add_fchdir(30);
    run_report("dir");
}

static void closed_from(void) {
    open_at("/dev/null", O_RDONLY, 30);
    open_at("/dev/null", O_RDONLY | O_CLOEXEC, 31);
    open_at("/dev/null", O_RDONLY, 50);
    add_open(33, "/dev/zero", O_RDONLY, 0);
    add_closefrom(31);
    add_dup2(30, 34);
    run_report("fds");
    add_closefrom(0);
    add_open(1, "said", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    run_report("fds");
    forget_actions();
    run_shell("cat said");
    add_closefrom(20);
    add_dup2(50, 3);
    run_report("fds");
}

static void many_actions(void) {
    for (int fd = 20; fd < 60; ++fd) add_open(fd, "/dev/null", O_RDONLY, 0);
    for (int fd = 20; fd < 50; ++fd) add_close(fd);
    run_report("fds");
}

static void actions_are_used_twice(void) {
    add_open(30, "/dev/null", O_RDONLY, 0);
    run_report("fds");
    run_report("fds");
}

/* ----------------------------------------------------------------------------------------------------------
 * Terminals. The caller leads a session of its own, on a new terminal that is its descriptor 30. */

static void with_terminal(void (*work)(void)) {
    int outer;
    int inner;
    if (openpty(&outer, &inner, NULL, NULL, NULL) < 0) perror("openpty");
    const pid_t child = fork();
    if (child == 0) {
        setsid();
        const int terminal = open(ttyname(inner), O_RDWR);
        dup2(terminal, 30);
        close(terminal);
        close(outer);
        close(inner);
        work();
        exit(0);
    }
    close(inner);
    print_end(child);
    close(outer);
}

static void spawn_in_foreground(void) {
    char own[8] = "tty";
    run_report(own);
    set_flags(POSIX_SPAWN_SETPGROUP);
    run_report(own);
    add_tcsetpgrp(30);
    run_report(own);
    printf("the foreground is still another's: %d\n", tcgetpgrp(30) != getpgrp());
}
static void foreground(void) { with_terminal(spawn_in_foreground); }

static void spawn_in_foreground_of_new_session(void) {
    add_tcsetpgrp(30);
    set_flags(POSIX_SPAWN_SETSID);
    run_report("tty");
}
static void foreground_of_no_terminal(void) {
    with_terminal(spawn_in_foreground_of_new_session);
    add_tcsetpgrp(0);
    run_report("tty");
    forget_actions();
    add_tcsetpgrp(50);
    run_report("tty");
}

/* What open(2) does for the leader of a session without a terminal. */
static void terminal_taken(void) {
    int outer;
    int inner;
    if (openpty(&outer, &inner, NULL, NULL, NULL) < 0) perror("openpty");
    fcntl(outer, F_SETFD, FD_CLOEXEC);
    fcntl(inner, F_SETFD, FD_CLOEXEC);
    set_flags(POSIX_SPAWN_SETSID);
    add_open(30, ttyname(inner), O_RDWR, 0);
    run_report("tty");
    add_tcsetpgrp(30);
    run_report("tty");
    forget_actions();
    add_open(30, ttyname(inner), O_RDWR | O_NOCTTY, 0);
    run_report("tty");
    add_tcsetpgrp(30);
    run_report("tty");
}

/* ----------------------------------------------------------------------------------------------------------
 * Programs */

static void programs_that_cannot_run(void) {
    write_file("text", "echo ran as $0\n", 0600);
    write_file("unmarked", "echo ran as $0\n", 0700);
    write_file("other", "#!/nonexistent/shell\n", 0700);
    char* const words[] = {"x", NULL};
    const char* const paths[] = {"/nonexistent", "./text", "./unmarked", "./other",
                                 "text/below",   ".",      "",           "./fd:3"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; ++i) run_words(paths[i], words, environ);
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    run_words(name, words, environ);
}

static void program_that_is_written_to(void) {
    run_shell("cp /bin/true written");
    open_at("written", O_WRONLY | O_CLOEXEC, 30);
    run_words("./written", (char*[]){"x", NULL}, environ);
}

static void too_many_bytes(void) {
    char* const text = malloc(200000);
    memset(text, 'x', 199999);
    text[199999] = '\0';
    run_words("/bin/echo", (char*[]){"echo", text, NULL}, environ);
    printf("system %d\n", system(text));
}

static void script(void) {
    write_file("script", "#!/bin/sh\necho \"$0\" \"$@\"\n", 0700);
    run_words("./script", (char*[]){"other", "a", NULL}, environ);
}

static void program_of_a_descriptor(void) {
    open_at("/bin/echo", O_RDONLY | O_CLOEXEC, 30);
    run_words("/proc/self/fd/30", (char*[]){"echo", "by its number", NULL}, environ);
    run_words("/dev/fd/31", (char*[]){"echo", "by its number", NULL}, environ);
}

static void failure_after_the_actions(void) {
    add_open(30, "made", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    run_words("/nonexistent", (char*[]){"x", NULL}, environ);
    printf("made %d\n", access("made", F_OK));
    run_searched("nonexistent", (char*[]){"x", NULL});
}

static void search(void) {
    mkdir("first", 0700);
    mkdir("second", 0700);
    write_file("first/tool", "#!/bin/sh\necho first \"$0\"\n", 0600);
    write_file("second/tool", "#!/bin/sh\necho second \"$0\"\n", 0700);
    write_file("second/unmarked", "echo ran\n", 0700);
    char here[4000];
    char path[9000];
    char* const words[] = {"x", NULL};
    if (!getcwd(here, sizeof here)) perror("getcwd");
    const char* const names[] = {"tool", "unmarked", "missing", "second/tool", "", "true"};
    const char* const patterns[] = {"/nonexistent:%s/first:%s/second", "%s/first:%s",
                                    "first:second", "first"};
    for (size_t i = 0; i < 4; ++i) {
        snprintf(path, sizeof path, patterns[i], here, here);
        setenv("PATH", path, 1);
        for (size_t k = 0; k < sizeof names / sizeof *names; ++k) {
            printf("-- %zu %s\n", i, names[k]);
            fflush(stdout);
            run_searched(names[k], words);
        }
    }
    unsetenv("PATH");
    run_searched("true", words);
    setenv("PATH", "", 1);
    run_searched("true", words);
}

static void search_in_the_callers_path(void) {
    char* const words[] = {"sh", "-c", "exit 8", NULL};
    char* const other[] = {"PATH=/bin", NULL};
    char* const wrong[] = {"PATH=/nonexistent", NULL};
    pid_t child = -7;
    setenv("PATH", "/nonexistent", 1);
    int problem = posix_spawnp(&child, "sh", NULL, NULL, words, other);
    print_outcome(problem, child);
    setenv("PATH", "/bin", 1);
    problem = posix_spawnp(&child, "sh", NULL, NULL, words, wrong);
    print_outcome(problem, child);
}

static void* spawn_many(void* unused) {
    for (int i = 0; i < 10; ++i) {
        pid_t child = -1;
        int status = -1;
        char* const words[] = {"sh", "-c", "exit 9", NULL};
        const int problem = posix_spawnp(&child, "sh", &actions, NULL, words, environ);
        if (problem) printf("refused: %s\n", strerrorname_np(problem));
        if (waitpid(child, &status, 0) != child || status != 9 << 8)
            printf("ended with %x\n", (unsigned)status);
        status = system("exit 3");
        if (status != 3 << 8) printf("system ended with %x\n", (unsigned)status);
        FILE* const command = popen("exit 4", "r");
        status = command ? pclose(command) : -1;
        if (status != 4 << 8) printf("popen ended with %x\n", (unsigned)status);
    }
    return unused;
}

static void from_many_threads(void) {
    pthread_t threads[6];
    add_open(30, "/dev/null", O_RDONLY, 0);
    for (size_t i = 0; i < 6; ++i) pthread_create(&threads[i], NULL, spawn_many, NULL);
    for (size_t i = 0; i < 6; ++i) pthread_join(threads[i], NULL);
    print_that_nothing_is_left();
}

/* On one processor a child has mostly ended before its parent goes on. */
static void on_one_processor(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void print_how_often_it_ran(void) {
    FILE* const ran = fopen("ran", "r");
    int count = 0;
    for (int c; ran && (c = fgetc(ran)) != EOF;) count += c == '\n';
    if (ran) fclose(ran);
    printf("ran %d times\n", count);
}

enum { OFTEN = 100 };

static void run_often(void) {
    char* const words[] = {"sh", "-c", "echo >> ran", NULL};
    for (int i = 0; i < OFTEN; ++i) {
        pid_t child = -1;
        const int problem = posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ);
        if (problem) printf("refused: %s\n", strerrorname_np(problem));
    }
}

static void children_that_nobody_waits_for(void) {
    on_one_processor();
    signal(SIGCHLD, SIG_IGN);
    run_often();
    print_that_nothing_is_left(); /* when all have ended */
    print_how_often_it_ran();
}

static void* reap(void* unused) {
    for (int count = 0; count < OFTEN;) count += waitpid(-1, NULL, 0) > 0;
    return unused;
}

static void children_that_another_thread_reaps(void) {
    pthread_t reaper;
    on_one_processor();
    pthread_create(&reaper, NULL, reap, NULL);
    run_often();
    pthread_join(reaper, NULL);
    print_that_nothing_is_left();
    print_how_often_it_ran();
}

static void with_no_descriptor_left(void) {
    spawn_once();
    while (fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) >= 0) continue;
    run_shell("exit 7");
    close_range(3, ~0U, 0);
    run_shell("exit 8");
}

static void* spawn_alone(void* unused) {
    usleep(50000); /* until the first thread has ended */
    run_shell("exit 5");
    const pid_t child = fork();
    if (child == 0) _exit(6);
    print_end(child);
    exit(unused != NULL);
}

static void when_the_first_thread_has_ended(void) {
    pthread_t other;
    pthread_create(&other, NULL, spawn_alone, NULL);
    pthread_exit(NULL);
}

/* ----------------------------------------------------------------------------------------------------------
 * system, popen, vfork */

static void print_status(int status) {
    if (status == -1) {
        printf("-1 %s\n", strerrorname_np(errno));
    } else {
        printf("status %x\n", (unsigned)status);
    }
    fflush(stdout);
}

static void system_ends(void) {
    print_status(system("exit 3"));
    print_status(system("kill -9 $$"));
    print_status(system("/nonexistent 2>/dev/null"));
    print_status(system(""));
    printf("shell %d\n", system(NULL));
    signal(SIGCHLD, SIG_IGN);
    print_status(system("exit 3"));
}

static void print_handler(int number, const char* when) {
    struct sigaction action;
    sigaction(number, NULL, &action);
    printf("%s: %s\n", when,
           action.sa_handler == SIG_IGN ? "ignored"
           : action.sa_handler          ? "handled"
                                        : "default");
}

static void signals_of_system(void) {
    const char* const show = SELF_OF_PARENT " -r signals";
    const sigset_t blocked = set_of(SIGUSR1, SIGUSR2);
    print_status(system(show));
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    signal(SIGINT, ignore_nothing);
    signal(SIGQUIT, SIG_IGN);
    print_status(system(show));
    print_handler(SIGINT, "after");
    print_handler(SIGQUIT, "after");
    print_status(system("kill -INT $PPID; kill -QUIT $PPID"));
    print_status(system("kill -INT $$; exit 1"));
}

static volatile sig_atomic_t ended;
static void on_child(int number) {
    (void)number;
    ++ended;
}

static void system_reaps_its_own_alone(void) {
    pid_t child = -1;
    signal(SIGCHLD, on_child);
    if (posix_spawn(&child, "/bin/true", NULL, NULL, (char*[]){"true", NULL}, environ) != 0)
        puts("refused");
    print_status(system("sleep 0.1"));
    print_end(child);
    printf("told of an end: %d\n", ended > 0);
}

static void* run_system(void* unused) {
    system("echo $$ >shell; exec sleep 30");
    return unused;
}

static void system_is_cancelled(void) {
    pthread_t thread;
    void* outcome = NULL;
    struct stat about;
    pthread_create(&thread, NULL, run_system, NULL);
    while (stat("shell", &about) < 0 || about.st_size == 0) usleep(1000);
    pthread_cancel(thread);
    pthread_join(thread, &outcome);
    printf("cancelled %d\n", outcome == PTHREAD_CANCELED);
    print_handler(SIGINT, "after");
    print_that_nothing_is_left();
}

static void popen_both_ways(void) {
    char line[64] = "";
    FILE* const from = popen("echo a line; exit 5", "r");
    fputs(fgets(line, sizeof line, from) ? line : "nothing", stdout);
    printf("close on exec %d\n", fcntl(fileno(from), F_GETFD));
    print_status(pclose(from));
    FILE* const to = popen("cat; exit 6", "we");
    fputs("through cat\n", to);
    printf("close on exec %d\n", fcntl(fileno(to), F_GETFD));
    fflush(stdout);
    print_status(pclose(to));
}

static void popen_refused(void) {
    const char* const modes[] = {"", "rw", "x", "e", "r+", "rr"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; ++i) {
        errno = 0;
        FILE* const stream = popen("exit 1", modes[i]);
        printf("%s: %s\n", modes[i], stream ? "a stream" : strerrorname_np(errno));
        if (stream) print_status(pclose(stream));
    }
}

static void popen_closes_the_others(void) {
    FILE* const first = popen("cat", "w");
    FILE* const second = popen("cat", "we");
    dup2(fileno(first), 40);
    FILE* const third = popen("for i in /proc/self/fd/*; do readlink $i; done | grep -c pipe", "w");
    print_status(pclose(third));
    close(40);
    print_status(pclose(first));
    print_status(pclose(second));
}

static void popen_without_standard_descriptors(void) {
    fflush(stdout);
    const int out = dup(1);
    close(0);
    close(1);
    FILE* const from = popen("echo heard", "r");
    char line[64] = "";
    char* const got = fgets(line, sizeof line, from);
    const int status = pclose(from);
    dup2(out, 1);
    printf("%s", got ? got : "nothing\n");
    print_status(status);
}

static void popen_ends_by_fclose(void) {
    FILE* const to = popen("sleep 0.1; echo done", "w");
    fflush(stdout);
    int (*volatile close_stream)(FILE*) =
        fclose; /* the compiler would say that it should be pclose */
    printf("fclose %x\n", (unsigned)close_stream(to));
    print_that_nothing_is_left();
}

static void vfork_and_exec(void) {
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 7", (char*)NULL);
        _exit(1);
    }
    print_end(child);
    child = vfork();
    if (child == 0) _exit(8);
    print_end(child);
}

/* ---------------------------------------------------------------------------------------------------------- */

#define SHOW(name) {#name, name}
static const struct {
    const char* name;
    void (*run)(void);
} cases[] = {
    SHOW(plain),
    SHOW(no_attributes_and_no_actions),
    SHOW(group_new),
    SHOW(group_joined),
    SHOW(group_of_nobody),
    SHOW(session_new),
    SHOW(session_and_group),
    SHOW(mask_of_caller),
    SHOW(mask_given),
    SHOW(signals_ignored_and_handled),
    SHOW(signals_by_default),
    SHOW(caller_keeps_its_signals),
    SHOW(scheduler),
    SHOW(scheduler_refused),
    SHOW(scheduling_parameter_alone),
    SHOW(ids_reset),
    SHOW(flag_without_effect),
    SHOW(settings),
    SHOW(settings_changed_between),
    SHOW(group_and_session_changed_between),
    SHOW(directory_of_caller),
    SHOW(descriptors_of_caller),
    SHOW(environment_given),
    SHOW(arguments),
    SHOW(long_argument),
    SHOW(numbers_that_cannot_be),
    SHOW(opened),
    SHOW(opened_in_rarer_ways),
    SHOW(opened_through_links),
    SHOW(open_refused),
    SHOW(open_closes_first),
    SHOW(open_with_close_on_exec),
    SHOW(close_of_every_kind),
    SHOW(close_beyond_the_limit),
    SHOW(duplicates),
    SHOW(duplicate_of_itself),
    SHOW(duplicate_of_nothing),
    SHOW(duplicate_beyond_the_limit),
    SHOW(output_and_errors_exchanged),
    SHOW(directories),
    SHOW(directories_of_descriptors),
    SHOW(directory_opened_before),
    SHOW(closed_from),
    SHOW(many_actions),
    SHOW(actions_are_used_twice),
    SHOW(foreground),
    SHOW(foreground_of_no_terminal),
    SHOW(terminal_taken),
    SHOW(programs_that_cannot_run),
    SHOW(program_that_is_written_to),
    SHOW(too_many_bytes),
    SHOW(script),
    SHOW(program_of_a_descriptor),
    SHOW(failure_after_the_actions),
    SHOW(search),
    SHOW(search_in_the_callers_path),
    SHOW(from_many_threads),
    SHOW(children_that_nobody_waits_for),
    SHOW(children_that_another_thread_reaps),
    SHOW(with_no_descriptor_left),
    SHOW(when_the_first_thread_has_ended),
    SHOW(system_ends),
    SHOW(signals_of_system),
    SHOW(system_reaps_its_own_alone),
    SHOW(system_is_cancelled),
    SHOW(popen_both_ways),
    SHOW(popen_refused),
    SHOW(popen_closes_the_others),
    SHOW(popen_without_standard_descriptors),
    SHOW(popen_ends_by_fclose),
    SHOW(vfork_and_exec),
};

int main(int count, char** words) {
    if (count > 2 && strcmp(words[1], "-r") == 0) return report(words + 2);
    setvbuf(stdout, NULL, _IONBF, 0);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        if (count < 2) puts(cases[i].name);
        if (count == 2 && strcmp(words[1], cases[i].name) == 0) cases[i].run();
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return 0;
}
