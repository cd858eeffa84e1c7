/* The bodies behind pack.h, written once. The including file has defined, for its instruction set,
 *   NAME(x)                          a name for it
 *   pack_groups(x, groups, bits, out)      groups of 64 elements to `bits` words each
 *   unpack_groups(buf, groups, bits, out)  and back
 *   gather_byte_bits(bytes, words, out)    bit 0 of each of 64 bytes to a word
 *   scatter_byte_bits(in, words, bytes)    and back (pack_groups.h)
 * The plain loops here vectorise for the target that the including file states. */

static inline uint64_t low_mask(unsigned bits) { return ~(uint64_t)0 >> (64 - bits); }

static void NAME(pack)(const uint64_t *x, size_t n, unsigned bits, uint8_t *out) {
    const size_t groups = n / MPC_GROUP, rest = n % MPC_GROUP;
    if (groups) pack_groups(x, groups, bits, out);
    if (!rest) return;
    uint64_t last[MPC_GROUP] = {0}, words[MPC_GROUP];
    memcpy(last, x + groups * MPC_GROUP, 8 * rest);
    pack_groups(last, 1, bits, (uint8_t *)words);
    memcpy(out + groups * 8 * bits, words, (rest * bits + 7) / 8);
}

static void NAME(unpack)(const uint8_t *buf, size_t n, unsigned bits, uint64_t *out) {
    const size_t groups = n / MPC_GROUP, rest = n % MPC_GROUP;
    if (groups) unpack_groups(buf, groups, bits, out);
    if (!rest) return;
    uint64_t last[MPC_GROUP], words[MPC_GROUP] = {0};
    memcpy(words, buf + groups * 8 * bits, (rest * bits + 7) / 8);
    unpack_groups((const uint8_t *)words, 1, bits, last);
    memcpy(out + groups * MPC_GROUP, last, 8 * rest);
}

#define FOR_TILES(n) for (size_t at = 0, m; m = (n) - at < MPC_TILE ? (n) - at : MPC_TILE, at < (n); at += m)
#define PACKED(at, bits) ((at) / 8 * (bits)) /* byte of element `at`, a multiple of a tile */

static void NAME(unpack_add)(const uint8_t *buf, size_t n, unsigned bits, uint64_t *acc) {
    const uint64_t low = low_mask(bits);
    uint64_t tile[MPC_TILE];
    FOR_TILES(n) {
        NAME(unpack)(buf + PACKED(at, bits), m, bits, tile);
        for (size_t i = 0; i < m; i++) acc[at + i] = (acc[at + i] + tile[i]) & low;
    }
}

static void NAME(mask_pack)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                            unsigned bits, uint64_t *masked, uint8_t *packed, uint64_t *mask) {
    FOR_TILES(n) {
        if (!mask) {
            mpc_prg_add(prg, stream, start + at, x + at, m, masked + at, 0);
        } else {
            mpc_prg_words(prg, stream, start + at, m, mask + at);
            for (size_t i = 0; i < m; i++) masked[at + i] = x[at + i] + mask[at + i];
        }
        NAME(pack)(masked + at, m, bits, packed + PACKED(at, bits));
    }
}

static void NAME(share_pack)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *secret, size_t n,
                             unsigned bits, uint8_t *packed) {
    uint64_t tile[MPC_TILE];
    FOR_TILES(n) {
        mpc_prg_sub(prg, stream, start + at, secret + at, m, tile, 0);
        NAME(pack)(tile, m, bits, packed + PACKED(at, bits));
    }
}

#include "planes.inc.h"

const mpc_pack_ops NAME(ops) = {
    NAME(pack),        NAME(unpack),        NAME(unpack_add),        NAME(mask_pack),       NAME(share_pack),
    NAME(planes_pack), NAME(planes_unpack), NAME(planes_unpack_xor), NAME(planes_xor_pack), NAME(bits_to_planes),
    NAME(planes_to_bits),
};
