/* Pieces that wait to become entries. Owned by one writer. While an append is in flight everything said meanwhile
 * gathers here, so that entries grow by themselves when Redis is slow. */
#include "publish/outbox.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define SPARE_MAX 1024 /* bytes that an item in reserve may hold */

enum item_kind { ITEM_TEXT, ITEM_TOOL, ITEM_EVENT };

struct outbox_item {
    struct outbox_item *next;
    enum item_kind what;
    enum tc_kind kind; /* ITEM_TEXT */
    uint64_t index;
    uint64_t offset;        /* of the first byte that waits */
    int64_t at;             /* of the first piece, Unix microseconds */
    uint64_t since_us;      /* of the first piece, monotonic */
    uint64_t pieces;        /* merged in here */
    struct tc_buf body;     /* text, arguments, or the encoded event … */
    size_t from;            /* … and how many bytes of it are dropped: never more than what follows them */
    struct tc_buf id, name; /* ITEM_TOOL; each said once */
    bool done, invalid;     /* ITEM_TOOL */
};

void outbox_init(struct outbox *o, uint64_t flush_pieces, uint64_t flush_us) {
    memset(o, 0, sizeof(*o));
    o->flush_pieces = flush_pieces;
    o->flush_us = flush_us;
}

static void item_free(struct outbox_item *it) {
    tc_buf_fini(&it->body);
    tc_buf_fini(&it->id);
    tc_buf_fini(&it->name);
    free(it);
}

void outbox_fini(struct outbox *o) {
    while (o->head) {
        struct outbox_item *it = o->head;
        o->head = it->next;
        item_free(it);
    }
    if (o->spare)
        item_free(o->spare);
    memset(o, 0, sizeof(*o));
}

bool outbox_is_empty(const struct outbox *o) {
    return o->head == NULL;
}

static struct outbox_item *item_create(struct outbox *o, enum item_kind what, uint64_t index, uint64_t offset,
                                       int64_t at) {
    struct outbox_item *it = o->spare ? o->spare : calloc(1, sizeof(*it));
    if (!it)
        return NULL;
    o->spare = NULL;
    it->what = what;
    it->index = index;
    it->offset = offset;
    it->at = at;
    return it;
}

/* Keeps a small text's item, and its memory, for the next one. */
static void item_done(struct outbox *o, struct outbox_item *it) {
    if (o->spare || it->what != ITEM_TEXT || it->body.cap > SPARE_MAX) {
        item_free(it);
        return;
    }
    struct tc_buf body = it->body;
    tc_buf_reset(&body);
    *it = (struct outbox_item){.body = body};
    o->spare = it;
}

static void link_item(struct outbox *o, struct outbox_item *it) {
    if (o->tail)
        o->tail->next = it;
    else
        o->head = it;
    o->tail = it;
    o->bytes += it->body.len;
}

/* Adds to a body that was whole before: on failure it is again. */
static int extend(struct tc_buf *body, struct tc_str piece) {
    tc_buf_put_str(body, piece);
    if (tc_buf_ok(body))
        return 0;
    body->failed = false;
    return TC_ENOMEM;
}

int outbox_text(struct outbox *o, enum tc_kind kind, uint32_t index, uint64_t offset, struct tc_str text, int64_t at_us,
                uint64_t now_us) {
    struct outbox_item *it = o->tail;
    bool merges = it && it->what == ITEM_TEXT && it->kind == kind && it->index == index;
    if (!merges) {
        it = item_create(o, ITEM_TEXT, index, offset, at_us);
        if (!it)
            return TC_ENOMEM;
        it->kind = kind;
        it->since_us = now_us;
    }
    int rc = extend(&it->body, text);
    if (rc < 0) {
        if (!merges)
            item_free(it);
        return rc;
    }
    it->pieces++;
    if (merges)
        o->bytes += text.n;
    else
        link_item(o, it);
    return 0;
}

/* A piece joins the one before unless that is done, or it brings an id or a name that the other already has. */
static bool tool_merges(const struct outbox_item *it, const struct tc_event *ev) {
    return it && it->what == ITEM_TOOL && it->index == ev->index && !it->done && !(ev->id.n && it->id.len) &&
           !(ev->name.n && it->name.len);
}

int outbox_tool(struct outbox *o, const struct tc_event *ev) {
    struct outbox_item *it = o->tail;
    bool merges = tool_merges(it, ev);
    if (!merges && !(it = item_create(o, ITEM_TOOL, ev->index, ev->offset, ev->at)))
        return TC_ENOMEM;
    size_t id_before = it->id.len, name_before = it->name.len;
    int rc = extend(&it->id, ev->id);
    if (rc == 0)
        rc = extend(&it->name, ev->name);
    if (rc == 0)
        rc = extend(&it->body, ev->arguments);
    if (rc < 0) {
        it->id.len = id_before;
        it->name.len = name_before;
        if (!merges)
            item_free(it);
        return rc;
    }
    it->pieces++;
    it->done = ev->done;
    it->invalid = ev->invalid;
    if (merges)
        o->bytes += ev->arguments.n;
    else
        link_item(o, it);
    return 0;
}

int outbox_event(struct outbox *o, const struct tc_event *ev) {
    struct outbox_item *it = item_create(o, ITEM_EVENT, 0, 0, ev->at);
    if (!it)
        return TC_ENOMEM;
    tc_event_encode(&it->body, ev);
    if (!tc_buf_ok(&it->body)) {
        item_free(it);
        return TC_ENOMEM;
    }
    link_item(o, it);
    return 0;
}

uint64_t outbox_wait(const struct outbox *o, uint64_t now_us) {
    const struct outbox_item *it = o->head;
    bool may_grow = it == o->tail && it->what == ITEM_TEXT && it->body.len - it->from < OUTBOX_ENTRY_MAX;
    if (!may_grow || !o->sent_text || it->pieces >= o->flush_pieces)
        return 0;
    uint64_t age = now_us - it->since_us;
    return age >= o->flush_us ? 0 : o->flush_us - age;
}

/* What waits of an item. */
static struct tc_str rest_of(const struct outbox_item *it) {
    return (struct tc_str){it->body.data + it->from, it->body.len - it->from};
}

/* What goes next of an item: all of it, or of a long text the longest prefix of whole characters that fits. */
static struct tc_str chunk_of(const struct outbox_item *it) {
    struct tc_str all = rest_of(it);
    if (it->what == ITEM_EVENT || all.n <= OUTBOX_ENTRY_MAX)
        return all;
    return (struct tc_str){all.p, tc_utf8_complete((struct tc_str){all.p, OUTBOX_ENTRY_MAX})};
}

static void encode(const struct outbox_item *it, struct tc_str chunk, struct tc_buf *out) {
    bool whole = chunk.n == rest_of(it).n;
    struct tc_event ev = {.at = it->at, .offset = it->offset, .index = it->index};
    if (it->what == ITEM_TEXT) {
        ev.type = TC_EV_DELTA;
        ev.kind = it->kind;
        ev.text = chunk;
    } else {
        ev.type = TC_EV_TOOL_CALL;
        ev.id = tc_buf_str(&it->id);
        ev.name = tc_buf_str(&it->name);
        ev.arguments = chunk;
        ev.done = it->done && whole;
        ev.invalid = it->invalid && whole;
    }
    tc_event_encode(out, &ev);
}

int outbox_peek(const struct outbox *o, struct tc_buf *out) {
    const struct outbox_item *it = o->head;
    tc_buf_reset(out);
    if (it->what == ITEM_EVENT)
        tc_buf_put_str(out, tc_buf_str(&it->body));
    else
        encode(it, chunk_of(it), out);
    return tc_buf_ok(out) ? 0 : TC_ENOMEM;
}

/* What was dropped makes room only when it is at least as long as what is moved: an item of any size costs one move of
 * each byte at most, and holds no more than twice what waits. */
static void drop_front(struct outbox *o, struct outbox_item *it, size_t n) {
    it->from += n;
    if (it->from < it->body.len - it->from)
        return;
    tc_buf_consume(&it->body, it->from);
    it->from = 0;
    o->moved += it->body.len;
}

void outbox_drop(struct outbox *o) {
    struct outbox_item *it = o->head;
    struct tc_str chunk = chunk_of(it);
    o->bytes -= chunk.n;
    o->sent_text |= it->what == ITEM_TEXT;
    if (chunk.n < rest_of(it).n) {
        it->offset += tc_utf16_len(chunk);
        drop_front(o, it, chunk.n);
        tc_buf_reset(&it->id);
        tc_buf_reset(&it->name);
        return;
    }
    o->head = it->next;
    if (!o->head)
        o->tail = NULL;
    item_done(o, it);
}
