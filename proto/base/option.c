/* The options table at work: finds for each row the text that counts (flag, else variable, else default), then stores
 * each once. Main thread, at startup. */
#include "base/option.h"

#include "base/option_value.h"
#include "tokencast/error.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64

/* What was found for one row. */
struct found {
    const char *text; /* NULL = nothing */
    bool variable;    /* from the environment: errors name the variable */
};

static size_t table_size(const struct tc_option *table) {
    size_t n = 0;
    while (table[n].name != NULL)
        n++;
    return n;
}

/* redis-url -> TOKENCAST_REDIS_URL */
static void put_variable(struct tc_buf *out, const char *name) {
    tc_buf_puts(out, "TOKENCAST_");
    for (; *name != '\0'; name++)
        tc_buf_putc(out, *name == '-' ? '_' : *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name);
}

static bool is_variable(const char *entry, size_t n, const char *name) {
    struct tc_buf variable;
    tc_buf_init(&variable, 0);
    put_variable(&variable, name);
    if (!tc_buf_ok(&variable))
        abort(); /* at startup there is nothing to save */
    bool same = variable.len == n && memcmp(variable.data, entry, n) == 0;
    tc_buf_fini(&variable);
    return same;
}

static void read_environment(const struct tc_option *table, struct found *found, char **env) {
    for (; env != NULL && *env != NULL; env++) {
        const char *equals = strchr(*env, '=');
        if (equals == NULL || equals[1] == '\0' || strncmp(*env, "TOKENCAST_", 10) != 0)
            continue;
        for (size_t i = 0; table[i].name != NULL; i++)
            if (is_variable(*env, (size_t)(equals - *env), table[i].name))
                found[i] = (struct found){equals + 1, true};
    }
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Levenshtein distance; texts longer than NAME_MAX_BYTES are far from everything. */
static size_t distance(const char *a, size_t an, const char *b) {
    size_t bn = strlen(b), row[NAME_MAX_BYTES + 1];
    if (an > NAME_MAX_BYTES || bn > NAME_MAX_BYTES)
        return SIZE_MAX;
    for (size_t j = 0; j <= bn; j++)
        row[j] = j;
    for (size_t i = 1; i <= an; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= bn; j++) {
            size_t above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[bn];
}

static int unknown_option(const struct tc_option *table, const char *name, size_t n, struct tc_buf *err) {
    const char *nearest = NULL;
    size_t best = n / 3 + 1; /* more changes than this is another word */
    for (; table->name != NULL; table++) {
        size_t d = distance(name, n, table->name);
        if (table->help != NULL && d <= best && d < n) {
            nearest = table->name;
            best = d > 0 ? d - 1 : 0;
        }
    }
    tc_buf_printf(err, "unknown option --%.*s", (int)least(n, NAME_MAX_BYTES), name);
    if (nearest != NULL)
        tc_buf_printf(err, "; did you mean --%s?", nearest);
    return TC_EINVAL;
}

static const struct tc_option *find(const struct tc_option *table, const char *name, size_t n) {
    for (; table->name != NULL; table++)
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0)
            return table;
    return NULL;
}

/* One flag at argv[*i]; moves *i on when its value is the next argument. */
static int read_flag(const struct tc_option *table, struct found *found, int argc, char **argv, int *i,
                     struct tc_buf *err) {
    const char *name = argv[*i] + 2, *equals = strchr(name, '='), *text = equals ? equals + 1 : NULL;
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const struct tc_option *row = find(table, name, n);
    if (row == NULL && equals == NULL && n > 3 && memcmp(name, "no-", 3) == 0) {
        row = find(table, name + 3, n - 3);
        if (row != NULL && row->type != TC_OPT_BOOL)
            row = NULL;
        text = "false";
    }
    if (row == NULL)
        return unknown_option(table, name, n, err);
    if (text == NULL && row->type == TC_OPT_BOOL)
        text = "true";
    if (text == NULL && *i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0)
        text = argv[++*i];
    if (text == NULL) {
        tc_buf_printf(err, "--%s: a value is missing", row->name);
        return TC_EINVAL;
    }
    found[row - table] = (struct found){text, false};
    return 0;
}

/* --help and --version are answered whatever else is on the line. */
static bool read_action(const char *arg, enum tc_option_action *action) {
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        *action = TC_OPTION_HELP;
    else if (strcmp(arg, "--version") == 0 && *action != TC_OPTION_HELP)
        *action = TC_OPTION_VERSION;
    else if (strcmp(arg, "--check-config") == 0 && *action == TC_OPTION_RUN)
        *action = TC_OPTION_CHECK;
    else if (strcmp(arg, "--probe") == 0 && *action == TC_OPTION_RUN)
        *action = TC_OPTION_PROBE;
    else
        return strcmp(arg, "--version") == 0 || strcmp(arg, "--check-config") == 0 || strcmp(arg, "--probe") == 0;
    return true;
}

static int read_arguments(const struct tc_option *table, struct found *found, int argc, char **argv,
                          enum tc_option_action *action, struct tc_buf *err) {
    for (int i = 1; i < argc; i++) {
        int code = 0;
        if (read_action(argv[i], action))
            continue;
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
            code = read_flag(table, found, argc, argv, &i, err);
        } else {
            tc_buf_printf(err, "unexpected argument \"%.64s\"", argv[i]);
            code = TC_EINVAL;
        }
        if (code < 0)
            return code;
    }
    return 0;
}

static int store_all(const struct tc_option *table, const struct found *found, void *opts, struct tc_buf *err) {
    for (size_t i = 0; table[i].name != NULL; i++) {
        size_t start = err->len;
        const char *text = found[i].text ? found[i].text : table[i].def;
        if (text == NULL)
            continue;
        if (found[i].variable)
            put_variable(err, table[i].name);
        else
            tc_buf_printf(err, "--%s", table[i].name);
        tc_buf_puts(err, ": ");
        int code = option_store(&table[i], opts, text, err);
        if (code < 0)
            return code;
        err->len = start;
    }
    return 0;
}

static bool wants_answer(int argc, char **argv, enum tc_option_action *action) {
    *action = TC_OPTION_RUN;
    for (int i = 1; i < argc; i++)
        read_action(argv[i], action);
    return *action == TC_OPTION_HELP || *action == TC_OPTION_VERSION;
}

int tc_options_parse(const struct tc_option *table, void *opts, int argc, char **argv, char **env,
                     enum tc_option_action *action, struct tc_buf *err) {
    int code;
    if (wants_answer(argc, argv, action))
        return 0;
    struct found *found = calloc(table_size(table) + 1, sizeof(*found));
    if (found == NULL)
        abort();
    read_environment(table, found, env);
    code = read_arguments(table, found, argc, argv, action, err);
    if (code == 0)
        code = store_all(table, found, opts, err);
    free(found);
    return code;
}

static void put_range(const struct tc_option *row, struct tc_buf *out) {
    if (row->type == TC_OPT_CHOICE)
        tc_buf_printf(out, ", one of %s", row->choices);
    if ((row->type == TC_OPT_INT || row->type == TC_OPT_DURATION || row->type == TC_OPT_SIZE) &&
        (row->min != 0 || row->max != 0)) {
        tc_buf_puts(out, ", ");
        option_put_number(out, row->type, row->min);
        tc_buf_puts(out, " to ");
        option_put_number(out, row->type, row->max);
    }
}

static void put_row(const struct tc_option *row, struct tc_buf *out) {
    static const char *const values[] = {
        [TC_OPT_STRING] = " TEXT",       [TC_OPT_INT] = " NUMBER", [TC_OPT_BOOL] = "",
        [TC_OPT_DURATION] = " DURATION", [TC_OPT_SIZE] = " SIZE",  [TC_OPT_ADDRESS] = " ADDRESS",
        [TC_OPT_CHOICE] = " WORD"};
    tc_buf_printf(out, "  --%s%s\n      %s\n      (", row->name, values[row->type], row->help);
    put_variable(out, row->name);
    if (row->def != NULL)
        tc_buf_printf(out, ", default %s", row->def);
    put_range(row, out);
    tc_buf_puts(out, ")\n");
}

void tc_options_help(const struct tc_option *table, const char *program, const char *summary, FILE *out) {
    struct tc_buf text;
    tc_buf_init(&text, 0);
    tc_buf_printf(&text, "Usage: %s [options]\n\n%s\n\n", program, summary);
    for (; table->name != NULL; table++)
        if (table->help != NULL)
            put_row(table, &text);
    tc_buf_puts(&text, "  --help, --version\n  --check-config\n      say whether the options are right, and end\n"
                       "  --probe\n      ask the program that runs with these options whether it is ready, and end\n");
    if (text.len > 0)
        fwrite(text.data, 1, text.len, out);
    tc_buf_fini(&text);
}
