/* Lines for a ctl file, put together piece by piece. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct text {
    char* bytes;
    size_t length;
    size_t room;
    int problem; /* errno of a piece that could not be added */
};

void text_add(struct text* text, const char* piece);
void text_print(struct text* text, const char* format, va_list arguments);
/* A blank and the word, quoted so that it is read back byte for byte. */
void text_word(struct text* text, const char* word);
/* Frees it. 0; or -1 and errno, also of the writing. */
int text_send(struct text* text, int ctl);
