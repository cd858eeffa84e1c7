/* The AES instructions of ARMv8: the loops of aes_ctr.inc.h. AESE adds the round key before its S-box, where the x86
 * instruction adds it after the linear layer, so the same eleven keys are used one step earlier.
 * Written as assembly because clang before 16 hides these intrinsics from a function that states its own target; it also
 * keeps AESE and AESMC side by side, which cores fuse. */
#include "cpu.h"

#if MPC_ARM
#include <arm_neon.h>

#include "aes.h"

#if defined(__clang__)
MPC_TARGET_PUSH("aes")
#else
MPC_TARGET_PUSH("+crypto")
#endif
#define AES_NAME(x) mpc_aes_armv8_##x
#define AES_LABEL "armv8"
#define VEC uint8x16_t
#define LANES 1
#define FLIGHT 8
#define vec_key(bytes) vld1q_u8(bytes)
#define vec_first(stream, block) vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(stream), vcreate_u64(block)))
#define vec_pick(stream, numbers) vec_first(stream, (numbers)[0])
#define vec_step(c, blocks) vec_add(c, vec_first(0, blocks))
#define vec_bytes(c) vrev64q_u8(c)
#define vec_load(x) vld1q_u8(x)
#define vec_store(out, x) vst1q_u8(out, x)
#define vec_words(op, a, b) vreinterpretq_u8_u64(op(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)))
#define vec_add(a, b) vec_words(vaddq_u64, a, b)
#define vec_sub(a, b) vec_words(vsubq_u64, a, b)
#define vec_xor(a, b) veorq_u8(a, b)
#define vec_fold(x) vgetq_lane_u64(vreinterpretq_u64_u8(x), 0)
#define vec_begin(x) ((void)0)
#define vec_round(x, r) __asm__("aese %0.16b, %1.16b\n\taesmc %0.16b, %0.16b" : "+w"(x) : "w"(k[r]))
#define vec_end(x)                                                                                                     \
    do {                                                                                                               \
        __asm__("aese %0.16b, %1.16b" : "+w"(x) : "w"(k[9]));                                                          \
        x = veorq_u8(x, k[10]);                                                                                        \
    } while (0)
#include "aes_ctr.inc.h"
MPC_TARGET_POP

#endif
