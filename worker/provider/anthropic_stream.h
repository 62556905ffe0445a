/* Reading Anthropic Messages, streamed and whole. Pure. */
#ifndef WORKER_PROVIDER_ANTHROPIC_STREAM_H
#define WORKER_PROVIDER_ANTHROPIC_STREAM_H

#include "provider/answer.h"

void anthropic_stream_event(struct answer *a, struct tc_str name, struct tc_str data);
void anthropic_stream_whole(struct answer *a, const json_t *root);

#endif
