/* What a program may expect of fork(), one case a run:
 *
 *     PROC9=... fork_cases CASE        0: as it should be; else the failed check is on stderr
 *     fork_cases                       the names of the cases
 *
 * The calls go to proc9_fork(); linked without the library (-DPLAIN) to fork(2), which must pass as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/client/check.h"

#ifdef PLAIN
#define fork_under_test fork
#else
#include "client/proc9.h"
#define fork_under_test proc9_fork
#endif

/* The lines of a directory of /proc, or of a file of it. */
static int count_in(const char* command) {
    int count = -1;
    FILE* const pipe = popen(command, "r");
    CHECK(pipe && fscanf(pipe, "%d", &count) == 1);
    pclose(pipe);
    return count;
}

static void returns_twice(void) {
    volatile int value = 1;
    const pid_t self = getpid();
    const pid_t child = fork_under_test();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(getpid() != self && getppid() == self && getpgrp() == getpgid(self));
        CHECK((pid_t)syscall(SYS_gettid) == getpid());
        value = 2;
        _exit(value + 40);
    }
    must_exit(child, 42);
    CHECK(value == 1 && getpid() == self);
}

static void memory_is_a_copy(void) {
    enum { SIZE = 16 << 20 };
    char* const memory =
        mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    atomic_int* const turn =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && turn != MAP_FAILED);
    memset(memory, 1, SIZE);
    const pid_t child = fork_under_test();
    if (child == 0) {
        while (atomic_load(turn) == 0) usleep(100);
        for (size_t i = 0; i < SIZE; i += 4096) CHECK(memory[i] == 1); /* the parent wrote 2 */
        memset(memory, 3, SIZE);
        _exit(0);
    }
    memset(memory, 2, SIZE);
    atomic_store(turn, 1);
    must_exit(child, 0);
    for (size_t i = 0; i < SIZE; i += 4096) CHECK(memory[i] == 2);
}

static void stdio_buffers_are_copied(void) {
    int ends[2];
    char text[64] = "";
    CHECK(pipe(ends) == 0);
    FILE* const out = fdopen(ends[1], "w");
    CHECK(fputs("twice ", out) >= 0);
    const pid_t child = fork_under_test();
    if (child == 0) {
        CHECK(fputs("child ", out) >= 0);
        exit(0); /* flushes */
    }
    must_exit(child, 0);
    CHECK(fputs("parent", out) >= 0 && fclose(out) == 0);
    CHECK(read(ends[0], text, sizeof text - 1) > 0);
    CHECK(strcmp(text, "twice child twice parent") == 0);
}

static atomic_int children_ended;
static void on_child(int signal) {
    (void)signal;
    atomic_fetch_add(&children_ended, 1);
}

static void wait_ends_with_ECHILD(void) {
    int waited = 0;
    signal(SIGCHLD, on_child);
    for (int i = 0; i < 5; ++i) {
        if (fork_under_test() == 0) _exit(i);
    }
    while (wait(NULL) > 0) ++waited;
    CHECK(errno == ECHILD && waited == 5);
    CHECK(atomic_load(&children_ended) > 0);
}

static _Thread_local int own = 1;
static void* add_to(void* number) {
    ++own;
    atomic_fetch_add((atomic_int*)number, own);
    return NULL;
}

static void thread_storage_and_new_threads_work(void) {
    own = 7;
    errno = 1234;
    const pthread_t self = pthread_self();
    const pid_t child = fork_under_test();
    if (child == 0) {
        atomic_int sum = 0;
        pthread_t thread;
        CHECK(own == 7 && errno == 1234 && pthread_equal(self, pthread_self()));
        CHECK(pthread_create(&thread, NULL, add_to, &sum) == 0);
        CHECK(pthread_join(thread, NULL) == 0 && atomic_load(&sum) == 2);
        _exit(0);
    }
    must_exit(child, 0);
}

static atomic_int stop;
static void* hammer(void* file) {
    while (!atomic_load(&stop)) {
        char* const piece = malloc(100);
        CHECK(piece && fprintf(file, "%p\n", (void*)piece) > 0);
        free(piece);
    }
    return NULL;
}

static void forks_while_threads_hold_locks(void) {
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    FILE* const file = fopen("/dev/null", "w");
    for (int i = 0; i < THREADS; ++i) CHECK(pthread_create(&threads[i], NULL, hammer, file) == 0);
    for (int i = 0; i < 40; ++i) {
        const pid_t child = fork_under_test();
        if (child == 0) {
            free(malloc(10000));
            fprintf(file, "not stuck\n");
            exit(0);
        }
        must_exit(child, 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
}

static void* fork_here(void* unused) {
    const pid_t child = fork_under_test();
    if (child == 0) _exit(count_in("ls /proc/$PPID/task | wc -l"));
    must_exit(child, 1);
    return unused;
}

static void a_thread_forks_itself_alone(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fork_here, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static atomic_int handled;
static void count_signal(int signal) {
    (void)signal;
    atomic_fetch_add(&handled, 1);
}

static void signal_masks_and_handlers_stay(void) {
    sigset_t blocked;
    sigset_t now;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGUSR1, count_signal);
    signal(SIGUSR2, count_signal);
    raise(SIGUSR2); /* pending here, not in the child */
    const pid_t child = fork_under_test();
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR2) == 1 && sigismember(&now, SIGUSR1) == 0 &&
          sigismember(&now, SIGTERM) == 0);
    if (child == 0) {
        CHECK(sigpending(&now) == 0 && sigismember(&now, SIGUSR2) == 0);
        raise(SIGUSR1);
        CHECK(atomic_load(&handled) == 1);
        _exit(0);
    }
    must_exit(child, 0);
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
    CHECK(atomic_load(&handled) == 1);
}

static void is_not_interrupted_by_signals(void) {
    const struct itimerval often = {{0, 300}, {0, 300}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = count_signal}; /* no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 30; ++i) {
        const pid_t child = fork_under_test();
        CHECK(child >= 0);
        if (child == 0) _exit(0);
        int status = -1;
        while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
        CHECK(status == 0);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(atomic_load(&handled) > 0);
}

static void floating_point_state_stays(void) {
    CHECK(fesetround(FE_UPWARD) == 0);
    volatile double one = 1;
    const double third = one / 3;
    const pid_t child = fork_under_test();
    CHECK(fegetround() == FE_UPWARD && one / 3 == third);
    if (child == 0) _exit(0);
    must_exit(child, 0);
}

static char calls[32];
static void note(char letter) { calls[strlen(calls)] = letter; }
static void prepare_one(void) { note('a'); }
static void prepare_two(void) { note('b'); }
static void parent_one(void) { note('1'); }
static void parent_two(void) { note('2'); }
static void child_one(void) { note('x'); }
static void child_two(void) { note('y'); }

static void handlers_run_once_and_in_order(void) {
    pthread_atfork(prepare_one, parent_one, child_one);
    pthread_atfork(prepare_two, parent_two, child_two);
    const pid_t child = fork_under_test();
    if (child == 0) _exit(strcmp(calls, "baxy") == 0 ? 0 : 1);
    must_exit(child, 0);
    CHECK(strcmp(calls, "ba12") == 0);
}

static void descriptors_are_the_same(void) {
    char byte = 0;
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    const int before = open_descriptors();
    CHECK(file >= 0 && lseek(file, 1, SEEK_SET) == 1);
    const pid_t child = fork_under_test();
    CHECK(open_descriptors() == before);
    if (child == 0) {
        CHECK(fcntl(file, F_GETFD) == FD_CLOEXEC);
        CHECK(read(file, &byte, 1) == 1 && byte == 'E');
        _exit(0);
    }
    must_exit(child, 0);
    CHECK(lseek(file, 0, SEEK_CUR) == 2); /* one offset */
}

static void nothing_of_proc9_is_left(void) {
    const char* const ours = "grep -c -e ^3c9 -e rwx -e proc9-stub /proc/$PPID/maps || true";
    const pid_t child = fork_under_test();
    CHECK(child >= 0);
    CHECK(count_in(ours) == 0);
    if (child == 0) {
        int signal = -1;
        CHECK(syscall(SYS_prctl, 2 /* PR_GET_PDEATHSIG */, &signal) == 0 && signal == 0);
        _exit(0);
    }
    must_exit(child, 0);
}

static void children_fork_too(void) {
    const pid_t child = fork_under_test();
    if (child == 0) {
        const pid_t grandchild = fork_under_test();
        if (grandchild == 0) {
            const pid_t last = fork_under_test();
            if (last == 0) _exit(3);
            must_exit(last, 3);
            _exit(2);
        }
        must_exit(grandchild, 2);
        _exit(1);
    }
    must_exit(child, 1);
}

static void* fork_often(void* unused) {
    for (int i = 0; i < 25; ++i) {
        const pid_t child = fork_under_test();
        if (child == 0) _exit(i);
        must_exit(child, i);
    }
    return unused;
}

static void threads_fork_at_once(void) {
    pthread_t threads[4];
    const int before = open_descriptors();
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, fork_often, NULL) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(open_descriptors() == before);
}

static void a_child_execs(void) {
    const pid_t child = fork_under_test();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 5", (char*)NULL);
        _exit(1);
    }
    must_exit(child, 5);
}

static void a_child_is_killed_by_a_signal(void) {
    int status = 0;
    const pid_t child = fork_under_test();
    if (child == 0) {
        for (;;) pause();
    }
    kill(child, SIGTERM);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
          WTERMSIG(status) == SIGTERM);
}

#ifndef PLAIN
static void is_told_commands_before_it_goes_on(void) {
    const pid_t child = proc9_fork_with("nice 5\nlimit NOFILE 33:44\n");
    if (child == 0) {
        struct rlimit limit;
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 33 &&
              limit.rlim_max == 44);
        CHECK(getpriority(PRIO_PROCESS, 0) == 5);
        _exit(0);
    }
    must_exit(child, 0);
    CHECK(getpriority(PRIO_PROCESS, 0) == 0);
}

static void exec_is_one_of_the_commands(void) {
    must_exit(proc9_fork_with("exec /bin/sh -c 'exit 8'"), 8);
    for (int i = 0; i < 10; ++i) must_exit(proc9_fork_with("exec /bin/true\n"), 0);
}

/* Without the mount, or told something that is refused: an errno, and nothing is left. */
static void no_child_is_no_child(int expected, const char* commands) {
    const int before = open_descriptors();
    errno = 0;
    CHECK(proc9_fork_with(commands) == -1);
    CHECK(errno == expected);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    CHECK(open_descriptors() == before);
}
static void a_command_may_start_a_program_that_nobody_waits_for(void) {
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 20; ++i) CHECK(proc9_fork_with("exec /bin/true\n") > 0);
    CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
}

static void a_refused_command_leaves_no_child(void) { no_child_is_no_child(EINVAL, "nice 300"); }
static void no_mount_is_ENOENT(void) {
    setenv("PROC9", "/nonexistent", 1);
    no_child_is_no_child(ENOENT, "");
}
static void a_dead_daemon_is_ENOTCONN(void) { no_child_is_no_child(ENOTCONN, ""); }
#endif

static const struct test_case cases[] = {
    CASE(returns_twice),
    CASE(memory_is_a_copy),
    CASE(stdio_buffers_are_copied),
    CASE(wait_ends_with_ECHILD),
    CASE(thread_storage_and_new_threads_work),
    CASE(forks_while_threads_hold_locks),
    CASE(a_thread_forks_itself_alone),
    CASE(signal_masks_and_handlers_stay),
    CASE(is_not_interrupted_by_signals),
    CASE(floating_point_state_stays),
    CASE(handlers_run_once_and_in_order),
    CASE(descriptors_are_the_same),
    CASE(nothing_of_proc9_is_left),
    CASE(children_fork_too),
    CASE(threads_fork_at_once),
    CASE(a_child_execs),
    CASE(a_child_is_killed_by_a_signal),
#ifndef PLAIN
    CASE(is_told_commands_before_it_goes_on),
    CASE(exec_is_one_of_the_commands),
    CASE(a_command_may_start_a_program_that_nobody_waits_for),
    CASE(a_refused_command_leaves_no_child),
    CASE(no_mount_is_ENOENT),
    CASE(a_dead_daemon_is_ENOTCONN),
#endif
};

int main(int count, char** words) {
    return run_case(cases, sizeof cases / sizeof *cases, count > 1 ? words[1] : NULL);
}
