/* Packing in plain C: 64 elements are `bits` words, and with `bits` a constant every shift is one.
 * The width is a template argument: one switch, 64 instances, each fully unrolled; about one element a cycle, which a
 * vector unit without a byte permutation across its lanes does not beat. */
#include "pack_groups.h"

#define INSTANCES(CASE)                                                                                                \
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)        \
    CASE(14) CASE(15) CASE(16) CASE(17) CASE(18) CASE(19) CASE(20) CASE(21) CASE(22) CASE(23) CASE(24) CASE(25)        \
    CASE(26) CASE(27) CASE(28) CASE(29) CASE(30) CASE(31) CASE(32) CASE(33) CASE(34) CASE(35) CASE(36) CASE(37)        \
    CASE(38) CASE(39) CASE(40) CASE(41) CASE(42) CASE(43) CASE(44) CASE(45) CASE(46) CASE(47) CASE(48) CASE(49)        \
    CASE(50) CASE(51) CASE(52) CASE(53) CASE(54) CASE(55) CASE(56) CASE(57) CASE(58) CASE(59) CASE(60) CASE(61)        \
    CASE(62) CASE(63) CASE(64)

static inline __attribute__((always_inline)) void pack_width(const uint64_t *x, size_t groups, const unsigned bits,
                                                             uint8_t *out) {
    const uint64_t low = ~(uint64_t)0 >> (64 - bits);
    for (; groups; groups--, x += MPC_GROUP) {
        uint64_t word = 0;
#pragma GCC unroll 64
        for (unsigned i = 0; i < MPC_GROUP; i++) {
            const unsigned shift = i * bits % 64;
            const uint64_t v = x[i] & low;
            word |= v << shift;
            if (shift + bits < 64) continue;
            memcpy(out, &word, 8);
            out += 8;
            word = shift + bits > 64 ? v >> (64 - shift) : 0;
        }
    }
}

static inline __attribute__((always_inline)) void unpack_width(const uint8_t *buf, size_t groups, const unsigned bits,
                                                               uint64_t *out) {
    const uint64_t low = ~(uint64_t)0 >> (64 - bits);
    for (; groups; groups--, out += MPC_GROUP) {
        uint64_t word = 0;
#pragma GCC unroll 64
        for (unsigned i = 0; i < MPC_GROUP; i++) {
            const unsigned shift = i * bits % 64;
            uint64_t v = shift ? word >> shift : 0;
            if (shift == 0 || shift + bits > 64) {
                memcpy(&word, buf, 8);
                buf += 8;
                v |= word << ((64 - shift) % 64);
            }
            out[i] = v & low;
        }
    }
}

void mpc_pack_groups(const uint64_t *x, size_t groups, unsigned bits, uint8_t *out) {
    switch (bits) {
#define CASE(l) case l: pack_width(x, groups, l, out); break;
        INSTANCES(CASE)
#undef CASE
    }
}

void mpc_unpack_groups(const uint8_t *buf, size_t groups, unsigned bits, uint64_t *out) {
    switch (bits) {
#define CASE(l) case l: unpack_width(buf, groups, l, out); break;
        INSTANCES(CASE)
#undef CASE
    }
}
