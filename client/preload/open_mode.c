#include "client/preload/open_mode.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>

static const struct {
    int flags;
    const char* word;
} words[] = {
    {O_RDONLY, "r"},
    {O_RDWR, "r+"},
    {O_WRONLY, "wk"},
    {O_WRONLY | O_APPEND, "ak"},
    {O_RDWR | O_APPEND, "a+k"},
    {O_WRONLY | O_CREAT | O_TRUNC, "w"},
    {O_RDWR | O_CREAT | O_TRUNC, "w+"},
    {O_WRONLY | O_CREAT | O_APPEND, "a"},
    {O_RDWR | O_CREAT | O_APPEND, "a+"},
    {O_WRONLY | O_CREAT | O_EXCL, "wx"},
    {O_RDWR | O_CREAT | O_EXCL, "w+x"},
    {O_WRONLY | O_CREAT | O_TRUNC | O_EXCL, "wx"},
    {O_RDWR | O_CREAT | O_TRUNC | O_EXCL, "w+x"},
    {O_WRONLY | O_CREAT | O_APPEND | O_EXCL, "ax"},
    {O_RDWR | O_CREAT | O_APPEND | O_EXCL, "a+x"},
};

int open_mode(int flags, char word[OPEN_MODE_SIZE]) {
    const int wanted = flags & ~(O_CLOEXEC | O_NOCTTY | O_LARGEFILE | O_NONBLOCK);
    for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
        if (words[i].flags != wanted) continue;
        snprintf(word, OPEN_MODE_SIZE, "%s%s", words[i].word, (flags & O_NONBLOCK) ? "n" : "");
        return 1;
    }
    return 0;
}
