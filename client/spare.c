#include "client/spare.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "client/kept.h"
#include "client/mount.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept spare = KEPT_NONE;

/* In a child of fork(2) another thread's turn would never end, and it is the parent's open file. */
static void forget_in_child(void) {
    pthread_mutex_init(&lock, NULL);
    kept_close(&spare);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_in_child);
}

int spare_take(void) {
    pthread_mutex_lock(&lock);
    const struct kept found = spare;
    spare.fd = -1;
    pthread_mutex_unlock(&lock);
    return kept_is_still(&found) ? found.fd : mount_open("ctl", O_RDWR | O_CLOEXEC, 0);
}

void spare_give_back(int ctl) {
    struct kept mine = kept_open(ctl);
    pthread_mutex_lock(&lock);
    const int is_surplus = spare.fd >= 0;
    if (!is_surplus) spare = mine;
    pthread_mutex_unlock(&lock);
    if (is_surplus) kept_close(&mine);
}
