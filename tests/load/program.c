/* What a program expects of the one who starts it, one case a run:
 *
 *     program CASE [ARG...]       prints what it found, the same however it was started
 */
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static char zeros[3 << 20];
static int data[5000] = {1, 2, 3};
static __thread int of_thread = 7;

static int arguments(int count, char** words) {
    printf("%d\n", count);
    for (int i = 0; i <= count; ++i) printf("%s\n", words[i] ? words[i] : "(end)");
    for (char** variable = environ; *variable; ++variable) printf("%s\n", *variable);
    return 0;
}

/* Each string begins where the one before ends: what changes its title writes over all of them. */
static int title(int count, char** words) {
    int gaps = 0;
    for (int i = 1; i < count; ++i) gaps += words[i] != words[i - 1] + strlen(words[i - 1]) + 1;
    if (*environ) gaps += *environ != words[count - 1] + strlen(words[count - 1]) + 1;
    printf("%d gaps\n", gaps);
    return 0;
}

/* As the kernel said it: getauxval() answers what the C library makes of some. */
static unsigned long auxiliary_value(unsigned long type) {
    char** variable = environ;
    while (*variable) ++variable;
    const Elf64_auxv_t* entry = (const Elf64_auxv_t*)(variable + 1);
    while (entry->a_type != AT_NULL && entry->a_type != type) ++entry;
    return entry->a_type == type ? entry->a_un.a_val : ~0UL;
}

static int auxiliary(int count, char** words) {
    static const unsigned long values[] = {
        AT_PAGESZ, AT_CLKTCK, AT_HWCAP, AT_HWCAP2,      AT_PHENT, AT_PHNUM, AT_UID, AT_EUID, AT_GID,
        AT_EGID,   AT_SECURE, AT_FLAGS, AT_MINSIGSTKSZ, 27,       28,       29,     30};
    for (size_t i = 0; i < sizeof values / sizeof *values; ++i)
        printf("%lu: %lx\n", values[i], auxiliary_value(values[i]));
    printf("%s %s\n", (const char*)auxiliary_value(AT_PLATFORM),
           (const char*)auxiliary_value(AT_EXECFN));
    printf("ELF: %d\n", memcmp((const void*)auxiliary_value(AT_SYSINFO_EHDR), ELFMAG, SELFMAG));
    const Elf64_Phdr* const first = (const Elf64_Phdr*)auxiliary_value(AT_PHDR);
    printf("headers: %u %lx\n", first->p_type, (unsigned long)first->p_offset);
    printf("%d words at %lu\n", count, (unsigned long)(words - 1) % 16);
    return 0;
}

/* The caller compares these of two runs. */
static int random_bytes(int count, char** words) {
    (void)count, (void)words;
    const unsigned char* const bytes = (const unsigned char*)getauxval(AT_RANDOM);
    for (int i = 0; i < 16; ++i) printf("%02x", bytes[i]);
    return 0;
}

static int memory(int count, char** words) {
    (void)count, (void)words;
    size_t others = 0;
    for (size_t i = 0; i < sizeof zeros; ++i) others += zeros[i] != 0;
    for (size_t i = 3; i < sizeof data / sizeof *data; ++i) others += data[i] != 0;
    memset(zeros, 1, sizeof zeros);
    printf("%zu others, %d %d %d\n", others, data[0], data[1], data[2]);
    return 0;
}

static int heap(int count, char** words) {
    (void)count, (void)words;
    char* const before = sbrk(0);
    char* const grown = sbrk(1 << 20);
    if (grown != before) return 1;
    memset(grown, 1, 1 << 20);
    char* const block = malloc(100000);
    memset(block, 2, 100000);
    free(block);
    printf("%d\n", sbrk(0) >= (void*)(before + (1 << 20)));
    return 0;
}

static void* thread(void* argument) {
    of_thread += *(int*)argument;
    return (void*)(long)of_thread;
}

static int threads(int count, char** words) {
    (void)count, (void)words;
    pthread_t all[8];
    int numbers[8];
    long sum = 0;
    for (int i = 0; i < 8; ++i) {
        numbers[i] = i;
        if (pthread_create(&all[i], NULL, thread, &numbers[i]) != 0) return 1;
    }
    for (int i = 0; i < 8; ++i) {
        void* result;
        pthread_join(all[i], &result);
        sum += (long)result;
    }
    printf("%ld %d\n", sum, of_thread);
    return 0;
}

static volatile sig_atomic_t caught;

static void handler(int number) { caught += number; }

static int signals(int count, char** words) {
    (void)count, (void)words;
    stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    printf("%d\n", caught);
    return 0;
}

static int children(int count, char** words) {
    (void)count, (void)words;
    int status;
    fflush(stdout);
    if (fork() == 0) _exit(5);
    wait(&status);
    printf("forked: %d\n", WEXITSTATUS(status));
    fflush(stdout);
    if (fork() == 0) execl("/bin/sh", "sh", "-c", "echo executed; exit 6", NULL);
    wait(&status);
    printf("executed: %d\n", WEXITSTATUS(status));
    printf("system: %d\n", WEXITSTATUS(system("exit 7")));
    return 8;
}

static int replaced(int count, char** words) {
    (void)count, (void)words;
    execl("/bin/echo", "echo", "another", "program", NULL);
    return 1;
}

static int vdso(int count, char** words) {
    (void)count, (void)words;
    struct timespec now;
    const int answer = clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%d %d\n", answer, answer == 0 && now.tv_nsec >= 0 && now.tv_nsec < 1000000000);
    return 0;
}

static int stack(int count, char** words) {
    (void)count, (void)words;
    pthread_attr_t attributes;
    void* start;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 1;
    pthread_attr_getstack(&attributes, &start, &size);
    printf("%zu MiB\n", (size + (1 << 19)) >> 20);
    return 0;
}

__attribute__((noinline)) static int recurse(int depth) {
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth > 0 ? recurse(depth - 1) + (frame[0] == (char)depth) : 0;
}

/* Pages down the stack: they are there, or it ends by SIGSEGV. */
static int deep(int count, char** words) {
    if (count < 3) return 1;
    printf("%d\n", recurse(atoi(words[2])));
    return 0;
}

static int aborted(int count, char** words) {
    (void)count, (void)words;
    abort();
}

static int descriptors(int count, char** words) {
    if (count < 3) return 1;
    printf("%d\n", write(atoi(words[2]), "x", 0) == 0 ? 0 : errno);
    return 0;
}

static const struct {
    const char* name;
    int (*run)(int, char**);
} cases[] = {
    {"arguments", arguments}, {"title", title},     {"auxiliary", auxiliary},
    {"random", random_bytes}, {"memory", memory},   {"heap", heap},
    {"threads", threads},     {"signals", signals}, {"children", children},
    {"replaced", replaced},   {"vdso", vdso},       {"stack", stack},
    {"deep", deep},           {"aborted", aborted}, {"descriptors", descriptors},
};

int main(int argc, char** argv) {
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof *cases; ++i) {
        if (strcmp(argv[1], cases[i].name) == 0) return cases[i].run(argc, argv);
    }
    return 99;
}
