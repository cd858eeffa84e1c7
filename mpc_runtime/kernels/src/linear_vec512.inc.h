/* Vectors of eight words, for the AVX-512 variants of matrix product and convolution. */

#define LANES 8

typedef __m512i vec;
typedef __mmask8 mask;

#define OP static inline __attribute__((always_inline))
OP mask mask_of(size_t lanes) { return (__mmask8)((1u << lanes) - 1); }
OP vec load(const uint64_t *p) { return _mm512_loadu_si512(p); }
OP void store(uint64_t *p, vec v) { _mm512_storeu_si512(p, v); }
OP vec load_part(const uint64_t *p, mask m) { return _mm512_maskz_loadu_epi64(m, p); }
OP void store_part(uint64_t *p, mask m, vec v) { _mm512_mask_storeu_epi64(p, m, v); }
OP vec add(vec x, vec y) { return _mm512_add_epi64(x, y); }
OP vec sub(vec x, vec y) { return _mm512_sub_epi64(x, y); }
