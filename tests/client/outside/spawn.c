/* Starts the program that its words say, waits for it, and says how it ended and how often SIGCHLD came. */
#include <proc9.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t notices;
static void on_child(int signal) {
    (void)signal;
    ++notices;
}

int main(int count, char** words) {
    int status = 0;
    signal(SIGCHLD, on_child);
    const int context = proc9_efork();
    if (count < 2 || context < 0) return perror("efork"), 1;
    if (proc9_inherit(context) < 0) return perror("inherit"), 1;
    const pid_t child = proc9_pid(context);
    if (proc9_exec(context, words[1], words + 1, NULL) < 0) return perror(words[1]), 127;
    close(context);
    if (waitpid(child, &status, 0) != child) return perror("waitpid"), 1;
    if (WIFSIGNALED(status)) printf("signal %d, ", WTERMSIG(status));
    if (WIFEXITED(status)) printf("exit %d, ", WEXITSTATUS(status));
    printf("%d notice\n", (int)notices);
    return 0;
}
