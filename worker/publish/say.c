/* What may be said on a writer: each call checks, counts, and leaves an item in the outbox; append.c takes it from
 * there, at once if it can. No callback is made from in here but on_pressure(true), as the last thing. */
#include "publish/writer.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define NAME_BYTES_MAX 1024U         /* tool ids and names, codes, kinds */
#define NOTE_BYTES_MAX (64U * 1024U) /* a note's text, its data, an error's message, usage */

static int may_say(const struct tc_writer *w) {
    return (w->state == WRITER_LIVE || w->state == WRITER_RECOVERING) && !w->finish_said ? 0 : TC_ESTATE;
}

static int admit(struct tc_writer *w, size_t bytes) {
    int rc = may_say(w);
    if (rc < 0)
        return rc;
    size_t max = w->publisher->opts.max_log_bytes;
    return w->said_bytes > max || bytes > max - w->said_bytes ? TC_ETOOLARGE : 0;
}

/* Something new waits in the outbox. Who says too much hears so at once: told later, by way of the loop, it could hand
 * over all that a fast model server sends meanwhile. */
static void said(struct tc_writer *w, size_t bytes) {
    w->said_bytes += bytes;
    append_next(w);
    writer_press(w);
}

static void count_piece(struct tc_writer *w) {
    if (w->pieces++ == 0)
        w->ttft_ms = tc_writer_age_ms(w);
    w->publisher->stats.pieces++;
}

static int say_event(struct tc_writer *w, const struct tc_event *ev, size_t bytes) {
    int rc = outbox_event(&w->outbox, ev);
    if (rc == 0)
        said(w, bytes);
    return rc;
}

int tc_writer_start(struct tc_writer *w, const char *model, const char *provider) {
    int rc = may_say(w);
    if (rc < 0)
        return rc;
    w->hint_running = true;
    struct tc_event ev = {
        .type = TC_EV_START, .at = tc_now_us(), .model = tc_str_from(model), .provider = tc_str_from(provider)};
    return say_event(w, &ev, 0);
}

int tc_writer_text(struct tc_writer *w, enum tc_kind kind, uint32_t index, struct tc_str text) {
    uint64_t offset;
    int rc = admit(w, text.n);
    if (rc < 0)
        return rc;
    if (kind == TC_KIND_OTHER || !tc_utf8_valid(text))
        return TC_EINVAL;
    if (text.n == 0)
        return 0;
    rc = lengths_add(&w->lengths, kind, index, 0, &offset);
    if (rc < 0)
        return rc;
    rc = outbox_text(&w->outbox, kind, index, offset, text, tc_now_us(), tc_mono_us());
    if (rc < 0)
        return rc;
    rc = lengths_add(&w->lengths, kind, index, tc_utf16_len(text), &offset);
    count_piece(w);
    said(w, text.n);
    return rc;
}

int tc_writer_tool_call(struct tc_writer *w, uint32_t index, struct tc_str id, struct tc_str name,
                        struct tc_str arguments, bool done) {
    int rc = admit(w, arguments.n);
    if (rc < 0)
        return rc;
    if (id.n > NAME_BYTES_MAX || name.n > NAME_BYTES_MAX)
        return TC_ETOOLARGE;
    if (!tc_utf8_valid(id) || !tc_utf8_valid(name) || !tc_utf8_valid(arguments))
        return TC_EINVAL;
    /* Providers say nothing at all for a call without parameters; what a reader parses must be JSON. */
    if (done && arguments.n == 0 && tools_is_empty(&w->tools, index))
        arguments = TC_STR("{}");
    struct tc_event ev = {.type = TC_EV_TOOL_CALL, .at = tc_now_us(), .index = index};
    ev.id = id;
    ev.name = name;
    ev.arguments = arguments;
    ev.done = done;
    rc = tools_append(&w->tools, index, arguments, &ev.offset);
    if (rc < 0)
        return rc;
    if (done)
        rc = tools_finish(&w->tools, index, &ev.invalid);
    if (rc == 0)
        rc = outbox_tool(&w->outbox, &ev);
    if (rc < 0)
        return rc;
    count_piece(w);
    said(w, arguments.n);
    return 0;
}

int tc_writer_note(struct tc_writer *w, const char *kind, struct tc_str text, struct tc_str data_msgpack) {
    int rc = admit(w, text.n + data_msgpack.n);
    if (rc < 0)
        return rc;
    struct tc_event ev = {.type = TC_EV_NOTE, .at = tc_now_us(), .kind_name = tc_str_from(kind)};
    if (text.n > NOTE_BYTES_MAX || data_msgpack.n > NOTE_BYTES_MAX || ev.kind_name.n > NAME_BYTES_MAX)
        return TC_ETOOLARGE;
    if (!tc_utf8_valid(text) || !tc_utf8_valid(ev.kind_name))
        return TC_EINVAL;
    ev.text = text;
    ev.data = data_msgpack;
    return say_event(w, &ev, text.n + data_msgpack.n);
}

int tc_writer_error(struct tc_writer *w, const char *code, struct tc_str message, bool recoverable,
                    uint64_t retry_after_ms) {
    int rc = may_say(w);
    if (rc < 0)
        return rc;
    struct tc_event ev = {.type = TC_EV_ERROR, .at = tc_now_us(), .code = tc_str_from(code)};
    if (ev.code.n > NAME_BYTES_MAX || message.n > NOTE_BYTES_MAX)
        return TC_ETOOLARGE;
    if (!tc_utf8_valid(ev.code) || !tc_utf8_valid(message))
        return TC_EINVAL;
    ev.message = message;
    ev.recoverable = recoverable;
    ev.retry_after_ms = retry_after_ms;
    return say_event(w, &ev, 0);
}

int tc_writer_attempt(struct tc_writer *w, uint64_t try_no, const char *reason, const struct tc_kept *kept,
                      size_t kept_count) {
    const size_t max = w->publisher->opts.max_log_bytes;
    uint64_t offset;
    int rc = may_say(w);
    if (rc < 0)
        return rc;
    if (w->pieces > 0)
        return TC_ESTATE;
    if (kept_count > TC_KEPT_MAX)
        return TC_ETOOLARGE;
    struct tc_event ev = {.type = TC_EV_ATTEMPT, .at = tc_now_us(), .attempt = w->attempt, .try_no = try_no};
    ev.reason = tc_str_from(reason);
    ev.mode = kept_count ? TC_STR("continue") : TC_STR("restart");
    ev.from = w->base;
    memset(&w->lengths, 0, sizeof(w->lengths));
    w->said_bytes = 0;
    for (size_t i = 0; i < kept_count; i++) {
        ev.kept[ev.kept_count++] = kept[i];
        /* Its bytes are not known here; they are not fewer. */
        w->said_bytes += kept[i].length < max ? (size_t)kept[i].length : max;
        enum tc_kind kind = tc_str_is(kept[i].kind, "reasoning") ? TC_KIND_REASONING : TC_KIND_TEXT;
        if (kind == TC_KIND_TEXT && !tc_str_is(kept[i].kind, "text"))
            continue; /* a finished tool call stays as it is: nothing follows it */
        rc = lengths_add(&w->lengths, kind, (uint32_t)kept[i].index, kept[i].length, &offset);
        if (rc < 0)
            return rc;
    }
    w->try_no = try_no;
    return say_event(w, &ev, 0);
}

int tc_writer_finish(struct tc_writer *w, const char *reason, struct tc_str usage_msgpack) {
    int rc = may_say(w);
    if (rc < 0)
        return rc;
    if (usage_msgpack.n > NOTE_BYTES_MAX)
        return TC_ETOOLARGE;
    struct tc_event ev = {.type = TC_EV_DONE, .at = tc_now_us(), .reason = tc_str_from(reason)};
    ev.usage = usage_msgpack;
    ev.has_ttft = w->ttft_ms >= 0;
    ev.ttft_ms = ev.has_ttft ? (uint64_t)w->ttft_ms : 0;
    ev.duration_ms = (uint64_t)tc_writer_age_ms(w);
    ev.text_length = lengths_get(&w->lengths, TC_KIND_TEXT, 0);
    rc = outbox_event(&w->outbox, &ev);
    if (rc < 0)
        return rc;
    snprintf(w->reason, sizeof(w->reason), "%s", reason);
    w->finish_said = w->hint_ended = true;
    w->ended_us = ev.at;
    if (w->state == WRITER_LIVE)
        writer_set_state(w, WRITER_FINISHING);
    append_next(w);
    return 0;
}
