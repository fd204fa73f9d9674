/* Programs clear their environment, and know nothing of what this library finds there. */
#include "client/mount.h"

__attribute__((constructor)) static void remember_mount(void) { mount_remember(); }
