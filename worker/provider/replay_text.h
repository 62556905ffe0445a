/* What the replay provider says when nobody gave it a text. */
#ifndef WORKER_PROVIDER_REPLAY_TEXT_H
#define WORKER_PROVIDER_REPLAY_TEXT_H

extern const char replay_text[]; /* UTF-8 */

#endif
