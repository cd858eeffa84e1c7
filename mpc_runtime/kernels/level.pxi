# Text that every extension module includes: its own copy of the level (src/cpu.h), for kernels/dispatch.py.

cdef extern from "cpu.h" nogil:
    int mpc_level()
    int mpc_level_available(int level)
    int mpc_set_level(int level)


def _level():
    """The level in use, or -1 if MPC_KERNELS names one that is unknown or absent."""
    return mpc_level()


def _level_available(int level):
    """Whether this machine can run a level."""
    return mpc_level_available(level) != 0


def _set_level(int level):
    """Use `level` from now on; the caller has checked that it is available."""
    mpc_set_level(level)
