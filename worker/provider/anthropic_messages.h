/* Turning what the field writes (OpenAI's shapes) into Anthropic's: messages and tools. What already is in Anthropic's
 * shape passes through. Pure. */
#ifndef WORKER_PROVIDER_ANTHROPIC_MESSAGES_H
#define WORKER_PROVIDER_ANTHROPIC_MESSAGES_H

#include <jansson.h>

/* A new list of messages without the system ones, whose text is appended to *system (a string or an array of blocks;
 * NULL = none yet; owned by the caller). */
json_t *anthropic_messages(const json_t *messages, json_t **system);

json_t *anthropic_tools(const json_t *tools);  /* a new list */
json_t *anthropic_tool_choice(json_t *choice); /* a new reference; NULL: leave it out */

#endif
