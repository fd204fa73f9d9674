/* proc9_efork() and what is done with its context, one case a run, as fork_cases.c. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client/proc9.h"
#include "tests/client/check.h"

static char* const true_words[] = {"true", NULL};

static int started(const char* script) {
    char* const words[] = {"sh", "-c", (char*)script, NULL};
    const int context = proc9_efork();
    CHECK(context >= 0);
    CHECK(proc9_fd(context, 2, 2) == 0);
    CHECK(proc9_exec(context, "/bin/sh", words, NULL) == 0);
    return context;
}

static pid_t pid_and_close(int context) {
    const pid_t pid = proc9_pid(context);
    CHECK(pid > 0 && close(context) == 0);
    return pid;
}

static void a_program_is_a_child_of_the_caller(void) {
    const int before = open_descriptors();
    char script[64];
    snprintf(script, sizeof script, "exit $(($PPID == %d ? 7 : 1))", getpid());
    must_exit(pid_and_close(started(script)), 7);
    CHECK(open_descriptors() == before + 1); /* the zygote's */
    must_exit(pid_and_close(started(script)), 7);
    CHECK(open_descriptors() == before + 1);
}

static atomic_int ended;
static void on_child(int signal) {
    (void)signal;
    atomic_fetch_add(&ended, 1);
}

static void wait_sees_what_was_started_and_nothing_else(void) {
    signal(SIGCHLD, on_child);
    const int unstarted = proc9_efork();
    CHECK(unstarted >= 0);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    const pid_t pid = pid_and_close(started("exit 3"));
    int status = -1;
    CHECK(wait(&status) == pid && WEXITSTATUS(status) == 3);
    CHECK(atomic_load(&ended) == 1);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    CHECK(proc9_tell(unstarted, "kill\n") == 0);
}

static void descriptors_words_and_variables_arrive_byte_for_byte(void) {
    int ends[2];
    char text[128] = "";
    char* const words[] = {"other name", "a \"b\" 'c' \\ \n \x01 \xc3\xa4", "", NULL};
    char* const variables[] = {"A=1 \"2\"", "B=", NULL};
    const int context = proc9_efork();
    CHECK(context >= 0 && pipe(ends) == 0);
    CHECK(proc9_fd(context, 1, ends[1]) == 0);
    CHECK(proc9_tell(context, "fd %d open /proc/self/cmdline r\nfd %d open /proc/self/environ r\n",
                     3, 4) == 0);
    CHECK(proc9_exec(context, "/bin/cat", (char* const[]){"cat", "/proc/self/cmdline", NULL},
                     variables) == 0);
    must_exit(pid_and_close(context), 0);
    CHECK(read(ends[0], text, sizeof text) == 23 &&
          memcmp(text, "cat\0/proc/self/cmdline", 23) == 0);
    const int second = proc9_efork();
    CHECK(proc9_fd(second, 1, ends[1]) == 0);
    CHECK(proc9_tell(second, "fd 0 open /bin/cat r\n") == 0);
    CHECK(proc9_exec(second, "/usr/bin/env", (char* const[]){"env", NULL}, variables) == 0);
    must_exit(pid_and_close(second), 0);
    CHECK(read(ends[0], text, sizeof text) == 11 && memcmp(text, "A=1 \"2\"\nB=\n", 11) == 0);
    const int third = proc9_efork();
    CHECK(proc9_fd(third, 1, ends[1]) == 0);
    CHECK(proc9_exec(third, "/usr/bin/printf",
                     (char* const[]){"printf", "%s|", words[1], words[2], NULL}, NULL) == 0);
    must_exit(pid_and_close(third), 0);
    const size_t length = strlen(words[1]);
    CHECK(read(ends[0], text, sizeof text) == (ssize_t)length + 2 &&
          memcmp(text, words[1], length) == 0);
}

static void a_refused_exec_can_be_tried_again(void) {
    const int context = proc9_efork();
    CHECK(proc9_exec(context, "/nonexistent", true_words, NULL) == -1 && errno == ENOENT);
    CHECK(proc9_exec(context, "/etc", true_words, NULL) == -1 && errno == EACCES);
    CHECK(proc9_exec(context, "true", true_words, NULL) == -1 && errno == ENOENT);
    CHECK(proc9_tell(context, "env PATH=/bin:/usr/bin\n") == 0);
    CHECK(proc9_exec(context, "true", true_words, NULL) == 0);
    must_exit(pid_and_close(context), 0);
}

static void what_was_built_by_hand_starts(void) {
    const unsigned char code[] = {0xbf, 9, 0, 0, 0,    0xb8,
                                  0xe7, 0, 0, 0, 0x0f, 0x05}; /* exit_group(9) */
    int status = -1;
    const int context = proc9_efork();
    const int memory = proc9_open(context, "mem/400000", O_RDWR | O_CREAT | O_EXCL, 0700);
    CHECK(memory >= 0);
    CHECK(write(memory, code, sizeof code) == (ssize_t)sizeof code && close(memory) == 0);
    CHECK(proc9_tell(context, "reg pc 0x400000\n") == 0);
    CHECK(proc9_eexec(context) == 0);
    const pid_t pid = pid_and_close(context);
    CHECK(waitpid(pid, &status, __WALL) == pid && WEXITSTATUS(status) == 9);
}

static void refusals_are_errno(void) {
    const int context = proc9_efork();
    CHECK(proc9_tell(context, "map 0x%x 4K rw-\n", 0x600001) == -1 && errno == EINVAL);
    CHECK(proc9_fd(context, 0, 200) == -1 && errno == EBADF);
    CHECK(proc9_open(context, "mem/600000", O_RDONLY) == -1 && errno == ENOENT);
    CHECK(proc9_pid(-1) == -1 && errno == EBADF);
    CHECK(proc9_tell(context, "kill\n") == 0);
    setenv("PROC9", "/nonexistent", 1);
    CHECK(proc9_efork() == -1 && errno == ENOENT);
}

static void after_fork_the_child_has_children_of_its_own(void) {
    must_exit(pid_and_close(started("exit 1")), 1);
    const pid_t child = fork();
    if (child == 0) {
        char script[64];
        snprintf(script, sizeof script, "exit $(($PPID == %d ? 2 : 1))", getpid());
        must_exit(pid_and_close(started(script)), 2);
        _exit(4);
    }
    must_exit(child, 4);
    must_exit(pid_and_close(started("exit 5")), 5);
}

static void* start_one(void* unused) {
    must_exit(pid_and_close(started("exit 6")), 6);
    return unused;
}

static void it_outlives_the_thread_that_was_first(void) {
    for (int i = 0; i < 3; ++i) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, start_one, NULL) == 0 &&
              pthread_join(thread, NULL) == 0);
    }
    start_one(NULL);
}

static void* start_many(void* unused) {
    for (int i = 0; i < 10; ++i) start_one(NULL);
    return unused;
}

static void threads_start_at_once(void) {
    pthread_t threads[4];
    start_one(NULL);
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, start_many, NULL) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void who_closes_all_descriptors_can_go_on(void) {
    start_one(NULL);
    close_range(3, ~0U, 0);
    const int mine = open("/dev/null", O_RDONLY);
    start_one(NULL);
    CHECK(fcntl(mine, F_GETFD) >= 0);
}

static const struct test_case cases[] = {
    CASE(a_program_is_a_child_of_the_caller),
    CASE(wait_sees_what_was_started_and_nothing_else),
    CASE(descriptors_words_and_variables_arrive_byte_for_byte),
    CASE(a_refused_exec_can_be_tried_again),
    CASE(what_was_built_by_hand_starts),
    CASE(refusals_are_errno),
    CASE(after_fork_the_child_has_children_of_its_own),
    CASE(it_outlives_the_thread_that_was_first),
    CASE(threads_start_at_once),
    CASE(who_closes_all_descriptors_can_go_on),
};

int main(int count, char** words) {
    return run_case(cases, sizeof cases / sizeof *cases, count > 1 ? words[1] : NULL);
}
