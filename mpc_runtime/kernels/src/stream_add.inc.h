/* Words of a stream added to, or taken from, words: tile by tile in L1, by the loops of one instruction set.
 * The including file defines AES_NAME. */

enum { AES_NAME(tile) = 512 }; /* words, 4 KiB */

static void AES_NAME(add)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                          uint64_t *out) {
    uint64_t w[AES_NAME(tile)];
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < AES_NAME(tile) ? n - at : AES_NAME(tile);
        mpc_prg_words(prg, stream, start + at, m, w);
        for (size_t i = 0; i < m; i++) out[at + i] = x[at + i] + w[i];
    }
}

static void AES_NAME(sub)(const mpc_prg *prg, uint64_t stream, uint64_t start, const uint64_t *x, size_t n,
                          uint64_t *out) {
    uint64_t w[AES_NAME(tile)];
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < AES_NAME(tile) ? n - at : AES_NAME(tile);
        mpc_prg_words(prg, stream, start + at, m, w);
        for (size_t i = 0; i < m; i++) out[at + i] = x[at + i] - w[i];
    }
}
