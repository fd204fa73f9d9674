/* A child built with files: two descriptors, a variable, a limit, and a page of memory shared with this program. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char text[4096]; /* of the file read last */
static int ctl, job;

static char* slurp(int directory, const char* name) {
    int fd = openat(directory, name, O_RDONLY), count, length = 0;
    while ((count = read(fd, text + length, sizeof text - 1 - length)) > 0) length += count;
    if (count < 0) perror(name), exit(1);
    text[length] = '\0';
    close(fd);
    return text;
}

static void tell(const char* lines) {
    if (dprintf(ctl, "%s", lines) < 0) fputs(slurp(job, "error"), stderr), exit(1);
}

int main(void) {
    int proc9 = open(getenv("PROC9") ? getenv("PROC9") : "/proc9", O_RDONLY);
    ctl = openat(proc9, "clone", O_RDWR); /* makes the child; what is written to it builds the child */
    if (ctl < 0 || read(ctl, text, sizeof text) < 0) return perror("clone"), 1;
    job = openat(proc9, strtok(text, "\n"), O_RDONLY);
    tell("inherit cwd\nlimit NOFILE 64\nmap 0x600000 4K rw- shared\n");
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, openat(job, "mem/600000", O_RDWR), 0);
    if (page == MAP_FAILED) return perror("mem/600000"), 1;
    strcpy(page, "world\n");
    tell("env 'GREETING=good morning'\nfd 1 open letter w\nfd 2 self:2\nfd 3 mem 0x600000\n"
         "exec /bin/sh -c 'read -r name <&3; echo $GREETING, $name; "
         "echo limit $(ulimit -n) >&2; echo thanks >&3; exit 3'\n");
    printf("ended: %s", strchr(slurp(job, "wait"), '\'')); /* PID UTIME STIME RTIME 'STATUS' */
    printf("letter: %smemory: %s", slurp(AT_FDCWD, "letter"), page + strlen("world\n"));
}
