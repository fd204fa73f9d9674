#include "client/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char for_all[] = "/proc9";
static char* remembered;

/* Where ./mount.sh and systemd --user put a tree of one's own. */
static void own_place(char* place, size_t size) {
    const char* const runtime = secure_getenv("XDG_RUNTIME_DIR");
    const char* const home = secure_getenv("HOME");
    const int has_runtime = runtime && *runtime && access(runtime, X_OK) == 0;
    snprintf(place, size, "%s/proc9", has_runtime ? runtime : home ? home : "");
}

static int is_served(const char* place) {
    char file[PATH_MAX];
    const int length = snprintf(file, sizeof file, "%s/ctl", place);
    return length > 0 && (size_t)length < sizeof file && access(file, F_OK) == 0;
}

/* A program that runs with another's rights does not listen to its caller. */
int mount_path(char* path, size_t size, const char* name) {
    if (remembered) return snprintf(path, size, "%s%s", remembered, name);
    const char* const given = secure_getenv("PROC9");
    if (given && *given) return snprintf(path, size, "%s/%s", given, name);
    if (geteuid() == 0) return snprintf(path, size, "%s/%s", for_all, name);
    char own[PATH_MAX];
    own_place(own, sizeof own);
    const int is_own = is_served(own) || !is_served(for_all);
    return snprintf(path, size, "%s/%s", is_own ? own : for_all, name);
}

struct path {
    char text[PATH_MAX];
};

static int find(struct path* path, const char* name) {
    const int length = mount_path(path->text, sizeof path->text, name);
    if (length >= 0 && (size_t)length < sizeof path->text) return 0;
    errno = ENAMETOOLONG;
    return -1;
}

void mount_remember(void) {
    struct path path;
    if (find(&path, "") == 0) remembered = strdup(path.text);
}

int mount_open(const char* name, int flags, mode_t mode) {
    struct path path;
    return find(&path, name) < 0 ? -1 : open(path.text, flags, mode);
}

int mount_link(const char* from, const char* to) {
    struct path old;
    struct path new;
    return find(&old, from) < 0 || find(&new, to) < 0 ? -1 : link(old.text, new.text);
}

/* A process that somebody stopped meanwhile takes no commands until it is continued. */
size_t mount_write_lines(int ctl, const char* text, size_t length) {
    const struct timespec moment = {0, 1000000};
    int patience = 10000; /* moments */
    size_t taken = 0;
    while (taken < length) {
        const ssize_t written = write(ctl, text + taken, length - taken);
        if (written < 0 && errno == EBUSY && --patience > 0) {
            nanosleep(&moment, NULL);
            continue;
        }
        if (written < 0) break;
        taken += (size_t)written;
    }
    return taken;
}

int mount_write(int ctl, const char* text, size_t length) {
    return mount_write_lines(ctl, text, length) == length ? 0 : -1;
}
