/* An intrusive doubly linked list with a sentinel: a node removes itself without knowing its list, which makes it safe
 * to remove any node, also the current one's neighbours, from a callback. Zeroed nodes count as not linked. */
#ifndef TC_BASE_LIST_H
#define TC_BASE_LIST_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>

struct tc_list {
    struct tc_list *prev, *next;
};

static inline void tc_list_init(struct tc_list *head) {
    head->prev = head->next = head;
}

static inline bool tc_list_empty(const struct tc_list *head) {
    return head->next == head || head->next == NULL;
}

static inline bool tc_list_linked(const struct tc_list *node) {
    return node->next != NULL;
}

static inline void tc_list_add_tail(struct tc_list *head, struct tc_list *node) {
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void tc_list_remove(struct tc_list *node) {
    if (node->next == NULL)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

/* Moves every node of `from` to the empty list `to`, so that a walk over `to` cannot meet nodes added meanwhile. */
static inline void tc_list_move(struct tc_list *from, struct tc_list *to) {
    tc_list_init(to);
    if (tc_list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    tc_list_init(from);
}

#endif
