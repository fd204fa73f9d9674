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
void text_bytes(struct text* text, const char* bytes, size_t length);
__attribute__((format(printf, 2, 3))) void text_print(struct text* text, const char* format, ...);
void text_vprint(struct text* text, const char* format, va_list arguments);
/* A blank and the word, quoted so that it is read back byte for byte. */
void text_word(struct text* text, const char* word);
/* The command as it is, then the words, up to NULL. */
void text_line(struct text* text, const char* command, const char* const words[]);
/* The lines that make this the environment, and nothing else. Words that are no variables are left out. */
void text_environment(struct text* text, char* const variables[]);
/* Frees it. 0; or -1 and errno, also of the writing. */
int text_send(struct text* text, int ctl);
