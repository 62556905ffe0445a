/* A list of request targets. Main thread, at startup. */
#include "paths.h"

#include "args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATHS 1000000

static void add(struct paths *p, const char *path) {
    size_t len = strlen(path);
    if (path[0] != '/' || len > PATHS_MAX_LENGTH || strpbrk(path, " \r\n\t") != NULL)
        bench_die("%s is not a path of at most %d characters", path, PATHS_MAX_LENGTH);
    if (p->count == MAX_PATHS)
        bench_die("more than %d paths", MAX_PATHS);
    char **grown = realloc(p->items, (p->count + 1) * sizeof(*grown));
    char *copy = strdup(path);
    if (grown == NULL || copy == NULL)
        bench_die("no memory");
    p->items = grown;
    p->items[p->count++] = copy;
}

void paths_one(struct paths *p, const char *path) {
    *p = (struct paths){0};
    add(p, path);
}

void paths_read(struct paths *p, const char *file) {
    char line[PATHS_MAX_LENGTH + 3];
    FILE *f = fopen(file, "re");
    *p = (struct paths){0};
    if (f == NULL)
        bench_die("%s: %s", file, strerror(errno));
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        add(p, line);
    }
    fclose(f);
    if (p->count == 0)
        bench_die("%s: there is no path in it", file);
}

void paths_fini(struct paths *p) {
    for (size_t i = 0; i < p->count; i++)
        free(p->items[i]);
    free(p->items);
    *p = (struct paths){0};
}
