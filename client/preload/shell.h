/* The shell that system(3) and popen(3) run a command in. */
#pragma once

#include <spawn.h>

/* As posix_spawn(3). `was_made`: there was a process, though it may not have become a shell. */
int spawn_shell(pid_t* shell, const char* command, const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes, int* was_made);
