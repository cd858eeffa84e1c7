/* Bit planes, part of pack.inc.h. All blocks but a partial last one have the same bytes in memory and on the wire. */

#define PLANE_WORDS 8 /* words of a plane in a block of 512 elements */

static void NAME(planes_pack)(const uint64_t *planes, size_t n, size_t P, uint8_t *out) {
    const size_t whole = n / MPC_TILE * P * PLANE_WORDS, cut = (n % MPC_TILE + 7) / 8;
    memcpy(out, planes, 8 * whole);
    for (size_t p = 0; cut && p < P; p++) memcpy(out + 8 * whole + p * cut, planes + whole + p * PLANE_WORDS, cut);
}

static void NAME(planes_unpack)(const uint8_t *buf, size_t n, size_t P, uint64_t *planes) {
    const size_t whole = n / MPC_TILE * P * PLANE_WORDS, cut = (n % MPC_TILE + 7) / 8;
    memcpy(planes, buf, 8 * whole);
    if (cut) memset(planes + whole, 0, 8 * P * PLANE_WORDS);
    for (size_t p = 0; cut && p < P; p++) memcpy(planes + whole + p * PLANE_WORDS, buf + 8 * whole + p * cut, cut);
}

static void NAME(planes_unpack_xor)(const uint8_t *buf, size_t n, size_t P, uint64_t *acc) {
    const size_t whole = n / MPC_TILE * P * PLANE_WORDS, cut = (n % MPC_TILE + 7) / 8;
    for (size_t i = 0; i < whole; i++) {
        uint64_t word;
        memcpy(&word, buf + 8 * i, 8);
        acc[i] ^= word;
    }
    for (size_t p = 0; cut && p < P; p++) {
        uint64_t plane[PLANE_WORDS] = {0};
        memcpy(plane, buf + 8 * whole + p * cut, cut);
        for (size_t w = 0; w < PLANE_WORDS; w++) acc[whole + p * PLANE_WORDS + w] ^= plane[w];
    }
}

static void NAME(planes_xor_pack)(const mpc_prg *prg, uint64_t stream, uint64_t first, const uint64_t *planes,
                                  size_t n, size_t P, uint64_t *masked, uint8_t *packed) {
    const size_t whole = n / MPC_TILE * P * PLANE_WORDS, cut = (n % MPC_TILE + 7) / 8;
    const size_t words = whole + (cut ? P * PLANE_WORDS : 0);
    uint64_t tile[MPC_TILE];
    FOR_TILES(words) {
        mpc_prg_words(prg, stream, first + at, m, tile);
        for (size_t i = 0; i < m; i++) tile[i] ^= planes[at + i];
        if (masked) memcpy(masked + at, tile, 8 * m);
        const size_t full = at >= whole ? 0 : whole - at < m ? whole - at : m;
        memcpy(packed + 8 * at, tile, 8 * full);
        for (size_t i = full; i < m; i += PLANE_WORDS)
            memcpy(packed + 8 * whole + (at + i - whole) / PLANE_WORDS * cut, tile + i, cut);
    }
}

static void NAME(bits_to_planes)(const uint8_t *bits, size_t n, uint64_t *planes) {
    const size_t words = n / 64, rest = n % 64, all = (n + MPC_TILE - 1) / MPC_TILE * PLANE_WORDS;
    gather_byte_bits(bits, words, planes);
    for (size_t w = words; w < all; w++) planes[w] = 0;
    if (!rest) return;
    uint8_t last[64] = {0};
    memcpy(last, bits + 64 * words, rest);
    gather_byte_bits(last, 1, planes + words);
}

static void NAME(planes_to_bits)(const uint64_t *planes, size_t n, size_t P, size_t plane, uint8_t *bits) {
    for (size_t at = 0; at < n; at += MPC_TILE, planes += P * PLANE_WORDS) {
        const uint64_t *in = planes + plane * PLANE_WORDS;
        const size_t m = n - at < MPC_TILE ? n - at : MPC_TILE, words = m / 64, rest = m % 64;
        scatter_byte_bits(in, words, bits + at);
        if (!rest) continue;
        uint8_t last[64];
        scatter_byte_bits(in + words, 1, last);
        memcpy(bits + at + 64 * words, last, rest);
    }
}
