/* The C library's own functions, which are behind those of this library. */
#pragma once

#include <dlfcn.h>

#define LIBC(function) ((__typeof__(&(function)))dlsym(RTLD_NEXT, #function))

/* Whether it shall make the process where proc9 does not: PROC9_FALLBACK=1. Keeps errno. */
int may_fall_back(void);
