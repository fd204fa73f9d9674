#include "client/spare.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "client/mount.h"

struct spare {
    int ctl; /* -1: none */
    pid_t owner;
    struct statx
        what; /* what it is: who closes all descriptors closes it, and the number is another's */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct spare spare = {.ctl = -1};

/* In a child of fork(2) another thread's turn would never end, and it is the parent's open file. */
static void forget_in_child(void) {
    pthread_mutex_init(&lock, NULL);
    if (spare.ctl >= 0) close(spare.ctl);
    spare.ctl = -1;
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* As the kernel knows it: the daemon is not asked. */
static int look(int ctl, struct statx* what) {
    return statx(ctl, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, what);
}

static int is_still(const struct spare* one) {
    struct statx now;
    return one->ctl >= 0 && one->owner == getpid() && look(one->ctl, &now) == 0 &&
           now.stx_ino == one->what.stx_ino && now.stx_dev_major == one->what.stx_dev_major &&
           now.stx_dev_minor == one->what.stx_dev_minor;
}

int spare_take(void) {
    pthread_mutex_lock(&lock);
    const struct spare found = spare;
    spare.ctl = -1;
    pthread_mutex_unlock(&lock);
    return is_still(&found) ? found.ctl : mount_open("ctl", O_RDWR | O_CLOEXEC, 0);
}

void spare_give_back(int ctl) {
    const int high = 256;
    struct spare mine = {.ctl = ctl, .owner = getpid()};
    if (ctl < high) {
        mine.ctl = fcntl(ctl, F_DUPFD_CLOEXEC, high);
        close(ctl);
    }
    if (mine.ctl < 0 || look(mine.ctl, &mine.what) < 0) mine.owner = -1;
    pthread_mutex_lock(&lock);
    const int surplus = mine.owner < 0 || spare.ctl >= 0 ? mine.ctl : -1;
    if (surplus < 0) spare = mine;
    pthread_mutex_unlock(&lock);
    if (surplus >= 0) close(surplus);
}
