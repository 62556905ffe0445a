/* Options without memory: a program that is starting has nothing to save and stops at once (abort), rather than run
 * with a value that nobody gave. */
#include "nomem.h"

#include "base/option.h"
#include "wire_support.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct opts {
    const char *url, *listen;
    int64_t loops;
};

static const struct tc_option table[] = {
    {"url", TC_OPT_STRING, offsetof(struct opts, url), "redis://localhost", 0, 0, NULL, "Where Redis is"},
    {"listen", TC_OPT_ADDRESS, offsetof(struct opts, listen), "127.0.0.1:0", 0, 0, NULL, "Address"},
    {"loops", TC_OPT_INT, offsetof(struct opts, loops), "1", 1, 64, NULL, "Threads"},
    {0},
};

enum outcome { WHOLE = 0, WRONG, WHOLE_ALL_THE_SAME /* only the room for an error was missing */ };

/* In a process of its own; never returns. */
static void parse(enum nomem_mode mode, unsigned n) {
    char *argv[] = {(char[]){"prog"}, (char[]){"--url"}, (char[]){"redis://there"}, NULL};
    char *env[] = {(char[]){"TOKENCAST_LOOPS=2"}, NULL};
    const struct rlimit none = {0, 0};
    enum tc_option_action action;
    struct opts o = {0};
    struct tc_buf err = {0};
    (void)setrlimit(RLIMIT_CORE, &none);
    nomem_begin(mode, n);
    int rc = tc_options_parse(table, &o, 3, argv, env, &action, &err);
    bool failed = nomem_end();
    bool right = rc == 0 && strcmp(o.url, "redis://there") == 0 && strcmp(o.listen, "127.0.0.1:0") == 0 && o.loops == 2;
    _exit(!right ? WRONG : failed ? WHOLE_ALL_THE_SAME : WHOLE);
}

static bool parse_apart(void *arg, enum nomem_mode mode, unsigned n) {
    int status = 0;
    (void)arg;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        parse(mode, n);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) {
        assert_int_not_equal(WEXITSTATUS(status), WRONG);
        return WEXITSTATUS(status) == WHOLE_ALL_THE_SAME;
    }
    assert_int_equal(WTERMSIG(status), SIGABRT);
    return true;
}

static void options_without_memory_stop_the_program(void **state) {
    (void)state;
    nomem_each(parse_apart, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_without_memory_stop_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
