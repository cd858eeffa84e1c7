"""The level of a kernel module (src/cpu.h)."""

cdef extern from "cpu.h":
    int mpc_level() noexcept nogil
    unsigned mpc_features() noexcept nogil
    int mpc_level_available(int level) noexcept nogil
    int mpc_set_level(int level) noexcept nogil
