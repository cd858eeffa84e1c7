/* Packing with AVX2: the plain loops vectorised, words by width as everywhere, bits by the sign bits of bytes. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>

#include "pack_groups.h"

MPC_TARGET_PUSH(MPC_TARGET_AVX2)

#define NAME(x) mpc_pack_avx2_##x
#define pack_groups mpc_pack_groups
#define unpack_groups mpc_unpack_groups

static void gather_byte_bits(const uint8_t *bytes, size_t words, uint64_t *out) {
    for (size_t w = 0; w < words; w++, bytes += 64) {
        const __m256i low = _mm256_slli_epi16(_mm256_loadu_si256((const __m256i *)bytes), 7);
        const __m256i high = _mm256_slli_epi16(_mm256_loadu_si256((const __m256i *)(bytes + 32)), 7);
        out[w] = (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
    }
}

static void scatter_byte_bits(const uint64_t *in, size_t words, uint8_t *bytes) {
    const __m256i byte = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i one = _mm256_set1_epi8(1);
    for (size_t i = 0; i < 2 * words; i++, bytes += 32) {
        const __m256i half = _mm256_set1_epi32((int)(in[i / 2] >> (i % 2 * 32)));
        const __m256i masked = _mm256_and_si256(_mm256_shuffle_epi8(half, byte), bit);
        _mm256_storeu_si256((__m256i *)bytes, _mm256_min_epu8(masked, one));
    }
}

#include "pack.inc.h"

MPC_TARGET_POP
#endif
