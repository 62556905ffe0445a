/* What the dialects' request builders share: the posted request read without trust. Pure. */
#ifndef WORKER_PROVIDER_REQUEST_H
#define WORKER_PROVIDER_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The posted `messages`, or `prompt` as one user message; a new reference, NULL if there is neither. */
json_t *request_messages(const json_t *request);

/* The model to ask for: the request's, else `fallback`; NULL if there is none. Borrowed. */
const char *request_model(const json_t *request, const char *fallback);

/* A new object with the members of `options`, but for those named in `without` (ended by NULL) and null ones. */
json_t *request_options(const json_t *request, const char *const *without);

/* Parallel answers that the options ask for (`n`), at least 1. */
uint32_t request_choices(const json_t *request);

#endif
