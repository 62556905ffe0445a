/* Sends of many streams in one system call: a ring of Linux's io_uring. What is added goes out at http_batch_submit(),
 * within that call, as http_stream_send() would have sent it. Loop thread; one a loop. NULL is a batch that holds
 * nothing: whoever has one sends by http_stream_send(). */
#ifndef BROKER_HTTP_BATCH_H
#define BROKER_HTTP_BATCH_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct http_batch;
struct http_conn;

/* Told of a send that was not taken whole; `sent` as from http_stream_send(). It may end that stream. */
typedef void (*http_batch_unsent)(void *arg, size_t wanted, ssize_t sent);

/* `streams`: how many may be known to the ring, which spares the kernel looking their descriptors up; more are as good
 * but for that. TC_ENOTSUP: the kernel (5.19 has all it needs), a seccomp profile or this build does not offer it. */
TC_MUST_USE int http_batch_create(struct http_batch **out, size_t streams, http_batch_unsent unsent);
void http_batch_destroy(struct http_batch *b); /* nothing may be held; NULL is ignored */

/* Bytes and arg stay the caller's and must live until the next submit; a full batch submits first. False: nothing was
 * added, the stream is to be sent by itself (no batch, the peer is gone, or the ring has failed). */
bool http_batch_add(struct http_batch *b, struct http_conn *c, const char *data, size_t len, void *arg);
void http_batch_submit(struct http_batch *b);
/* The connection's descriptor is about to be closed: to be called for every one that was added. */
void http_batch_forget(struct http_batch *b, struct http_conn *c);

#endif
