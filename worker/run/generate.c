/* Tokens from the provider into the log: one generation's run after its writer is open. Loop thread; part of job_run.
 *
 * A takeover says so first (`attempt`), with what it keeps of the text, and the provider goes on behind that.
 *
 * Happy path: start -> provider call -> its sink says everything to the writer -> finish. What fails says so in the
 * log (error, then done); a cancel stops the provider first and tells the log afterwards. */
#include "base/clock.h"
#include "base/log.h"
#include "run/job_run.h"
#include "run/metrics.h"
#include "wire/json.h"

#include <stdio.h>
#include <string.h>

#define NOTE_DATA_MAX 65536 /* bytes, as MessagePack */

void generate_stop(struct job_run *run) {
    if (!run->call)
        return;
    provider_call_free(run->call);
    run->call = NULL;
}

/* The log could not be told (out of memory): others may try. */
static void give_up(struct job_run *run, int err) {
    tc_log(TC_LOG_ERROR, "generation given up", TC_LS("gen", run->gen), TC_LERR(err), TC_LTRACE(&run->trace));
    job_run_end(run, JOB_LEAVE);
}

static void finish(struct job_run *run, const char *reason, json_t *usage) {
    struct tc_buf packed;
    tc_buf_init(&packed, 64 * 1024);
    if (usage)
        tc_json_to_mp(&packed, usage);
    struct tc_str bytes = tc_buf_ok(&packed) ? tc_buf_str(&packed) : (struct tc_str){0};
    snprintf(run->reason, sizeof(run->reason), "%s", reason);
    job_set_state(run, JOB_FINISHING);
    int rc = tc_writer_finish(run->writer, reason, bytes);
    tc_buf_fini(&packed);
    generate_stop(run);
    if (rc < 0)
        give_up(run, rc);
}

static void fail(struct job_run *run, const char *code, const char *message, bool recoverable, uint64_t retry_ms,
                 json_t *usage) {
    tc_log(TC_LOG_WARN, "generation failed", TC_LS("gen", run->gen), TC_LS("code", code), TC_LS("message", message),
           TC_LTRACE(&run->trace));
    int rc = tc_writer_error(run->writer, code, tc_str_from(message), recoverable, retry_ms);
    if (rc < 0)
        rc =
            tc_writer_error(run->writer, code, TC_STR("the upstream's message cannot be shown"), recoverable, retry_ms);
    if (rc < 0)
        give_up(run, rc);
    else
        finish(run, "error", usage);
}

void generate_cancel(struct job_run *run, const char *by) {
    if (!run->cancelled_by)
        run->cancelled_by = by;
    if (run->state != JOB_RUNNING)
        return; /* before: generate_begin sees it; after: it changes nothing */
    generate_stop(run);
    tc_metrics_add(run->env->metrics, METRIC_CANCELS, run->cancelled_by, NULL, 1);
    finish(run, "cancelled", NULL);
}

void generate_pressure(struct job_run *run, bool stop) {
    run->pressed = stop;
    if (!run->call)
        return;
    if (stop)
        provider_call_pause(run->call);
    else
        provider_call_resume(run->call);
}

/* ---- The provider's sink */

/* What a writer's refusal means for a running generation. */
static void check_said(struct job_run *run, int rc) {
    if (rc == 0 || run->state != JOB_RUNNING)
        return;
    if (rc == TC_ETOOLARGE)
        fail(run, "too_large", "the answer is larger than this worker's limit", false, 0, NULL);
    else if (rc == TC_EINVAL)
        fail(run, "upstream_error", "the model server sent text that is not UTF-8", false, 0, NULL);
    else if (rc != TC_ESTATE) /* the writer is lost: on_lost is on its way */
        give_up(run, rc);
}

static void count_piece(struct job_run *run) {
    run->last_us = tc_mono_us();
    if (!run->first_us)
        run->first_us = run->last_us;
}

static void on_begin(void *arg, const char *model) {
    (void)arg;
    (void)model;
}

static void on_wait(void *arg, const char *why, uint64_t delay_ms, int retry) {
    struct job_run *run = arg;
    char text[256];
    struct tc_buf data;
    tc_metrics_add(run->env->metrics, METRIC_UPSTREAM_RETRIES, NULL, NULL, 1);
    tc_log(TC_LOG_WARN, "upstream retry", TC_LS("gen", run->gen), TC_LS("why", why), TC_LI("retry", retry),
           TC_LI("delay_ms", delay_ms), TC_LTRACE(&run->trace));
    snprintf(text, sizeof(text), "The model server cannot answer now (%.100s); trying again in %.1f s", why,
             (double)delay_ms / 1000);
    json_t *value = json_pack("{s:i, s:I}", "retry", retry, "delay_ms", (json_int_t)delay_ms);
    tc_buf_init(&data, 1024);
    if (value)
        tc_json_to_mp(&data, value);
    check_said(run, tc_writer_note(run->writer, "status", tc_str_from(text), tc_buf_str(&data)));
    tc_buf_fini(&data);
    json_decref(value);
}

static void on_text(void *arg, enum tc_kind kind, uint32_t index, struct tc_str text) {
    struct job_run *run = arg;
    count_piece(run);
    check_said(run, tc_writer_text(run->writer, kind, index, text));
}

static void on_tool(void *arg, uint32_t index, struct tc_str id, struct tc_str name, struct tc_str arguments,
                    bool done) {
    struct job_run *run = arg;
    count_piece(run);
    check_said(run, tc_writer_tool_call(run->writer, index, id, name, arguments, done));
}

static void on_note(void *arg, const char *kind, struct tc_str text, json_t *data) {
    struct job_run *run = arg;
    struct tc_buf packed;
    tc_buf_init(&packed, NOTE_DATA_MAX);
    if (data)
        tc_json_to_mp(&packed, data);
    if (tc_buf_ok(&packed))
        check_said(run, tc_writer_note(run->writer, kind, text, tc_buf_str(&packed)));
    else
        tc_log(TC_LOG_WARN, "note left out: its data is too large, or no memory", TC_LS("gen", run->gen),
               TC_LS("kind", kind), TC_LI("max_bytes", NOTE_DATA_MAX), TC_LTRACE(&run->trace));
    tc_buf_fini(&packed);
}

static void begin_anew(struct job_run *run);

static uint64_t tokens_of(const struct job_run *run, const json_t *usage) {
    const json_t *n = json_object_get(usage, "output_tokens");
    if (json_is_integer(n) && json_integer_value(n) >= 0)
        return (uint64_t)json_integer_value(n);
    return tc_writer_pieces(run->writer);
}

static void on_end(void *arg, const struct provider_end *end) {
    struct job_run *run = arg;
    if (run->state != JOB_RUNNING)
        return;
    run->output_tokens = tokens_of(run, end->usage);
    if (end->refused && run->going_on) {
        tc_log(TC_LOG_WARN, "the model server does not go on, asking it anew", TC_LS("gen", run->gen),
               TC_LS("message", end->message), TC_LTRACE(&run->trace));
        begin_anew(run);
        return;
    }
    if (strcmp(end->reason, "error") != 0) {
        finish(run, end->reason, end->usage);
        return;
    }
    const char *code = end->code ? end->code : "upstream_error";
    tc_metrics_add(run->env->metrics, METRIC_UPSTREAM_ERRORS, code, NULL, 1);
    fail(run, code, end->message ? end->message : "the model server failed", end->recoverable, end->retry_after_ms,
         end->usage);
}

/* ---- Beginning */

static void call_provider(struct job_run *run, struct tc_str prefix) {
    static const struct provider_sink sink = {.on_begin = on_begin,
                                              .on_wait = on_wait,
                                              .on_text = on_text,
                                              .on_tool = on_tool,
                                              .on_note = on_note,
                                              .on_end = on_end};
    if (!run->request) {
        fail(run, "bad_request", "the stored request is not JSON", false, 0, NULL);
        return;
    }
    int rc =
        provider_call_start(&run->call, run->env->provider, run->request, prefix, run->gen, &run->trace, &sink, run);
    run->going_on = prefix.n > 0;
    if (rc < 0) {
        run->call = NULL;
        fail(run, rc == TC_EINVAL ? "bad_request" : "upstream_error", tc_strerror(rc), rc != TC_EINVAL, 0, NULL);
    } else if (run->pressed) {
        provider_call_pause(run->call);
    }
}

/* Readers were told at once that the text goes on, so that a takeover that waits for its model server does not look
 * dead; nothing wrong was shown by that. Now they are told that it does not. */
static void begin_anew(struct job_run *run) {
    generate_stop(run);
    int rc = tc_writer_attempt(run->writer, run->tries, "continue_refused", NULL, 0);
    tc_metrics_add(run->env->metrics, METRIC_TAKEOVERS, "restart", NULL, 1);
    if (rc < 0)
        give_up(run, rc);
    else
        call_provider(run, TC_STR(""));
}

static const char *attempt_reason(const struct job_run *run) {
    if (run->reopened > 0)
        return "log_lost";
    return run->deliveries > 1 ? "worker_lost" : "handed_back";
}

static int say_attempt(struct job_run *run, struct tc_str *prefix) {
    struct past_keeps keeps = {0};
    const char *why = "the client wants it so";
    bool goes_on =
        run->on_crash == CRASH_CONTINUE && past_keep(&run->recall.past, run->env->provider, run->request, &keeps, &why);
    const char *mode = goes_on ? "continue" : "restart";
    tc_log(TC_LOG_INFO, "taken over", TC_LS("gen", run->gen), TC_LS("reason", attempt_reason(run)), TC_LS("mode", mode),
           TC_LS("why", goes_on ? "" : why), TC_LI("kept_bytes", keeps.text.n), TC_LI("deliveries", run->deliveries),
           TC_LI("attempt", run->tries), TC_LTRACE(&run->trace));
    tc_metrics_add(run->env->metrics, METRIC_TAKEOVERS, mode, NULL, 1);
    *prefix = keeps.text;
    return tc_writer_attempt(run->writer, run->tries, attempt_reason(run), keeps.kept, keeps.kept_count);
}

/* Some generations are over as soon as somebody looks at them; what was said of them stays. */
static bool is_over(struct job_run *run, bool takeover) {
    bool crashed = takeover && run->deliveries > 1 && run->reopened == 0;
    if (takeover && run->recall.past.error_is_end)
        finish(run, "error", NULL); /* the one before died between the two */
    else if (run->deliveries > (uint64_t)run->env->opts->max_attempts)
        fail(run, "too_many_attempts", "every worker that tried this generation failed", false, 0, NULL);
    else if (crashed && run->on_crash == CRASH_FAIL)
        fail(run, "worker_lost", "the worker of this generation was lost", true, 0, NULL);
    else if (run->cancelled_by)
        generate_cancel(run, run->cancelled_by);
    else
        return false;
    return true;
}

void generate_begin(struct job_run *run, bool takeover) {
    struct tc_str prefix = TC_STR("");
    int rc = 0;
    run->began_us = tc_mono_us();
    run->first_us = run->last_us = run->output_tokens = 0;
    run->pressed = false;
    if (run->abandon_ms >= 0)
        lease_watch_viewers(&run->lease, run->env->opts->prefix, run->gen, run->abandon_ms);
    if (is_over(run, takeover))
        return;
    if (takeover)
        rc = say_attempt(run, &prefix);
    if (rc == 0)
        rc = tc_writer_start(run->writer, run->model, provider_kind(run->env->provider));
    if (rc < 0)
        give_up(run, rc);
    else
        call_provider(run, prefix);
}

/* ---- The end */

void generate_report(struct job_run *run) {
    struct tc_metrics *m = run->env->metrics;
    const char *model = run->model[0] ? run->model : "unknown";
    int64_t ttft = tc_writer_ttft_ms(run->writer);
    uint64_t pieces = tc_writer_pieces(run->writer);
    uint64_t tokens = run->output_tokens ? run->output_tokens : pieces;
    double seconds = run->last_us > run->first_us ? (double)(run->last_us - run->first_us) * 1e-6 : 0;
    tc_metrics_add(m, METRIC_FINISHED, run->reason, NULL, 1);
    tc_metrics_add(m, METRIC_OUTPUT_TOKENS, model, NULL, (double)tokens);
    if (ttft >= 0)
        tc_metrics_observe(m, METRIC_TTFT, model, NULL, (double)ttft * 1e-3);
    if (tokens > 1 && seconds > 0)
        tc_metrics_observe(m, METRIC_PER_TOKEN, model, NULL, seconds / (double)(tokens - 1));
    tc_log(TC_LOG_INFO, "generation finished", TC_LS("gen", run->gen), TC_LS("model", model),
           TC_LS("provider", provider_kind(run->env->provider)), TC_LS("reason", run->reason), TC_LI("ttft_ms", ttft),
           TC_LI("duration_ms", tc_writer_age_ms(run->writer)), TC_LI("tokens", tokens),
           TC_LF("tokens_per_s", seconds > 0 ? (double)(tokens > 0 ? tokens - 1 : 0) / seconds : 0),
           TC_LI("attempt", run->tries), TC_LTRACE(&run->trace));
}
