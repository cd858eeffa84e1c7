/* The comparison kernels, written once: a wrapper defines LANES (64-bit words of a vector: 2, 4 or 8), KERNELS (the
 * name of the table at the end), opens the target and includes this file. Protocol: one-hot digits and masked
 * monomials; letters l, e (hats), lambda, kappa (masks) as there. */
#include <string.h>

#include "compare.h"

/* aligned(8): planes come from anybody's arrays. may_alias: they are read as words elsewhere. */
typedef uint64_t vec __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const uint64_t *p) { return *(const vec *)p; }
INLINE void store(uint64_t *p, vec v) { *(vec *)p = v; }
INLINE vec splat(uint64_t word) { return (vec){0} + word; }

/* bit ? one : zero, in every position; and (a & b) ^ c */
#if LANES == 8
INLINE vec mux(vec bit, vec one, vec zero) {
    return (vec)_mm512_ternarylogic_epi64((__m512i)bit, (__m512i)one, (__m512i)zero, 0xca);
}
INLINE vec and_xor(vec a, vec b, vec c) {
    return (vec)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x6a);
}
#else
INLINE vec mux(vec bit, vec one, vec zero) { return zero ^ (bit & (one ^ zero)); }
INLINE vec and_xor(vec a, vec b, vec c) { return (a & b) ^ c; }
#endif

/* ---- words to planes --------------------------------------------------------------------------------------------- */

/* rows[b] word g, bit k = bit b of x[64 * g + k] >> shift, for b < 32 or, if `wide`, b < 64: LANES transposes of 64 x
 * 64 bits side by side (Hacker's Delight 7-3). Up to 32 bits the first stage drops half of the work. */
INLINE void bit_rows(const uint64_t *x, int shift, int wide, vec rows[64]) {
    uint64_t *words = (uint64_t *)rows;
    for (int k = 0; k < 64; k++)
        for (int g = 0; g < LANES; g++) words[k * LANES + g] = x[64 * g + k];
    const vec low = splat(0xffffffffu);
    for (int k = 0; k < 32; k++) {
        const vec a = rows[k] >> shift, b = rows[k + 32] >> shift;
        rows[k] = (a & low) | b << 32;
        rows[k + 32] = a >> 32 | (b & ~low);
    }
    const int count = wide ? 64 : 32;
    for (int j = 16; j > 0; j >>= 1) {
        const vec mask = splat(~(uint64_t)0 / ((1ull << j) + 1)); /* the low j of every 2j bits */
        for (int base = 0; base < count; base += 2 * j)
            for (int k = base; k < base + j; k++) {
                const vec swap = (rows[k] >> j ^ rows[k + j]) & mask;
                rows[k + j] ^= swap;
                rows[k] ^= swap << j;
            }
    }
}

/* The block that starts at x, copied and filled up with zeros if it is the last and short. */
INLINE const uint64_t *whole_block(const uint64_t *x, size_t left, uint64_t *spare) {
    if (left >= MPC_BLOCK) return x;
    memset(spare, 0, MPC_BLOCK * sizeof *spare);
    memcpy(spare, x, left * sizeof *spare);
    return spare;
}

INLINE int total_width(const uint8_t *widths, int q) {
    int total = 0;
    for (int j = 0; j < q; j++) total += widths[j];
    return total;
}

/* Bit `bit` of each of 64 words. */
INLINE uint64_t column(const uint64_t *x, int bit) {
    uint64_t word = 0;
#if LANES == 8
    const __m512i wanted = _mm512_set1_epi64((long long)((uint64_t)1 << bit));
    for (int k = 0; k < 64; k += 8)
        word |= (uint64_t)_mm512_test_epi64_mask(_mm512_loadu_si512(x + k), wanted) << k;
#else
    for (int k = 0; k < 64; k++) word |= (x[k] >> bit & 1) << k;
#endif
    return word;
}

static void word_bit(const uint64_t *c, size_t n, int bit, uint64_t *out) {
    for (size_t e = 0; e < n; e += MPC_BLOCK, out += 8) {
        uint64_t spare[MPC_BLOCK];
        const uint64_t *x = whole_block(c + e, n - e, spare);
        for (int g = 0; g < 8; g++) out[g] = column(x + 64 * g, bit);
    }
}

/* ---- leaves ------------------------------------------------------------------------------------------------------ */

/* hot[v] = [digit == v] for the 2^m values of a digit of m bits: doubling from the highest bit down. */
INLINE void one_hot(const vec *bits, int m, vec *hot) {
    hot[0] = splat(~(uint64_t)0);
    for (int b = m - 1, size = 1; b >= 0; b--, size *= 2)
        for (int v = size - 1; v >= 0; v--) {
            const vec h = hot[v];
            hot[2 * v + 1] = h & bits[b];
            hot[2 * v] = h & ~bits[b];
        }
}

/* An entry of the table is a product of one of the low half of the digit's bits and one of the high half. */
INLINE uint64_t *deal_digit(const vec *bits, int m, uint64_t *planes) {
    vec low[1 << MPC_MAX_WIDTH / 2], high[1 << MPC_MAX_WIDTH / 2];
    const int half = m / 2;
    one_hot(bits, half, low);
    one_hot(bits + half, m - half, high);
    for (int h = 0; h < 1 << (m - half); h++)
        for (int l = h == 0; l < 1 << half; l++, planes += 8) store(planes, low[l] & high[h]);
    return planes;
}

static void leaf_deal(const uint64_t *r, size_t n, int t, const uint8_t *widths, int q, uint64_t *planes) {
    const int wide = total_width(widths, q) > 32;
    for (size_t e = 0; e < n; e += MPC_BLOCK) {
        uint64_t spare[MPC_BLOCK], *next = planes;
        const uint64_t *x = whole_block(r + e, n - e, spare);
        for (int column = 0; column < 8; column += LANES) {
            vec rows[64];
            bit_rows(x + 64 * column, t, wide, rows);
            const vec *bits = rows;
            next = planes + column;
            for (int j = 0; j < q; bits += widths[j++]) next = deal_digit(bits, widths[j], next);
            next -= column;
        }
        planes = next;
    }
}

/* The digit's value v is public: eq = table[v], lt = XOR of table[v + 1 ..]. Both are read by a tree of multiplexers
 * over the bits of v, from the highest entry down; `sum` is the XOR of all entries so far. Entry 0 is not in the
 * table: all entries of a one-hot vector XOR to 1, which party 0 adds. lt and eq may be NULL. */
INLINE void read_digit(const vec *bits, int m, const uint64_t *table, int party, uint64_t *lt, uint64_t *eq) {
    vec less[MPC_MAX_WIDTH + 1], equal[MPC_MAX_WIDTH + 1], sum = splat(0);
    const vec one = splat(party == 0 ? ~(uint64_t)0 : 0);
    for (int v = (1 << m) - 2; v >= 0; v -= 2) {
        const vec high = load(table + 8 * v), above = sum;
        sum ^= high;
        const vec low = v ? load(table + 8 * (v - 1)) : (vec)(sum ^ one);
        vec l = mux(bits[0], above, sum), e = mux(bits[0], high, low);
        sum ^= low;
        int depth = 1;
        for (int pair = v >> 1; depth < m && !(pair & 1); pair >>= 1, depth++) {
            if (lt) l = mux(bits[depth], less[depth], l);
            if (eq) e = mux(bits[depth], equal[depth], e);
        }
        less[depth] = l;
        equal[depth] = e;
    }
    if (lt) store(lt, less[m]);
    if (eq) store(eq, equal[m]);
}

static void leaf_read(const uint64_t *c, size_t n, int t, const uint8_t *widths, int q, const uint64_t *tables,
                      int party, int kind, uint64_t *out) {
    const int wide = total_width(widths, q) > 32, outputs = kind == MPC_LT ? 2 * q - 1 : q;
    size_t planes = 0;
    for (int j = 0; j < q; j++) planes += ((size_t)1 << widths[j]) - 1;
    for (size_t e = 0; e < n; e += MPC_BLOCK, out += 8 * outputs, tables += 8 * planes) {
        uint64_t spare[MPC_BLOCK];
        const uint64_t *x = whole_block(c + e, n - e, spare);
        for (int column = 0; column < 8; column += LANES) {
            vec rows[64];
            bit_rows(x + 64 * column, t, wide, rows);
            const vec *bits = rows;
            const uint64_t *table = tables + column;
            uint64_t *to = out + column;
            for (int j = 0; j < q; j++) {
                const int m = widths[j];
                if (kind == MPC_EQ) {
                    read_digit(bits, m, table, party, NULL, to + 8 * j);
                } else if (j == 0) {
                    read_digit(bits, m, table, party, to, NULL);
                } else {
                    read_digit(bits, m, table, party, to + 8 * (2 * j - 1), to + 8 * (2 * j));
                }
                bits += m;
                table += 8 * (((size_t)1 << m) - 1);
            }
        }
    }
}

/* ---- combine --------------------------------------------------------------------------------------------------------
 *
 * A group of s nodes, low to high:  L = XOR_j l_j prod_{i > j} e_i,  E = prod_i e_i,  with l = l^ ^ lambda, e = e^ ^
 * kappa. Subsets T of the nodes are bit sets, bit i - 1 for node i >= 1. The monomials of a group, in the order in
 * which they are stored, absorbed ones (the full monomial of each term) left out, and singles too on a leaf level:
 *     kappa_T               T = 1 .. 2^(s-1) - 1
 *     lambda_j kappa_{T<<j}   j = 0 .. s-2, T = 0 .. 2^(s-1-j) - 2          if L is wanted
 *     kappa_0 kappa_T         T = 0 .. 2^(s-1) - 2                          if E is wanted */

INLINE int plane_l(int node) { return node == 0 ? 0 : 2 * node - 1; }
INLINE int plane_e(int node, int kind) { return kind == MPC_LT ? 2 * node : node; }

typedef struct {
    int first, size;      /* nodes */
    int want_l, want_e;   /* outputs */
} group;

INLINE group group_at(const mpc_level_shape *shape, int index) {
    const int first = index * shape->g, left = shape->q - first;
    return (group){first, left < shape->g ? left : shape->g, shape->kind == MPC_LT, shape->kind == MPC_EQ || index > 0};
}

/* x * kappa_T for T < 2^count, without the full T, which is returned: absorbed. */
INLINE vec deal_products(vec x, const vec *kappa, int step, int count, int leaf, uint64_t **monomials) {
    const int full = (1 << count) - 1;
    for (int T = leaf; T < full; T++, *monomials += 8) store(*monomials, x & kappa[T << step]);
    return x & kappa[full << step];
}

INLINE uint64_t *deal_group(const uint64_t *masks, group at, int kind, int leaf, uint64_t *monomials, uint64_t *offset,
                            vec *kappa) {
    const int s = at.size;
    uint64_t *offset_e = offset + (at.want_l ? 8 : 0);
    if (s == 1) {
        if (at.want_l) store(offset, load(masks + 8 * plane_l(at.first)));
        if (at.want_e) store(offset_e, load(masks + 8 * plane_e(at.first, kind)));
        return monomials;
    }
    kappa[0] = splat(~(uint64_t)0);
    for (int i = 1; i < s; i++) {
        const vec k = load(masks + 8 * plane_e(at.first + i, kind));
        for (int T = 0, bit = 1 << (i - 1); T < bit; T++) kappa[bit + T] = kappa[T] & k;
    }
    for (int T = 1; T < 1 << (s - 1); T++)
        if (!leaf || (T & (T - 1))) store(monomials, kappa[T]), monomials += 8;
    if (at.want_l) {
        vec absorbed = load(masks + 8 * plane_l(at.first + s - 1));
        for (int j = 0; j < s - 1; j++)
            absorbed ^= deal_products(load(masks + 8 * plane_l(at.first + j)), kappa, j, s - 1 - j, leaf, &monomials);
        store(offset, absorbed);
    }
    if (at.want_e)
        store(offset_e, deal_products(load(masks + 8 * plane_e(at.first, kind)), kappa, 0, s - 1, leaf, &monomials));
    return monomials;
}

static void combine_deal(const uint64_t *masks, size_t nb, const mpc_level_shape *shape, uint64_t *monomials,
                         uint64_t *offset, uint64_t *scratch) {
    const int groups = (shape->q + shape->g - 1) / shape->g;
    for (size_t b = 0; b < nb; b++) {
        for (int column = 0; column < 8; column += LANES) {
            uint64_t *next = monomials + column, *to = offset + column;
            for (int i = 0; i < groups; i++) {
                const group at = group_at(shape, i);
                next = deal_group(masks + column, at, shape->kind, shape->leaf, next, to, (vec *)scratch);
                to += 8 * (at.want_l + at.want_e);
            }
        }
        masks += 8 * shape->inputs;
        monomials += 8 * shape->monomials;
        offset += 8 * shape->outputs;
    }
}

/* One term and one fold: sum[T] += x^ kappa_T + (x's mask) kappa_T, then node e is multiplied in, sum'[T] = e^ sum[2T]
 * ^ sum[2T + 1]. The full monomial is absent; `single` is the share of x's mask on a leaf level. */
INLINE void eval_fold(vec hat, vec e, const vec *kappa, int step, int count, int leaf, vec single, int first, vec *sum,
                      const uint64_t **monomials) {
    ptrdiff_t at = leaf ? -8 : 0;
    const int last = (1 << (count - 1)) - 1;
    for (int T = 0; T <= last; T++, at += 16) {
        vec even = leaf && T == 0 ? single : load(*monomials + at);
        vec odd = T == last ? splat(0) : load(*monomials + at + 8);
        even = and_xor(hat, kappa[(2 * T) << step], even);
        odd = and_xor(hat, kappa[(2 * T + 1) << step], odd);
        if (!first) even ^= sum[2 * T], odd ^= sum[2 * T + 1];
        sum[T] = and_xor(e, even, odd);
    }
    *monomials += at - 8;
}

INLINE const uint64_t *eval_group(const uint64_t *hats, group at, int kind, int leaf, const uint64_t *monomials,
                                  const uint64_t *singles, int party, uint64_t *out, vec *kappa, vec *sum) {
    const int s = at.size;
    const vec none = splat(0);
    uint64_t *out_e = out + (at.want_l ? 8 : 0);
    if (s == 1) {
        if (at.want_l) store(out, party == 0 ? load(hats + 8 * plane_l(at.first)) : none);
        if (at.want_e) store(out_e, party == 0 ? load(hats + 8 * plane_e(at.first, kind)) : none);
        return monomials;
    }
    kappa[0] = splat(party == 0 ? ~(uint64_t)0 : 0);
    for (int i = 1, T = 1; i < s; i++) {
        if (leaf) kappa[T++] = load(singles + 8 * plane_e(at.first + i, kind));
        for (; T < 1 << i; T++, monomials += 8) kappa[T] = load(monomials);
    }
    if (at.want_l) {
        for (int j = 0; j < s - 1; j++) {
            const int l = plane_l(at.first + j);
            eval_fold(load(hats + 8 * l), load(hats + 8 * plane_e(at.first + j + 1, kind)), kappa, j, s - 1 - j, leaf,
                      leaf ? load(singles + 8 * l) : none, j == 0, sum, &monomials);
        }
        store(out, and_xor(load(hats + 8 * plane_l(at.first + s - 1)), kappa[0], sum[0]));
    }
    if (at.want_e) {
        const int e = plane_e(at.first, kind);
        eval_fold(load(hats + 8 * e), load(hats + 8 * plane_e(at.first + 1, kind)), kappa, 0, s - 1, leaf,
                  leaf ? load(singles + 8 * e) : none, 1, sum, &monomials);
        for (int i = 2; i < s; i++) {
            const vec hat = load(hats + 8 * plane_e(at.first + i, kind));
            for (int T = 0; T < 1 << (s - 1 - i); T++) sum[T] = and_xor(hat, sum[2 * T], sum[2 * T + 1]);
        }
        store(out_e, sum[0]);
    }
    return monomials;
}

static void combine_eval(const uint64_t *hats, size_t nb, const mpc_level_shape *shape, const uint64_t *monomials,
                         const uint64_t *singles, int party, uint64_t *out, uint64_t *scratch) {
    const int groups = (shape->q + shape->g - 1) / shape->g;
    vec *kappa = (vec *)scratch, *sum = kappa + ((size_t)1 << (shape->g - 1));
    for (size_t b = 0; b < nb; b++) {
        for (int column = 0; column < 8; column += LANES) {
            const uint64_t *next = monomials + column, *single = shape->leaf ? singles + column : NULL;
            uint64_t *to = out + column;
            for (int i = 0; i < groups; i++) {
                const group at = group_at(shape, i);
                next = eval_group(hats + column, at, shape->kind, shape->leaf, next, single, party, to, kappa, sum);
                to += 8 * (at.want_l + at.want_e);
            }
        }
        hats += 8 * shape->inputs;
        if (shape->leaf) singles += 8 * shape->inputs;
        monomials += 8 * shape->monomials;
        out += 8 * shape->outputs;
    }
}

const mpc_compare_kernels KERNELS = {leaf_deal, leaf_read, word_bit, combine_deal, combine_eval};
