/* Which instruction sets this machine has, and which one the kernels use.
 *
 * A *level* names a family of kernel variants (MPC_KERNELS=portable|neon|avx2|avx512|amx forces one); the best level the
 * machine has is the default. Within a level, single *features* (AES-NI, VAES, VBMI ...) are asked for separately:
 * mpc_features() never reports one that the chosen level does not cover, so that `portable` is portable everywhere.
 *
 * cpu.c is linked into every extension module, so each module has its own level; kernels/__init__.py sets them alike. */
#ifndef MPC_CPU_H
#define MPC_CPU_H

#if defined(__x86_64__) || defined(_M_X64)
#define MPC_X86 1
#else
#define MPC_X86 0
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define MPC_ARM 1
#else
#define MPC_ARM 0
#endif

/* AMX needs a compiler that knows it, and a system that is asked for its registers (cpu.c does that for Linux). */
#if defined(__x86_64__) && defined(__linux__) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define MPC_AMX_COMPILED 1
#else
#define MPC_AMX_COMPILED 0
#endif

enum { MPC_PORTABLE = 0, MPC_NEON = 1, MPC_AVX2 = 2, MPC_AVX512 = 3, MPC_AMX = 4, MPC_LEVELS = 5 };

enum {
    MPC_HAS_AVX2 = 1 << 0,      /* AVX2, BMI1, BMI2, POPCNT */
    MPC_HAS_AVX512 = 1 << 1,    /* AVX-512 F, DQ, BW, VL: all of Skylake-X and later, Zen 4 and later */
    MPC_HAS_AESNI = 1 << 2,     /* AES-NI, SSSE3, SSE4.1 (level avx2 and higher) */
    MPC_HAS_VAES256 = 1 << 3,   /* VAES on 256-bit registers (level avx2 and higher) */
    MPC_HAS_VAES512 = 1 << 4,   /* VAES on 512-bit registers (level avx512 and higher) */
    MPC_HAS_VBMI = 1 << 5,      /* AVX-512 VBMI (level avx512 and higher) */
    MPC_HAS_VBMI2 = 1 << 6,     /* AVX-512 VBMI2 (level avx512 and higher) */
    MPC_HAS_GFNI = 1 << 7,      /* GFNI (level avx2 and higher) */
    MPC_HAS_IFMA = 1 << 8,      /* AVX-512 IFMA (level avx512 and higher) */
    MPC_HAS_NEON = 1 << 9,      /* Advanced SIMD (level neon) */
    MPC_HAS_ARM_AES = 1 << 10,  /* ARMv8 AES instructions (level neon) */
    MPC_HAS_AMX = 1 << 11,      /* AMX tiles of bytes, which the system lets us use: Xeons of 2023 and later (level amx) */
};

/* GCC and clang spell "compile what follows for this target" differently:
 *     MPC_TARGET_PUSH("avx2,bmi,bmi2")   ...functions...   MPC_TARGET_POP
 * Include <immintrin.h> and the other headers before it. */
#define MPC_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define MPC_TARGET_PUSH(t) MPC_PRAGMA(clang attribute push(__attribute__((target(t))), apply_to = function))
#define MPC_TARGET_POP MPC_PRAGMA(clang attribute pop)
#else
#define MPC_TARGET_PUSH(t) MPC_PRAGMA(GCC push_options) MPC_PRAGMA(GCC target(t))
#define MPC_TARGET_POP MPC_PRAGMA(GCC pop_options)
#endif
#define MPC_TARGET_AVX2 "avx2,bmi,bmi2,popcnt,fma"
#define MPC_TARGET_AVX512 "avx512f,avx512dq,avx512bw,avx512vl,avx2,bmi,bmi2,popcnt,fma"

/* The level in use: MPC_KERNELS if that is set, else the best; -1 if MPC_KERNELS names one that is unknown or absent. */
int mpc_level(void);

/* Features of the machine that the level in use covers (a set of MPC_HAS_ bits). */
unsigned mpc_features(void);

/* Whether this machine can run a level. */
int mpc_level_available(int level);

/* Use `level` from now on; 0, or -1 and no change if this machine cannot run it. Not for use while kernels run. */
int mpc_set_level(int level);

#endif
