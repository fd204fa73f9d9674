/* The verbs between proc9_efork() and the start, one case a run, as fork_cases.c. What they have done is asked of
 * the kernel, or of the program that was started. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "client/proc9.h"
#include "tests/client/check.h"

enum { PAGE = 4096 };
static const uint64_t A = 0x600000;
static const uint64_t B = 0x700000;

static int embryo(void) {
    const int context = proc9_efork();
    CHECK(context >= 0);
    return context;
}

static void drop(int context) {
    siginfo_t info;
    CHECK(proc9_kill(context, SIGKILL) == 0);
    CHECK(proc9_wait(context, &info, WEXITED) == 0 && info.si_status == SIGKILL);
    CHECK(close(context) == 0);
}

/* The first mapping there, as /proc/PID/maps says it; "" for none. */
static const char* mapped(int context, uint64_t at) {
    static char line[512];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/maps", proc9_pid(context));
    FILE* const maps = fopen(path, "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        if (strtoull(line, NULL, 16) == at) {
            fclose(maps);
            return line;
        }
    }
    fclose(maps);
    return "";
}

static const char* protection_at(int context, uint64_t at) {
    static char letters[8];
    letters[0] = '\0';
    sscanf(mapped(context, at), "%*s %7s", letters);
    return letters;
}

static void ask(int context, const char* script, char* answer, size_t size) {
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && proc9_fd(context, 1, ends[1]) == 0);
    CHECK(proc9_exec(context, "/bin/sh", (char*[]){"sh", "-c", (char*)script, NULL}, NULL) == 0);
    must_exit(proc9_pid(context), 0);
    close(ends[1]);
    const ssize_t length = read(ends[0], answer, size - 1);
    CHECK(length >= 0);
    answer[length] = '\0';
    close(ends[0]);
}

static void memory_is_mapped_protected_and_unmapped(void) {
    const int context = embryo();
    CHECK(proc9_map(context, A, 4 * PAGE, PROT_READ | PROT_WRITE, PROC9_PRIVATE) == 0);
    CHECK(strcmp(protection_at(context, A), "rw-p") == 0);
    CHECK(proc9_protect(context, A, 4 * PAGE, PROT_READ) == 0);
    CHECK(strcmp(protection_at(context, A), "r--p") == 0);
    CHECK(proc9_unmap(context, A + PAGE, PAGE) == 0);
    CHECK(*mapped(context, A + 2 * PAGE) && !*mapped(context, A + PAGE));
    CHECK(proc9_map(context, B, PAGE, PROT_READ | PROT_EXEC, PROC9_SHARED) == 0);
    CHECK(strcmp(protection_at(context, B), "r-xs") == 0);
    CHECK(proc9_map(context, B, PAGE, PROT_READ, PROC9_PRIVATE) == -1 && errno == EEXIST);
    drop(context);
}

static void a_file_is_mapped_from_where_it_is_told(void) {
    char letter[2] = "";
    const int context = embryo();
    CHECK(proc9_map_file(context, A, PAGE, PROT_READ, PROC9_PRIVATE, "/bin/sh", PAGE) == 0);
    CHECK(strstr(mapped(context, A), " 00001000 "));
    CHECK(proc9_map_file(context, B, PAGE, PROT_READ, PROC9_PRIVATE, "/bin/sh", 0) == 0);
    CHECK(proc9_read(context, B + 1, letter, 1) == 1 && letter[0] == 'E');
    CHECK(proc9_map_file(context, 0x900000, PAGE, PROT_READ, 0, "/none \"x\"\n", 0) == -1);
    CHECK(errno == ENOENT);
    drop(context);
}

static void bytes_are_written_and_read_inside_of_one_region(void) {
    char bytes[16] = "";
    const int context = embryo();
    CHECK(proc9_map(context, A, PAGE, PROT_READ | PROT_WRITE, PROC9_PRIVATE) == 0);
    CHECK(proc9_map(context, B, PAGE, PROT_READ, PROC9_PRIVATE) == 0);
    CHECK(proc9_write(context, B, "x", 1) == (getuid() == 0 ? 1 : -1));
    CHECK(getuid() == 0 || errno == EACCES);
    CHECK(proc9_write(context, A + 10, "hello", 5) == 5);
    CHECK(proc9_read(context, A + 9, bytes, 7) == 7 && memcmp(bytes, "\0hello\0", 7) == 0);
    CHECK(proc9_write(context, A + PAGE - 2, "hello", 5) == 2);
    CHECK(proc9_write(context, A + PAGE, "hello", 5) == -1 && errno == EFAULT);
    CHECK(proc9_write(context, A - 1, "hello", 5) == -1 && errno == EFAULT);
    CHECK(proc9_read(context, B + PAGE, bytes, 1) == -1 && errno == EFAULT);
    drop(context);
}

static void memory_is_shared_with_the_caller_and_with_another(void) {
    const int one = embryo();
    const int other = embryo();
    CHECK(proc9_map(one, A, PAGE, PROT_READ | PROT_WRITE, PROC9_SHARED) == 0);
    CHECK(proc9_share(one, A, other, B) == 0);
    CHECK(proc9_share(one, B, other, A) == -1 && errno == ENOENT);
    volatile char* const mine = proc9_mmap(one, A, PAGE, PROT_READ | PROT_WRITE);
    CHECK(mine != MAP_FAILED);
    char seen = 0;
    mine[7] = 'x';
    CHECK(proc9_read(other, B + 7, &seen, 1) == 1 && seen == 'x');
    CHECK(proc9_write(other, B + 8, "y", 1) == 1 && mine[8] == 'y');
    CHECK(proc9_mmap(one, B, PAGE, PROT_READ) == MAP_FAILED && errno == ENOENT);
    drop(one);
    CHECK(mine[8] == 'y');
    drop(other);
}

static void memory_of_the_caller_is_copied(void) {
    char seen[6] = "";
    char* const mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int context = embryo();
    memcpy(mine, "before", 6);
    CHECK(proc9_copy(context, A, getpid(), (uintptr_t)mine, PAGE) == 0);
    memcpy(mine, "behind", 6);
    CHECK(proc9_read(context, A, seen, 6) == 6 && memcmp(seen, "before", 6) == 0);
    CHECK(proc9_copy(context, B, 1 << 22, A, PAGE) == -1 && errno == ESRCH);
    drop(context);
}

static void an_instance_has_all_of_it(void) {
    char answer[32];
    char seen[6] = "";
    const int template = embryo();
    CHECK(proc9_env(template, "NAME", "both") == 0 &&
          proc9_fd_open(template, 3, "/dev/null", "r") == 0);
    CHECK(proc9_map(template, A, PAGE, PROT_READ | PROT_WRITE, PROC9_PRIVATE) == 0);
    CHECK(proc9_write(template, A, "first", 5) == 5);
    const int one = proc9_instance(template);
    CHECK(one >= 0 && proc9_pid(one) != proc9_pid(template));
    CHECK(proc9_write(one, A, "other", 5) == 5);
    CHECK(proc9_read(template, A, seen, 5) == 5 && strcmp(seen, "first") == 0);
    ask(one, "echo $NAME; readlink /proc/self/fd/3", answer, sizeof answer);
    CHECK(strcmp(answer, "both\n/dev/null\n") == 0);
    drop(template);
}

static void descriptors_are_opened_and_closed_there(void) {
    char answer[32];
    const int context = embryo();
    CHECK(proc9_fd_open(context, 5, "/dev/zero", "r") == 0);
    CHECK(proc9_fd_open(context, 6, "/dev/null", "w") == 0 && proc9_fd_close(context, 6) == 0);
    CHECK(proc9_fd_close(context, 6) == -1 && errno == EBADF);
    CHECK(proc9_fd_open(context, 7, "/dev/null", "q") == -1 && errno == EINVAL);
    ask(context, "echo /dev/fd/*", answer, sizeof answer);
    CHECK(strstr(answer, "/dev/fd/5") && !strstr(answer, "/dev/fd/6"));
}

static void variables_and_words_hold_any_bytes(void) {
    char answer[64];
    const int context = embryo();
    CHECK(proc9_env(context, "A", "one\n\"two\" \\ 'x'\t\x7f") == 0);
    CHECK(proc9_env(context, "B", "gone") == 0 && proc9_env(context, "B", NULL) == 0);
    CHECK(proc9_env(context, "B", NULL) == -1 && errno == ENOENT);
    CHECK(proc9_env(context, "", "x") == -1 && errno == EINVAL);
    CHECK(proc9_set(context, (const char* const[]){"limit", "NOFILE", "77", NULL}) == 0);
    CHECK(proc9_set(context, (const char* const[]){"chdir", "/no such\nplace", NULL}) == -1);
    CHECK(errno == ENOENT);
    CHECK(proc9_set(context, (const char* const[]){"nonsense", NULL}) == -1 && errno == EINVAL);
    ask(context, "printf '%s|%s|' \"$A\" \"$B\"; ulimit -n", answer, sizeof answer);
    CHECK(strcmp(answer, "one\n\"two\" \\ 'x'\t\x7f||77\n") == 0);
}

static void on_signal(int signal) { (void)signal; }

static void it_inherits_what_fork_would_give(void) {
    char theirs[4096];
    char mine[4096] = "";
    static const char script[] =
        "grep -E '^(SigBlk|SigIgn|Umask)' /proc/self/status; cat /proc/self/limits; "
        "nice; pwd; echo $MINE; ls /dev/fd/; ps -o pgid=,sid= -p $$";
    sigset_t blocked;
    CHECK(chdir("/usr") == 0 && setenv("MINE", "changed since", 1) == 0);
    CHECK(dup2(open("/dev/null", O_RDONLY), 8) == 8);
    umask(027);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, on_signal);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGWINCH);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    CHECK(nice(4) == 4);
    CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){60, 70}) == 0);
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        execl("/bin/sh", "sh", "-c", script, NULL);
    }
    must_exit(child, 0);
    const ssize_t length = read(ends[0], mine, sizeof mine - 1);
    CHECK(length > 500);
    close(ends[0]);
    close(ends[1]);
    const int context = embryo();
    CHECK(proc9_inherit(context) == 0);
    ask(context, script, theirs, sizeof theirs);
    if (strcmp(mine, theirs) != 0) fprintf(stderr, "fork:\n%s\nproc9:\n%s\n", mine, theirs);
    CHECK(strcmp(mine, theirs) == 0);
}

static pid_t session_of_a_child(void) {
    char answer[32];
    const int context = embryo();
    ask(context, "ps -o sid= -p $$", answer, sizeof answer);
    close(context);
    return (pid_t)strtol(answer, NULL, 10);
}

static void it_follows_the_caller_into_a_new_session(void) {
    CHECK(session_of_a_child() == getsid(0));
    const int before = open_descriptors();
    const pid_t child = fork();
    if (child == 0) {
        CHECK(session_of_a_child() == getsid(0));
        CHECK(setsid() == getpid());
        CHECK(session_of_a_child() == getpid());
        CHECK(wait(NULL) == -1 && errno == ECHILD); /* the first zygote is gone, too */
        CHECK(open_descriptors() <= before + 2);
        _exit(0);
    }
    must_exit(child, 0);
}

static void it_ends_as_it_is_told(void) {
    siginfo_t info;
    const int context = embryo();
    const int pidfd = proc9_pidfd(context);
    CHECK(pidfd >= 0 && fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
    CHECK(proc9_exec(context, "/bin/sleep", (char*[]){"sleep", "1000", NULL}, NULL) == 0);
    CHECK(proc9_wait(context, &info, WEXITED | WNOHANG) == 0);
    CHECK(proc9_kill(context, SIGTERM) == 0);
    CHECK(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) == 0 && info.si_status == SIGTERM);
    CHECK(proc9_wait(context, &info, WEXITED) == -1 && (errno == ECHILD || errno == ESRCH));
}

static void a_refusal_has_a_text(void) {
    char text[128];
    const int context = embryo();
    CHECK(proc9_map(context, A + 1, PAGE, PROT_READ, 0) == -1 && errno == EINVAL);
    CHECK(proc9_error(context, text, sizeof text) > 20 && strstr(text, "not a multiple"));
    CHECK(proc9_error(context, text, 5) == 4 && strcmp(text, "map:") == 0);
    CHECK(proc9_error(-1, text, sizeof text) >= 0);
    drop(context);
}

static void odd_words_are_refused_or_left_out(void) {
    char answer[64];
    char text[16];
    const int context = embryo();
    CHECK(proc9_env(context, "A=B", "x") == -1 && errno == EINVAL);
    const int before = open_descriptors();
    CHECK(proc9_error(context, text, 0) == 0 && open_descriptors() == before);
    char** const saved = environ;
    environ = NULL; /* as clearenv(3) leaves it */
    CHECK(proc9_inherit(context) == 0);
    environ = (char*[]){"=x", "no variable", "A=1", NULL};
    CHECK(proc9_inherit(context) == 0);
    ask(context, "env | grep -c ^A=1", answer, sizeof answer);
    CHECK(strcmp(answer, "1\n") == 0);
    environ = saved;
    const int bare = embryo();
    CHECK(proc9_exec(bare, "/bin/true", NULL, NULL) == 0);
    CHECK(waitpid(proc9_pid(bare), NULL, 0) > 0);
}

static void who_gives_up_its_rights_goes_on(void) {
    siginfo_t info;
    const pid_t child = fork();
    if (child == 0) {
        drop(embryo());
        CHECK(setgid(65534) == 0 && setuid(65534) == 0);
        alarm(20);
        const int other = proc9_efork(); /* of a mount that is root's, when we were */
        CHECK(other >= 0 || errno == EACCES || errno == EPERM);
        _exit(0);
    }
    must_exit(child, 0);
    const int context = embryo();
    if (getuid() != 0) return;
    CHECK(proc9_set(context, (const char* const[]){"uid", "65534", NULL}) == 0);
    const int instance = proc9_instance(context);
    CHECK(instance >= 0);
    CHECK(proc9_kill(instance, SIGKILL) == 0 && proc9_wait(instance, &info, WEXITED) == 0);
}

static void* make_zygotes(void* unused) {
    CHECK(proc9_efork() >= 0);
    return unused;
}

static void a_fork_amid_the_first_call_of_another_thread(void) {
    for (int i = 0; i < 10; ++i) {
        const pid_t tried = fork();
        if (tried == 0) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, make_zygotes, NULL) == 0);
            nanosleep(&(struct timespec){0, 100000 * i}, NULL);
            const pid_t child = fork();
            if (child == 0) {
                alarm(20);
                _exit(proc9_efork() >= 0 ? 0 : 1);
            }
            must_exit(child, 0);
            pthread_join(thread, NULL);
            _exit(0);
        }
        must_exit(tried, 0);
    }
}

static pid_t spawn_shell(const char* commands, const char* script) {
    return proc9_spawn(commands, "/bin/sh", (char*[]){"sh", "-c", (char*)script, NULL},
                       (char*[]){"A=1", NULL});
}

static void all_is_done_in_one_step(void) {
    must_exit(spawn_shell(NULL, "test $A = 1"), 0);
    must_exit(spawn_shell("env A=2\nlimit NOFILE 64", "test $A = 2 && exit $(ulimit -n)"), 64);
    must_exit(proc9_spawn("env PATH=/bin\n", "sh", (char*[]){"sh", "-c", "exit 5", NULL}, NULL), 5);
    sigset_t none;
    CHECK(sigemptyset(&none) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    must_exit(spawn_shell(NULL, "grep -q 'SigBlk:.0*$' /proc/self/status"), 0);
}

/* Children that ended and were not waited for. */
static int zombies(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE* const file = fopen(path, "r");
    int count = 0;
    int child;
    CHECK(file);
    while (fscanf(file, "%d", &child) == 1) {
        siginfo_t info = {.si_pid = 0};
        CHECK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0);
        count += info.si_pid == child;
    }
    fclose(file);
    return count;
}

static void of_what_was_refused_nothing_is_left(void) {
    char* const words[] = {"x", NULL};
    for (int i = 0; i < 3; ++i) {
        CHECK(proc9_spawn(NULL, "/missing", words, NULL) == -1 && errno == ENOENT);
        CHECK(proc9_spawn("nonsense\n", "/bin/true", words, NULL) == -1 && errno == EINVAL);
        CHECK(proc9_spawn("umask 22\nkill\n", "/bin/true", words, NULL) == -1 && errno == ESRCH);
    }
    CHECK(zombies() == 0);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    must_exit(spawn_shell(NULL, "exit 3"), 3);
}

static void* spawn_many(void* unused) {
    (void)unused;
    for (int i = 0; i < 20; ++i) must_exit(spawn_shell(NULL, "exit 7"), 7);
    return NULL;
}

static void many_threads_and_forks_spawn_at_once(void) {
    pthread_t threads[4];
    must_exit(spawn_shell(NULL, "true"), 0); /* all of them have a zygote that lasts */
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, spawn_many, NULL) == 0);
    for (int i = 0; i < 5; ++i) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) _exit(spawn_many(NULL) != NULL);
        must_exit(child, 0);
    }
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void who_closes_all_descriptors_spawns_on(void) {
    for (int i = 0; i < 3; ++i) {
        must_exit(spawn_shell(NULL, "exit 4"), 4);
        CHECK(close_range(3, ~0U, 0) == 0);
        for (int fd = 3; fd < 300; ++fd) CHECK(open("/dev/null", O_RDWR | O_CLOEXEC) == fd);
    }
    CHECK(close_range(3, ~0U, 0) == 0);
}

static const struct test_case cases[] = {
    CASE(memory_is_mapped_protected_and_unmapped),
    CASE(a_file_is_mapped_from_where_it_is_told),
    CASE(bytes_are_written_and_read_inside_of_one_region),
    CASE(memory_is_shared_with_the_caller_and_with_another),
    CASE(memory_of_the_caller_is_copied),
    CASE(an_instance_has_all_of_it),
    CASE(descriptors_are_opened_and_closed_there),
    CASE(variables_and_words_hold_any_bytes),
    CASE(it_inherits_what_fork_would_give),
    CASE(it_follows_the_caller_into_a_new_session),
    CASE(all_is_done_in_one_step),
    CASE(of_what_was_refused_nothing_is_left),
    CASE(many_threads_and_forks_spawn_at_once),
    CASE(who_closes_all_descriptors_spawns_on),
    CASE(it_ends_as_it_is_told),
    CASE(a_refusal_has_a_text),
    CASE(odd_words_are_refused_or_left_out),
    CASE(who_gives_up_its_rights_goes_on),
    CASE(a_fork_amid_the_first_call_of_another_thread),
};

int main(int count, char** words) {
    return run_case(cases, sizeof cases / sizeof *cases, count > 1 ? words[1] : NULL);
}
