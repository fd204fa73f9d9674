/* Where proc9 is mounted. */
#pragma once

/* open(2) of a file of the mount. */
int mount_open(const char* name, int flags);
