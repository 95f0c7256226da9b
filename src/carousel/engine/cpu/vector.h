// One vector type V of `real`, its masks, loads and stores, for AVX-512, AVX2 and any other processor.
//
// The compiler's flags choose the width (-mavx512f …, -mavx2 -mfma, or nothing); REAL is float or double.
// Tails: every load and store has a form with `lanes`, the number of elements that exist; the others read as zero.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifndef REAL
#define REAL float
#endif

namespace carousel {

typedef REAL real;

#if defined(__AVX512F__)
constexpr int VB = 64, NV = 4;
#elif defined(__AVX2__)
constexpr int VB = 32, NV = 2;
#else
constexpr int VB = 16, NV = 2;
#endif
constexpr int VL = VB / sizeof(real);  // elements of a vector
constexpr int MR = 6;                  // rows of a register tile
constexpr int BLK = NV * VL;           // columns of a register tile, and of a panel of packed weights

template <class T> struct integer_of;
template <> struct integer_of<float> { typedef int32_t type; };
template <> struct integer_of<double> { typedef int64_t type; };
typedef integer_of<real>::type integer;

typedef real V __attribute__((vector_size(VB)));
typedef integer M __attribute__((vector_size(VB)));  // a mask: 0 or -1 in each lane; also vectors of integers

#define INLINE static inline __attribute__((always_inline))

INLINE V splat(real x) { return x - V{}; }  // keeps the sign of -0
INLINE V load(const real* p) { V v; memcpy(&v, p, VB); return v; }
INLINE void store(real* p, V v) { memcpy(p, &v, VB); }

#if defined(__AVX512F__)
INLINE __m512 part(const float* p, int lanes) { return _mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p); }
INLINE __m512d part(const double* p, int lanes) { return _mm512_maskz_loadu_pd((__mmask8)((1u << lanes) - 1), p); }
INLINE void part(float* p, __m512 v, int lanes) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1), v); }
INLINE void part(double* p, __m512d v, int lanes) { _mm512_mask_storeu_pd(p, (__mmask8)((1u << lanes) - 1), v); }
INLINE V load_part(const real* p, int lanes) { return (V)part(p, lanes); }
INLINE void store_part(real* p, V v, int lanes) { part(p, (decltype(part(p, 1)))v, lanes); }
#else
INLINE V load_part(const real* p, int lanes) { V v = {}; for (int l = 0; l < lanes; l++) v[l] = p[l]; return v; }
INLINE void store_part(real* p, V v, int lanes) { for (int l = 0; l < lanes; l++) p[l] = v[l]; }
#endif

// All VL lanes exist nearly always: what to do with less is called, so that the code around it stays short.
#define RARE static __attribute__((noinline, cold, unused))
RARE V load_some(const real* p, int lanes) { return load_part(p, lanes); }
RARE void store_some(real* p, V v, int lanes) { store_part(p, v, lanes); }
INLINE V ld(const real* p, int lanes) { return __builtin_expect(lanes == VL, 1) ? load(p) : load_some(p, lanes); }
INLINE void st(real* p, V v, int lanes) {
  if (__builtin_expect(lanes == VL, 1)) store(p, v); else store_some(p, v, lanes);
}
INLINE V gather(const real* p, const int32_t* index, int lanes) {  // index -1 reads zero
  V v = {};
  for (int l = 0; l < lanes; l++) v[l] = index[l] < 0 ? real(0) : p[index[l]];
  return v;
}
// The lanes that exist of the vector at unit j of n.
INLINE int lanes_at(long j, long n) { return j + VL <= n ? VL : int(n - j); }

INLINE V select(M m, V yes, V no) { return m ? yes : no; }
INLINE V from_mask(M m) { return m ? splat(1) : V{}; }
INLINE M to_mask(V v) { return v != V{}; }

// Lanes beyond `lanes` replaced, so that a reduction ignores them.
INLINE V keep(V v, int lanes, real other) {
  if (__builtin_expect(lanes == VL, 1)) return v;
  M lane;
  for (int l = 0; l < VL; l++) lane[l] = l;
  return select(lane < integer(lanes), v, splat(other));
}
INLINE real sum_of(V v) { real s = 0; for (int l = 0; l < VL; l++) s += v[l]; return s; }

}  // namespace carousel
