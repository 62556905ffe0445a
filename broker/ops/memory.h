/* How much memory the process holds, as the kernel that may kill it counts: resident pages. Any thread. */
#ifndef BROKER_OPS_MEMORY_H
#define BROKER_OPS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

uint64_t memory_resident(void); /* bytes; 0 = unknown */
/* Is there room for more, with `max` bytes allowed (0: any)? `full` is the last answer's opposite: who was full has
 * room again only a twentieth below the bound, so that the answer does not flutter. */
bool memory_has_room(uint64_t resident, uint64_t max, bool full);
void memory_give_back(void); /* what was freed, to the kernel */

#endif
