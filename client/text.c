#include "client/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/mount.h"

void text_bytes(struct text* text, const char* bytes, size_t length) {
    if (text->problem) return;
    if (text->room - text->length < length) {
        const size_t room = 2 * text->room + length + 256;
        char* const grown = realloc(text->bytes, room);
        if (!grown) {
            text->problem = ENOMEM;
            return;
        }
        text->bytes = grown;
        text->room = room;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

void text_add(struct text* text, const char* piece) { text_bytes(text, piece, strlen(piece)); }

void text_vprint(struct text* text, const char* format, va_list arguments) {
    char* printed = NULL;
    const int length = vasprintf(&printed, format, arguments);
    if (length < 0) {
        text->problem = errno;
        return;
    }
    text_bytes(text, printed, (size_t)length);
    free(printed);
}

void text_print(struct text* text, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_vprint(text, format, arguments);
    va_end(arguments);
}

void text_word(struct text* text, const char* word) {
    text_add(text, " \"");
    for (; *word; ++word) {
        const unsigned char byte = (unsigned char)*word;
        char escaped[5] = {*word, '\0'};
        if (byte == '"' || byte == '\\') {
            snprintf(escaped, sizeof escaped, "\\%c", byte);
        } else if (byte < ' ') {
            snprintf(escaped, sizeof escaped, "\\x%02x", byte);
        }
        text_add(text, escaped);
    }
    text_add(text, "\"");
}

void text_line(struct text* text, const char* command, const char* const words[]) {
    text_add(text, command);
    for (; words && *words; ++words) text_word(text, *words);
    text_add(text, "\n");
}

void text_environment(struct text* text, char* const variables[]) {
    text_add(text, "clearenv\n");
    for (; variables && *variables; ++variables) {
        const char* const equals = strchr(*variables, '=');
        if (equals && equals != *variables)
            text_line(text, "env", (const char* const[]){*variables, NULL});
    }
}

int text_send(struct text* text, int ctl) {
    int problem = text->problem;
    if (!problem && mount_write(ctl, text->bytes, text->length) < 0) problem = errno;
    free(text->bytes);
    if (problem) errno = problem;
    return problem ? -1 : 0;
}
