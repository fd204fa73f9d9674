#include "client/kept.h"

#include <fcntl.h>
#include <unistd.h>

enum { HIGH = 256 }; /* programs count on the lowest numbers */

static int look(int fd, struct statx* what) {
    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, what);
}

struct kept kept_open(int fd) {
    struct kept kept = {.fd = fd, .owner = getpid()};
    if (fd >= 0 && fd < HIGH) {
        kept.fd = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
        if (kept.fd < 0) kept.fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(fd);
    }
    if (kept.fd >= 0 && look(kept.fd, &kept.what) < 0) {
        close(kept.fd);
        kept.fd = -1;
    }
    return kept;
}

static int is_what_it_was(const struct kept* kept) {
    struct statx now;
    return kept->fd >= 0 && look(kept->fd, &now) == 0 && now.stx_ino == kept->what.stx_ino &&
           now.stx_dev_major == kept->what.stx_dev_major &&
           now.stx_dev_minor == kept->what.stx_dev_minor;
}

int kept_is_still(const struct kept* kept) {
    return kept->owner == getpid() && is_what_it_was(kept);
}

void kept_close(struct kept* kept) {
    if (is_what_it_was(kept)) close(kept->fd);
    kept->fd = -1;
}
