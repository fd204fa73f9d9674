#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/mount.h"
#include "client/proc9.h"
#include "client/text.h"

struct letters {
    char text[4];
};

static struct letters letters_of(int protection) {
    return (struct letters){{protection & PROT_READ ? 'r' : '-',
                             protection & PROT_WRITE ? 'w' : '-',
                             protection & PROT_EXEC ? 'x' : '-', 0}};
}

static const char* sharing(int flags) { return flags & PROC9_SHARED ? " shared" : ""; }

int proc9_map(int context, uint64_t address, uint64_t length, int protection, int flags) {
    return proc9_tell(context, "map %#" PRIx64 " %" PRIu64 " %s%s\n", address, length,
                      letters_of(protection).text, sharing(flags));
}

int proc9_map_file(int context, uint64_t address, uint64_t length, int protection, int flags,
                   const char* path, uint64_t offset) {
    struct text text = {0};
    text_print(&text, "map %#" PRIx64 " %" PRIu64 " %s%s file", address, length,
               letters_of(protection).text, sharing(flags));
    text_word(&text, path);
    text_print(&text, " %" PRIu64 "\n", offset);
    return text_send(&text, context);
}

int proc9_unmap(int context, uint64_t address, uint64_t length) {
    return proc9_tell(context, "unmap %#" PRIx64 " %" PRIu64 "\n", address, length);
}

int proc9_protect(int context, uint64_t address, uint64_t length, int protection) {
    return proc9_tell(context, "protect %#" PRIx64 " %" PRIu64 " %s\n", address, length,
                      letters_of(protection).text);
}

int proc9_copy(int context, uint64_t address, pid_t pid, uint64_t from, uint64_t length) {
    if (length == 0) return proc9_tell(context, "copy %d\n", pid);
    return proc9_tell(context, "copy %d:%#" PRIx64 "-%#" PRIx64 " %#" PRIx64 "\n", pid, from,
                      from + length, address);
}

/* The files are named by where regions begin: the last one that does not begin after the address. */
static int region_of(int context, uint64_t address, uint64_t* start) {
    const int folder = proc9_open(context, "mem", O_RDONLY | O_DIRECTORY);
    DIR* const files = folder < 0 ? NULL : fdopendir(folder);
    if (!files) return -1;
    int is_found = 0;
    for (const struct dirent* file; (file = readdir(files)) != NULL;) {
        char* end = NULL;
        const uint64_t at = strtoull(file->d_name, &end, 16);
        if (*end || at > address || (is_found && at < *start)) continue;
        *start = at;
        is_found = 1;
    }
    closedir(files);
    if (!is_found) errno = EFAULT;
    return is_found ? 0 : -1;
}

static int open_region(int context, uint64_t start, int flags) {
    char name[32];
    snprintf(name, sizeof name, "mem/%" PRIx64, start);
    return proc9_open(context, name, flags);
}

static int open_at(int context, uint64_t address, int flags, off_t* offset) {
    uint64_t start = 0;
    if (region_of(context, address, &start) < 0) return -1;
    const int region = open_region(context, start, flags);
    const off_t size = region < 0 ? -1 : lseek(region, 0, SEEK_END);
    *offset = (off_t)(address - start);
    if (*offset < size) return region;
    if (region >= 0) close(region);
    if (size >= 0) errno = EFAULT;
    return -1;
}

static ssize_t closed(int file, ssize_t outcome) {
    const int problem = errno;
    close(file);
    errno = problem;
    return outcome;
}

ssize_t proc9_read(int context, uint64_t address, void* bytes, size_t length) {
    off_t offset = 0;
    const int region = open_at(context, address, O_RDONLY, &offset);
    return region < 0 ? -1 : closed(region, pread(region, bytes, length, offset));
}

/* A file would grow. */
ssize_t proc9_write(int context, uint64_t address, const void* bytes, size_t length) {
    off_t offset = 0;
    const int region = open_at(context, address, O_WRONLY, &offset);
    if (region < 0) return -1;
    const size_t room = (size_t)(lseek(region, 0, SEEK_END) - offset);
    return closed(region, pwrite(region, bytes, length < room ? length : room, offset));
}

void* proc9_mmap(int context, uint64_t address, size_t length, int protection) {
    const int region = open_region(context, address, protection & PROT_WRITE ? O_RDWR : O_RDONLY);
    if (region < 0) return MAP_FAILED;
    void* const mapped = mmap(NULL, length, protection, MAP_SHARED, region, 0);
    closed(region, 0);
    return mapped;
}

int proc9_share(int context, uint64_t address, int other, uint64_t other_address) {
    char from[64];
    char to[64];
    const pid_t pid = proc9_pid(context);
    const pid_t other_pid = pid < 0 ? -1 : proc9_pid(other);
    if (other_pid < 0) return -1;
    snprintf(from, sizeof from, "%d/mem/%" PRIx64, pid, address);
    snprintf(to, sizeof to, "%d/mem/%" PRIx64, other_pid, other_address);
    return mount_link(from, to);
}
