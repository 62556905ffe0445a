/* Words for the scripts of the model server in upstream_server.h, and one that answers well. */
#ifndef TESTS_SUPPORT_UPSTREAM_SCRIPT_H
#define TESTS_SUPPORT_UPSTREAM_SCRIPT_H

#include "upstream_server.h"

#define HEAD                        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define CLOSED                      HEAD "Connection: close\r\n\r\n"
#define CHUNKED                     HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define TEXT(t)                     "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define STOP                        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE                       "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n"
#define DONE                        "data: [DONE]\n\n"
#define REFUSAL(status, more, body) "HTTP/1.1 " status "\r\n" more "Connection: close\r\n\r\n" body

#define SCRIPT(name, ...) static const struct upstream_step name[] = {__VA_ARGS__, {UPSTREAM_END, NULL, 0}}
#define SEND(b)                                                                                                        \
    { UPSTREAM_SEND, b, 0 }
#define CHUNK(b)                                                                                                       \
    { UPSTREAM_CHUNK, b, 0 }
#define WAIT(ms)                                                                                                       \
    { UPSTREAM_WAIT, NULL, ms }
#define FIN                                                                                                            \
    { UPSTREAM_FIN, NULL, 0 }
#define HANG                                                                                                           \
    { UPSTREAM_HANG, NULL, 0 }
#define RESET                                                                                                          \
    { UPSTREAM_RESET, NULL, 0 }

SCRIPT(good, SEND(CLOSED TEXT("Hi") STOP USAGE DONE), FIN);

#endif
