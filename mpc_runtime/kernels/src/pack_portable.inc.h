/* Packing in plain C: 64 elements are `bits` words, and with `bits` a constant every shift is one.
 * The width is a template argument: one switch, 64 instances, each fully unrolled. */

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

static void pack_groups(const uint64_t *x, size_t groups, unsigned bits, uint8_t *out) {
    switch (bits) {
#define CASE(l) case l: pack_width(x, groups, l, out); break;
        INSTANCES(CASE)
#undef CASE
    }
}

static void unpack_groups(const uint8_t *buf, size_t groups, unsigned bits, uint64_t *out) {
    switch (bits) {
#define CASE(l) case l: unpack_width(buf, groups, l, out); break;
        INSTANCES(CASE)
#undef CASE
    }
}

/* A product gathers or spreads eight bits of a 64-bit word at once. */
static void gather_byte_bits(const uint8_t *bytes, size_t words, uint64_t *out) {
    for (size_t w = 0; w < words; w++) {
        uint64_t word = 0;
        for (int j = 0; j < 8; j++) {
            uint64_t eight;
            memcpy(&eight, bytes + 64 * w + 8 * j, 8);
            word |= ((eight & 0x0101010101010101) * 0x0102040810204080 >> 56) << (8 * j);
        }
        out[w] = word;
    }
}

static void scatter_byte_bits(const uint64_t *in, size_t words, uint8_t *bytes) {
    for (size_t w = 0; w < words; w++)
        for (int j = 0; j < 8; j++) {
            uint64_t eight = ((in[w] >> (8 * j)) & 0xff) * 0x0101010101010101 & 0x8040201008040201;
            eight = (eight + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
            memcpy(bytes + 64 * w + 8 * j, &eight, 8);
        }
}
