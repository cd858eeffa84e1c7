/* The bit-sliced cipher over WORD, a 64-bit word or a vector of them; q[i] holds bit i of every byte. */

#define SWAP(x, y, low, shift)                                                                                         \
    do {                                                                                                               \
        WORD a = (x), b = (y);                                                                                         \
        (x) = (a & (uint64_t)(low)) | ((b & (uint64_t)(low)) << (shift));                                              \
        (y) = ((a & ~(uint64_t)(low)) >> (shift)) | (b & ~(uint64_t)(low));                                            \
    } while (0)

/* Bytes to bit slices and back: the transposition of 8 x 8 bit matrices, its own inverse. */
static inline void SLICED_NAME(transpose)(WORD q[8]) {
    for (int i = 0; i < 8; i += 2) SWAP(q[i], q[i + 1], 0x5555555555555555, 1);
    for (int i = 0; i < 8; i += 4) {
        SWAP(q[i], q[i + 2], 0x3333333333333333, 2);
        SWAP(q[i + 1], q[i + 3], 0x3333333333333333, 2);
    }
    for (int i = 0; i < 4; i++) SWAP(q[i], q[i + 4], 0x0f0f0f0f0f0f0f0f, 4);
}

static inline void SLICED_NAME(sub_bytes)(WORD q[8]) {
    WORD x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];

    /* top linear layer */
    WORD y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    WORD y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1;
    WORD y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    WORD y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

    /* inversion in GF(2^8) through GF(2^4) */
    WORD t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2, t7 = y13 & y16, t9 = (y5 & y1) ^ t7;
    WORD t11 = (y2 & y7) ^ t7, t12 = y9 & y11, t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
    WORD t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19, t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
    WORD t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22;
    WORD t30 = t23 ^ t24, t31 = t22 ^ t26, t33 = (t31 & t30) ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33;
    WORD t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36, t40 = t25 ^ (t29 & t38);
    WORD t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
    WORD z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7;
    WORD z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4;
    WORD z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    /* bottom linear layer, with the affine constant 0x63 */
    WORD t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    WORD t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    WORD t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    WORD t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, t67 = t64 ^ t65, s3 = t53 ^ t66;
    q[7] = t59 ^ t63;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~t67;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
}

static inline void SLICED_NAME(shift_rows)(WORD q[8]) {
    for (int i = 0; i < 8; i++) {
        WORD x = q[i];
        q[i] = (x & (uint64_t)0x000000000000ffff) | ((x & (uint64_t)0x00000000fff00000) >> 4) |
               ((x & (uint64_t)0x00000000000f0000) << 12) | ((x & (uint64_t)0x0000ff0000000000) >> 8) |
               ((x & (uint64_t)0x000000ff00000000) << 8) | ((x & (uint64_t)0xf000000000000000) >> 12) |
               ((x & (uint64_t)0x0fff000000000000) << 4);
    }
}

static inline void SLICED_NAME(mix_columns)(WORD q[8]) {
    WORD next[8], sum[8]; /* the byte one row down, and its sum with this one */
    for (int i = 0; i < 8; i++) {
        next[i] = (q[i] >> 16) | (q[i] << 48);
        sum[i] = q[i] ^ next[i];
    }
    for (int i = 0; i < 8; i++) {
        WORD doubled = i ? sum[i - 1] : sum[7];
        if (i == 1 || i == 3 || i == 4) doubled ^= sum[7]; /* reduction by x^8 + x^4 + x^3 + x + 1 */
        q[i] = doubled ^ next[i] ^ ((sum[i] << 32) | (sum[i] >> 32));
    }
}

static inline void SLICED_NAME(add_round_key)(WORD q[8], const uint64_t k[8]) {
    for (int i = 0; i < 8; i++) q[i] ^= k[i];
}

static inline void SLICED_NAME(encrypt)(WORD q[8], const mpc_aes_key *key) {
    SLICED_NAME(add_round_key)(q, key->sliced[0]);
    for (int r = 1; r < 10; r++) {
        SLICED_NAME(sub_bytes)(q);
        SLICED_NAME(shift_rows)(q);
        SLICED_NAME(mix_columns)(q);
        SLICED_NAME(add_round_key)(q, key->sliced[r]);
    }
    SLICED_NAME(sub_bytes)(q);
    SLICED_NAME(shift_rows)(q);
    SLICED_NAME(add_round_key)(q, key->sliced[10]);
}

/* Little-endian 32-bit columns w[0..3] of a block, zero-extended, into two words of one slot, and back. */
static inline void SLICED_NAME(spread)(const WORD w[4], WORD *even, WORD *odd) {
    WORD x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = (w[i] | (w[i] << 16)) & (uint64_t)0x0000ffff0000ffff;
        x[i] = (x[i] | (x[i] << 8)) & (uint64_t)0x00ff00ff00ff00ff;
    }
    *even = x[0] | (x[2] << 8);
    *odd = x[1] | (x[3] << 8);
}

static inline void SLICED_NAME(unspread)(const WORD *even, const WORD *odd, WORD w[4]) {
    w[0] = *even, w[1] = *odd, w[2] = *even >> 8, w[3] = *odd >> 8;
    for (int i = 0; i < 4; i++) {
        WORD x = w[i] & (uint64_t)0x00ff00ff00ff00ff;
        x = (x | (x >> 8)) & (uint64_t)0x0000ffff0000ffff;
        w[i] = (x | (x >> 16)) & (uint64_t)0x00000000ffffffff;
    }
}
