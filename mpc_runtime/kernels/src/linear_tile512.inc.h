/* What the AVX-512 variants of 64 and of 52 bits have in common: all but the multiplication, acc_mac. */

#include "linear_vec512.inc.h"

#define ROWS 8
#define VECS 3
#define LHS_WORDS 1

typedef vec lhs, lanes, acc;

OP acc acc_mac(acc c, lhs a, vec b);

OP lhs lhs_packed(const uint64_t *p) { return _mm512_set1_epi64((long long)*p); }
OP lhs lhs_plain(const uint64_t *p) { return _mm512_set1_epi64((long long)*p); }
OP acc acc_zero(void) { return _mm512_setzero_si512(); }
OP vec acc_total(acc c) { return c; }
OP lanes lanes_of(vec v) { return v; }
OP acc acc_mac_lanes(acc c, lanes a, vec b) { return acc_mac(c, a, b); }
