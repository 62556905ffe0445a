/* Text lengths of one generation by kind and index. A linear table: nearly always one or two rows. */
#include "publish/lengths.h"

#include "tokencast/error.h"

static size_t find(const struct lengths *l, enum tc_kind kind, uint32_t index) {
    size_t i = 0;
    while (i < l->count && (l->rows[i].kind != kind || l->rows[i].index != index))
        i++;
    return i;
}

int lengths_add(struct lengths *l, enum tc_kind kind, uint32_t index, uint64_t units, uint64_t *offset) {
    size_t i = find(l, kind, index);
    if (i == LENGTHS_MAX)
        return TC_ETOOLARGE;
    if (i == l->count) {
        l->rows[i].kind = kind;
        l->rows[i].index = index;
        l->rows[i].units = 0;
        l->count++;
    }
    *offset = l->rows[i].units;
    l->rows[i].units += units;
    return 0;
}

uint64_t lengths_get(const struct lengths *l, enum tc_kind kind, uint32_t index) {
    size_t i = find(l, kind, index);
    return i < l->count ? l->rows[i].units : 0;
}
