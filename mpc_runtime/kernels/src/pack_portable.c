/* Packing for every CPU. */
#include "pack_groups.h"

#define NAME(x) mpc_pack_portable_##x
#define pack_groups mpc_pack_groups
#define unpack_groups mpc_unpack_groups

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

#include "pack.inc.h"
