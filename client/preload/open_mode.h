/* The flags of open(2) as the word that the command `fd N open` takes. */
#pragma once

enum { OPEN_MODE_SIZE = 8 };

/* 0: there is no word for this combination. O_CLOEXEC and O_NOCTTY are not looked at. */
int open_mode(int flags, char word[OPEN_MODE_SIZE]);
