/* A source with subscribers over connections that take as many bytes as a test lets them: the fan, its log, and what
 * stands for http/ and for a catch-up. */
#ifndef TESTS_BROKER_SUB_FIXTURE_H
#define TESTS_BROKER_SUB_FIXTURE_H

#include "feed/fan.h"
#include "feed/hub.h"
#include "feed/sub.h"
#include "feed_events.h"

#define LAST_MAX 3000

/* The part of http/ that subscribers use. */
struct http_conn {
    size_t room; /* bytes it takes before it is full */
    struct tc_buf got;
    bool wants, ended, clean, dead;
    void *arg;
};

extern struct hub hub;
extern struct fan fan;
extern struct made_event events[LAST_MAX + 1]; /* by seq, from 1 */
extern uint64_t last;
extern unsigned seed; /* of draw() */

void cut_off(struct sub *s, void *arg);
int in_batches(void **state); /* group set-up: from now on live bytes go out in batches */
int before_each(void **state);
int after_each(void **state);
unsigned draw(unsigned below);
struct sub *join(struct http_conn *c, enum sub_policy policy, enum pace pace);
void turn(void);
void say(const struct tc_event *ev);
void lose(uint64_t from); /* a failover takes the log's end; the readers start over */
uint64_t offset_of(uint64_t seq);
void say_deltas(unsigned n);
void finish(void);
void give_room(struct http_conn *c, size_t room);

#endif
