/* Detection of instruction sets; the contract is in cpu.h. */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

#if MPC_X86
#include <cpuid.h>
#if MPC_AMX_COMPILED
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif MPC_ARM && defined(__linux__)
#include <sys/auxv.h>
#endif

static const char *const NAMES[MPC_LEVELS] = {"portable", "neon", "avx2", "avx512", "amx"};

static const unsigned COVERED[MPC_LEVELS] = {
    [MPC_PORTABLE] = 0,
    [MPC_NEON] = MPC_HAS_NEON | MPC_HAS_ARM_AES,
    [MPC_AVX2] = MPC_HAS_AVX2 | MPC_HAS_AESNI | MPC_HAS_VAES256 | MPC_HAS_GFNI,
    [MPC_AVX512] = ~(unsigned)MPC_HAS_AMX,
    [MPC_AMX] = ~0u,
};

static int chosen_level = -2; /* -2: not decided yet */

#if MPC_X86
static unsigned long long xcr0(void) {
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((unsigned long long)hi << 32) | lo;
}

/* Linux gives a process the registers of AMX when it asks for them. They are then part of every signal frame: it says no
 * where an alternative stack for signals is too small. */
static int may_use_tiles(void) {
#if MPC_AMX_COMPILED
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 0;
#endif
}

static unsigned detect(void) {
    unsigned a, b, c, d, b7 = 0, c7 = 0, d7 = 0, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const unsigned c1 = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) b7 = b, c7 = c, d7 = d;
    const int osxsave = (c1 >> 27) & 1;
    const unsigned long long state = osxsave ? xcr0() : 0;
    const int ymm = (state & 0x06) == 0x06; /* SSE and AVX state saved by the system */
    const int zmm = (state & 0xe6) == 0xe6; /* and opmask, upper ZMM */
    const int aes = ((c1 >> 25) & 1) && ((c1 >> 9) & 1) && ((c1 >> 19) & 1);

    const int avx2 = ymm && ((c1 >> 28) & 1) && ((c1 >> 12) & 1) && ((c1 >> 23) & 1) /* AVX, FMA, POPCNT */
                     && ((b7 >> 5) & 1) && ((b7 >> 3) & 1) && ((b7 >> 8) & 1);       /* AVX2, BMI1, BMI2 */
    if (!avx2) return 0;
    found |= MPC_HAS_AVX2;
    if (aes) found |= MPC_HAS_AESNI;
    if (aes && ((c7 >> 9) & 1)) found |= MPC_HAS_VAES256;
    if ((c7 >> 8) & 1) found |= MPC_HAS_GFNI;
    const int avx512 = zmm && ((b7 >> 16) & 1) && ((b7 >> 17) & 1) && ((b7 >> 30) & 1) && ((b7 >> 31) & 1);
    if (!avx512) return found;
    found |= MPC_HAS_AVX512;
    if (found & MPC_HAS_VAES256) found |= MPC_HAS_VAES512;
    if ((c7 >> 1) & 1) found |= MPC_HAS_VBMI;
    if ((c7 >> 6) & 1) found |= MPC_HAS_VBMI2;
    if ((b7 >> 21) & 1) found |= MPC_HAS_IFMA;
    const int tiles = ((d7 >> 24) & 1) && ((d7 >> 25) & 1) && (state & 0x60000) == 0x60000; /* and AMX state saved */
    if (tiles && (found & MPC_HAS_VBMI) && may_use_tiles()) found |= MPC_HAS_AMX;
    return found;
}
#elif MPC_ARM
static unsigned detect(void) {
#if defined(__APPLE__)
    return MPC_HAS_NEON | MPC_HAS_ARM_AES;
#elif defined(__linux__)
    return MPC_HAS_NEON | ((getauxval(AT_HWCAP) & (1 << 3)) ? MPC_HAS_ARM_AES : 0); /* HWCAP_AES */
#else
    return MPC_HAS_NEON;
#endif
}
#else
static unsigned detect(void) { return 0; }
#endif

/* cpuid traps into the hypervisor on a virtual machine (tens of microseconds): ask once. Racing threads write the same
 * value. */
static unsigned machine_features(void) {
    static unsigned found;
    static int known;
    if (!known) {
        found = detect();
        known = 1;
    }
    return found;
}

int mpc_level_available(int level) {
    switch (level) {
    case MPC_PORTABLE: return 1;
    case MPC_NEON: return (machine_features() & MPC_HAS_NEON) != 0;
    case MPC_AVX2: return (machine_features() & MPC_HAS_AVX2) != 0;
    case MPC_AVX512: return (machine_features() & MPC_HAS_AVX512) != 0;
    case MPC_AMX: return (machine_features() & MPC_HAS_AMX) != 0;
    default: return 0;
    }
}

static int decide(void) {
    const char *forced = getenv("MPC_KERNELS");
    if (forced != NULL && *forced != '\0') {
        for (int level = 0; level < MPC_LEVELS; level++)
            if (strcmp(forced, NAMES[level]) == 0) return mpc_level_available(level) ? level : -1;
        return -1;
    }
    for (int level = MPC_LEVELS - 1; level > 0; level--)
        if (mpc_level_available(level)) return level;
    return MPC_PORTABLE;
}

int mpc_level(void) {
    if (chosen_level == -2) chosen_level = decide();
    return chosen_level;
}

unsigned mpc_features(void) {
    const int level = mpc_level();
    return level < 0 ? 0 : machine_features() & COVERED[level];
}

int mpc_set_level(int level) {
    if (!mpc_level_available(level)) return -1;
    chosen_level = level;
    return 0;
}
