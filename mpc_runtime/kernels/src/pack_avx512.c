/* Packing with AVX-512 VBMI and VBMI2: eight elements are `bits` bytes, so that one byte permutation moves them to, or
 * from, their places, and one shift per lane sets the bits right. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>

#include "pack_groups.h"

MPC_TARGET_PUSH(MPC_TARGET_AVX512 ",avx512vbmi,avx512vbmi2")

#define NAME(x) mpc_pack_avx512_##x

enum { LANES = 8 };

static const uint64_t BYTES = 0x0101010101010101, RAMP = 0x0706050403020100;

/* First byte, and bit in it, of the element in each lane. */
static inline __m512i lane_bits(unsigned bits) {
    return _mm512_mullo_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(bits));
}

static inline __m512i byte_numbers(void) {
    const __m512i eights = _mm512_set_epi64(56, 48, 40, 32, 24, 16, 8, 0);
    return _mm512_add_epi64(_mm512_mullo_epi64(eights, _mm512_set1_epi64((long long)BYTES)),
                            _mm512_set1_epi64((long long)RAMP));
}

static inline __mmask64 bit(unsigned i) { return (__mmask64)1 << i; }

static void unpack_groups(const uint8_t *buf, size_t groups, unsigned bits, uint64_t *out) {
    const __m512i at = lane_bits(bits), byte = _mm512_srli_epi64(at, 3);
    const __m512i shift = _mm512_and_si512(at, _mm512_set1_epi64(7));
    const __m512i spread = _mm512_mullo_epi64(byte, _mm512_set1_epi64((long long)BYTES));
    const __m512i place = _mm512_add_epi64(spread, _mm512_set1_epi64((long long)RAMP));
    const __m512i beyond = _mm512_add_epi64(byte, _mm512_set1_epi64(8)); /* the ninth byte, of widths above 57 */
    const __m512i low = _mm512_set1_epi64((long long)(~(uint64_t)0 >> (64 - bits)));
    const __mmask64 mine = ~(uint64_t)0 >> (64 - bits);
    if (bits <= 57)
        for (size_t i = 0; i < groups * LANES; i++, buf += bits, out += LANES) {
            const __m512i in = _mm512_maskz_loadu_epi8(mine, buf);
            const __m512i words = _mm512_srlv_epi64(_mm512_permutexvar_epi8(place, in), shift);
            _mm512_storeu_si512(out, _mm512_and_si512(words, low));
        }
    else
        for (size_t i = 0; i < groups * LANES; i++, buf += bits, out += LANES) {
            const __m512i in = _mm512_maskz_loadu_epi8(mine, buf);
            const __m512i words = _mm512_shrdv_epi64(_mm512_permutexvar_epi8(place, in),
                                                     _mm512_permutexvar_epi8(beyond, in), shift);
            _mm512_storeu_si512(out, _mm512_and_si512(words, low));
        }
}

/* Eight words of `bits` bytes' total to their places: full stores while the buffer lasts, each mended by the next. */
static inline uint8_t *store_bytes(uint8_t *out, const uint8_t *end, unsigned bits, __m512i x) {
    if (end - out >= 64)
        _mm512_storeu_si512(out, x);
    else
        _mm512_mask_storeu_epi8(out, ~(uint64_t)0 >> (64 - bits), x);
    return out + bits;
}

/* Widths from 8 on: a byte of the result holds bits of one element, or of one and the next. */
static void pack_wide(const uint64_t *x, size_t groups, unsigned bits, uint8_t *out) {
    const __m512i ramp = byte_numbers();
    __m512i from = ramp, from_next = ramp;
    __mmask64 shared = 0;
    for (unsigned e = 1; e < LANES; e++) {
        const unsigned start = e * bits / 8, whole = (e * bits + 7) / 8; /* its first byte, the first of it alone */
        /* the ninth byte of the element before, if it has one, is in the second register */
        if (bits > 57) from = _mm512_mask_set1_epi8(from, bit((e - 1) * bits / 8 + 8), (char)(64 + 8 * (e - 1)));
        from = _mm512_mask_add_epi8(from, ~(__mmask64)0 << whole, ramp, _mm512_set1_epi8((char)(8 * e - start)));
        if (start == whole) continue;
        from_next = _mm512_mask_set1_epi8(from_next, bit(start), (char)(8 * e));
        shared |= bit(start);
    }
    const __m512i shift = _mm512_and_si512(lane_bits(bits), _mm512_set1_epi64(7)), zero = _mm512_setzero_si512();
    const __m512i low = _mm512_set1_epi64((long long)(~(uint64_t)0 >> (64 - bits)));
    const uint8_t *end = out + groups * 8 * bits;
    for (size_t i = 0; i < groups * LANES; i++, x += LANES) {
        const __m512i in = _mm512_and_si512(_mm512_loadu_si512(x), low);
        const __m512i shifted = _mm512_sllv_epi64(in, shift), ninth = _mm512_shldv_epi64(zero, in, shift);
        const __m512i first = _mm512_permutex2var_epi8(shifted, from, ninth);
        const __m512i second = _mm512_maskz_permutexvar_epi8(shared, from_next, shifted);
        out = store_bytes(out, end, bits, _mm512_or_si512(first, second));
    }
}

/* Widths below 8: 64 elements to a register of bytes, the bytes of each word closed up, then the words. */
static void pack_narrow(const uint64_t *x, size_t groups, unsigned bits, uint8_t *out) {
    const uint64_t low8 = ((uint64_t)1 << bits) - 1, low16 = low8 * 0x0001000100010001;
    const uint64_t low32 = ((1ull << 2 * bits) - 1) * 0x0000000100000001, low64 = (1ull << 4 * bits) - 1;
    const __m512i one = _mm512_set1_epi64((long long)low16), two = _mm512_set1_epi64((long long)low32);
    const __m512i four = _mm512_set1_epi64((long long)low64), low = _mm512_set1_epi64((long long)low8);
    const __m512i ramp = byte_numbers(); /* byte i of element order is byte i / 8 of word i % 8 */
    const __m512i transposed = _mm512_or_si512(
        _mm512_and_si512(_mm512_srli_epi64(ramp, 3), _mm512_set1_epi8(7)),
        _mm512_and_si512(_mm512_slli_epi64(ramp, 3), _mm512_set1_epi8(56)));
    __m512i closed = ramp;
    for (unsigned word = 1; word < 8; word++)
        closed = _mm512_mask_add_epi8(closed, ~(__mmask64)0 << word * bits, ramp,
                                      _mm512_set1_epi8((char)(word * (8 - bits))));
    const __mmask64 mine = ~(uint64_t)0 >> (64 - 8 * bits);
    for (; groups; groups--, x += MPC_GROUP, out += 8 * bits) {
        __m512i t = _mm512_setzero_si512();
        for (int i = LANES - 1; i >= 0; i--)
            t = _mm512_or_si512(_mm512_slli_epi64(t, 8), _mm512_and_si512(_mm512_loadu_si512(x + LANES * i), low));
        t = _mm512_permutexvar_epi8(transposed, t);
        t = _mm512_or_si512(_mm512_and_si512(t, one), _mm512_srli_epi64(_mm512_andnot_si512(one, t), 8 - bits));
        t = _mm512_or_si512(_mm512_and_si512(t, two), _mm512_srli_epi64(_mm512_andnot_si512(two, t), 16 - 2 * bits));
        t = _mm512_or_si512(_mm512_and_si512(t, four), _mm512_srli_epi64(_mm512_andnot_si512(four, t), 32 - 4 * bits));
        _mm512_mask_storeu_epi8(out, mine, _mm512_permutexvar_epi8(closed, t));
    }
}

static void pack_groups(const uint64_t *x, size_t groups, unsigned bits, uint8_t *out) {
    if (bits == 64)
        memcpy(out, x, groups * MPC_GROUP * 8);
    else if (bits < 8)
        pack_narrow(x, groups, bits, out);
    else
        pack_wide(x, groups, bits, out);
}

static void gather_byte_bits(const uint8_t *bytes, size_t words, uint64_t *out) {
    const __m512i one = _mm512_set1_epi8(1);
    for (size_t w = 0; w < words; w++) out[w] = _mm512_test_epi8_mask(_mm512_loadu_si512(bytes + 64 * w), one);
}

static void scatter_byte_bits(const uint64_t *in, size_t words, uint8_t *bytes) {
    for (size_t w = 0; w < words; w++) _mm512_storeu_si512(bytes + 64 * w, _mm512_maskz_set1_epi8(in[w], 1));
}

#include "pack.inc.h"

MPC_TARGET_POP
#endif
