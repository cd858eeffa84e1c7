/* AES-NI, VAES on 256-bit and VAES on 512-bit registers: the loops of aes_ctr.inc.h, three times. */
#include "cpu.h"

#if MPC_X86
#include <immintrin.h>

#include "aes.h"

#define vec_begin(x) (x = vec_xor(x, k[0]))
#define vec_round(x, r) (x = ENC(x, k[(r) + 1]))
#define vec_end(x) (x = LAST(x, k[10]))

MPC_TARGET_PUSH("aes,ssse3,sse4.1")
#define AES_NAME(x) mpc_aes_aesni_##x
#define AES_LABEL "aesni"
#define VEC __m128i
#define LANES 1
#define FLIGHT 8
#define ENC _mm_aesenc_si128
#define LAST _mm_aesenclast_si128
#define vec_key(bytes) _mm_loadu_si128((const __m128i *)(bytes))
#define vec_first(stream, block) _mm_set_epi64x((long long)(block), (long long)(stream))
#define vec_pick(stream, numbers) vec_first(stream, (numbers)[0])
#define vec_step(c, blocks) _mm_add_epi64(c, _mm_set_epi64x(blocks, 0))
#define vec_bytes(c) _mm_shuffle_epi8(c, _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607))
#define vec_load(x) _mm_loadu_si128((const __m128i *)(x))
#define vec_store(out, x) _mm_storeu_si128((__m128i *)(out), x)
#define vec_add _mm_add_epi64
#define vec_sub _mm_sub_epi64
#define vec_xor _mm_xor_si128
#define vec_fold(x) ((uint64_t)_mm_cvtsi128_si64(x))
#include "aes_ctr.inc.h"
#include "aes_undef.h"
MPC_TARGET_POP

MPC_TARGET_PUSH("aes,vaes,avx2")
#define AES_NAME(x) mpc_aes_vaes256_##x
#define AES_LABEL "vaes256"
#define VEC __m256i
#define LANES 2
#define FLIGHT 8
#define ENC _mm256_aesenc_epi128
#define LAST _mm256_aesenclast_epi128
#define vec_key(bytes) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bytes)))
#define vec_set(stream, b0, b1)                                                                                        \
    _mm256_set_epi64x((long long)(b1), (long long)(stream), (long long)(b0), (long long)(stream))
#define vec_first(stream, block) vec_set(stream, block, (block) + 1)
#define vec_pick(stream, numbers) vec_set(stream, (numbers)[0], (numbers)[1])
#define vec_step(c, blocks) _mm256_add_epi64(c, _mm256_set_epi64x(blocks, 0, blocks, 0))
#define vec_bytes(c)                                                                                                   \
    _mm256_shuffle_epi8(c, _mm256_broadcastsi128_si256(_mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607)))
#define vec_load(x) _mm256_loadu_si256((const __m256i *)(x))
#define vec_store(out, x) _mm256_storeu_si256((__m256i *)(out), x)
#define vec_add _mm256_add_epi64
#define vec_sub _mm256_sub_epi64
#define vec_xor _mm256_xor_si256
#define vec_fold(x) ((uint64_t)_mm256_extract_epi64(x, 0))
#include "aes_ctr.inc.h"
#undef vec_set
#include "aes_undef.h"
MPC_TARGET_POP

MPC_TARGET_PUSH("aes,vaes,avx512f,avx512bw,avx512dq,avx512vl,avx2")
#define AES_NAME(x) mpc_aes_vaes512_##x
#define AES_LABEL "vaes512"
#define VEC __m512i
#define LANES 4
#define FLIGHT 8
#define ENC _mm512_aesenc_epi128
#define LAST _mm512_aesenclast_epi128
#define vec_key(bytes) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(bytes)))
#define vec_first(stream, block)                                                                                       \
    _mm512_add_epi64(_mm512_broadcast_i32x4(_mm_set_epi64x((long long)(block), (long long)(stream))),                  \
                     _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0))
#define vec_pick(stream, numbers)                                                                                      \
    _mm512_mask_expandloadu_epi64(_mm512_set1_epi64((long long)(stream)), 0xaa, numbers)
#define vec_step(c, blocks) _mm512_add_epi64(c, _mm512_set_epi64(blocks, 0, blocks, 0, blocks, 0, blocks, 0))
#define vec_bytes(c)                                                                                                   \
    _mm512_shuffle_epi8(c, _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607)))
#define vec_load(x) _mm512_loadu_si512(x)
#define vec_store(out, x) _mm512_storeu_si512(out, x)
#define vec_add _mm512_add_epi64
#define vec_sub _mm512_sub_epi64
#define vec_xor _mm512_xor_si512
#define vec_fold(x) ((uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(x)))
#include "aes_ctr.inc.h"
#include "aes_undef.h"
MPC_TARGET_POP

#endif
