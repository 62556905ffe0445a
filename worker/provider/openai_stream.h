/* Reading OpenAI Chat Completions as the field's servers send it: OpenAI, vLLM, TGI, Ollama, llama.cpp and their kin,
 * with what each does differently. Pure. */
#ifndef WORKER_PROVIDER_OPENAI_STREAM_H
#define WORKER_PROVIDER_OPENAI_STREAM_H

#include "provider/answer.h"

void openai_stream_event(struct answer *a, struct tc_str name, struct tc_str data);
void openai_stream_whole(struct answer *a, const json_t *root);

#endif
