#include <stddef.h>

#include "client/proc9.h"
#include "client/text.h"

int proc9_exec(int context, const char* path, char* const argv[], char* const envp[]) {
    struct text text = {0};
    if (envp) text_environment(&text, envp);
    text_line(&text, "args", (const char* const*)argv);
    text_line(&text, "exec", (const char* const[]){path, NULL});
    return text_send(&text, context);
}

int proc9_eexec(int context) { return proc9_tell(context, "entry\n"); }
