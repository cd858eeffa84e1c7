/* Words packed to their bits, and bit planes, as they go over the wire; fused with the expansion of a stream.
 *
 * Words: element i stands at bits [i bits, (i + 1) bits) of the buffer, little-endian, 1 <= bits <= 64; 64 elements fill
 * `bits` whole words. Packing takes the low bits, so it reduces mod 2^bits.
 * Planes: u64[blocks][P][8], blocks of 512 elements; bit e % 64 of word [e / 512][p][e / 64 % 8] is plane p of element e.
 * On the wire a plane of the last block is cut to its ceil(m / 8) bytes of m elements; the bits beyond n are unspecified.
 *
 * One table of functions per level (cpu.h). No function checks its arguments, allocates, or touches Python. */
#ifndef MPC_PACK_H
#define MPC_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "aes.h"

enum { MPC_GROUP = 64, MPC_TILE = 512 }; /* elements; a tile of words is 4 KiB: source, stream and result stay in L1 */

typedef struct mpc_pack_ops {
    void (*pack)(const uint64_t *x, size_t n, unsigned bits, uint8_t *out);
    void (*unpack)(const uint8_t *buf, size_t n, unsigned bits, uint64_t *out);
    void (*unpack_add)(const uint8_t *buf, size_t n, unsigned bits, uint64_t *acc);
    /* masked = x + W, packed = masked mod 2^bits; mask = W unless it is NULL; W = words start... of the stream */
    void (*mask_pack)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n, unsigned bits,
                      uint64_t *masked, uint8_t *packed, uint64_t *mask);
    /* packed = secret - W mod 2^bits */
    void (*share_pack)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *secret, size_t n,
                       unsigned bits, uint8_t *packed);
    void (*planes_pack)(const uint64_t *planes, size_t n, size_t P, uint8_t *out);
    void (*planes_unpack)(const uint8_t *buf, size_t n, size_t P, uint64_t *planes);
    void (*planes_unpack_xor)(const uint8_t *buf, size_t n, size_t P, uint64_t *acc);
    /* masked = planes ^ W, unless masked is NULL; packed = that, packed; W = words first... of the stream */
    void (*planes_xor_pack)(const mpc_prg *prg, uint64_t stream, uint64_t first, const uint64_t *planes, size_t n,
                            size_t P, uint64_t *masked, uint8_t *packed);
    void (*bits_to_planes)(const uint8_t *bits, size_t n, uint64_t *planes);
    void (*planes_to_bits)(const uint64_t *planes, size_t n, size_t P, size_t plane, uint8_t *bits);
} mpc_pack_ops;

/* The best table that a set of features (cpu.h) allows. */
const mpc_pack_ops *mpc_pack_table(unsigned features);

#endif
