/* The one table of AES implementations, best first, with the features (cpu.h) that each needs. */
#include "aes.h"
#include "cpu.h"

extern const mpc_aes_impl mpc_aes_vaes512_impl, mpc_aes_vaes256_impl, mpc_aes_aesni_impl, mpc_aes_armv8_impl,
    mpc_aes_sliced_impl;

static const struct {
    const mpc_aes_impl *impl;
    unsigned needs;
} TABLE[MPC_AES_IMPLEMENTATIONS] = {
#if MPC_X86
    {&mpc_aes_vaes512_impl, MPC_HAS_VAES512},
    {&mpc_aes_vaes256_impl, MPC_HAS_VAES256},
    {&mpc_aes_aesni_impl, MPC_HAS_AESNI},
#elif MPC_ARM
    {&mpc_aes_armv8_impl, MPC_HAS_ARM_AES},
#endif
    {&mpc_aes_sliced_impl, 0},
};

size_t mpc_aes_implementations(unsigned features, const mpc_aes_impl *list[MPC_AES_IMPLEMENTATIONS]) {
    size_t n = 0;
    for (size_t i = 0; i < MPC_AES_IMPLEMENTATIONS; i++)
        if (TABLE[i].impl && (features & TABLE[i].needs) == TABLE[i].needs) list[n++] = TABLE[i].impl;
    return n;
}
