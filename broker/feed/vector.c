/* See vector.h. */
#include "feed/vector.h"

#include "tokencast/error.h"

#include <string.h>

struct vector_item *vector_find(struct vector *v, const char *id) {
    for (size_t i = 0; i < v->count; i++)
        if (strcmp(v->items[i].id, id) == 0)
            return &v->items[i];
    return NULL;
}

int vector_set(struct vector *v, const char *id, struct tc_position pos) {
    struct vector_item *item = vector_find(v, id);
    if (item == NULL) {
        if (v->count == VECTOR_MAX)
            return TC_EFULL;
        item = &v->items[v->count++];
        memcpy(item->id, id, strlen(id) + 1);
    }
    item->pos = pos;
    return 0;
}

void vector_remove(struct vector *v, const char *id) {
    struct vector_item *item = vector_find(v, id);
    if (item != NULL)
        *item = v->items[--v->count];
}

static int parse_item(struct vector *v, const char *p, size_t n) {
    const char *colon = memchr(p, ':', n);
    char id[TC_ID_MAX + 1];
    struct tc_position pos;
    if (colon == NULL || !tc_id_valid((struct tc_str){p, (size_t)(colon - p)}))
        return TC_ESYNTAX;
    memcpy(id, p, (size_t)(colon - p));
    id[colon - p] = '\0';
    size_t used = (size_t)(colon - p) + 1;
    if (tc_position_parse(colon + 1, n - used, &pos) != 0 || vector_find(v, id) != NULL || vector_set(v, id, pos) != 0)
        return TC_ESYNTAX;
    return 0;
}

int vector_parse(struct vector *v, struct tc_str text) {
    *v = (struct vector){0};
    const char *p = text.p, *end = text.p + text.n;
    for (bool first = true; first || p < end; first = false) {
        const char *stop = memchr(p, '~', (size_t)(end - p));
        size_t n = (size_t)((stop != NULL ? stop : end) - p);
        int err = first ? tc_position_parse(p, n, &v->announced) : parse_item(v, p, n);
        if (err != 0 || (stop != NULL && stop + 1 == end))
            return TC_ESYNTAX;
        p = stop != NULL ? stop + 1 : end;
    }
    return 0;
}

void vector_format(const struct vector *v, struct tc_buf *out) {
    char text[TC_POSITION_MAX];
    tc_buf_append(out, text, tc_position_format(v->announced, text));
    for (size_t i = 0; i < v->count; i++) {
        tc_buf_putc(out, '~');
        tc_buf_puts(out, v->items[i].id);
        tc_buf_putc(out, ':');
        tc_buf_append(out, text, tc_position_format(v->items[i].pos, text));
    }
}
