// Element-wise functions of the vector type V, and the two reductions that propagate NaN.
//
// Error bounds, over every argument including denormal ones, for float and double, with and without FMA:
//   at most 2 ulp       vexp, vexpm1, vlog, vlog1p, vsigmoid, vtanh: no lane goes through libm. The worst seen are
//                       1.01, 1.34, 1.02, 1.05, 1.99 and 1.97. Also vrsqrt, a division by a square root.
//   correctly rounded   vsqrt, vabs, vmax, vmin, vfloor, vceil, vtrunc, vround, vsign
//   libm's own, < 1     vsin, vcos, vatan, verf, vpow, one lane at a time
//   at most 5 ulp       vsoftplus with beta 1; else beta x is rounded, which adds |beta x| / 2 ulp where x is negative
// Results may be denormal. Infinities and NaN go through as in torch; the payload of a NaN is not kept.
//
// Two kernels carry the six. With n = round(x / ln 2 - 0.085) and r = x - n ln 2:
//   exp(x) = 2^n exp(r), expm1(x) = 2^n (expm1(r) + 1 - 2^-n), where expm1(r) = r + r^2 Q(r);
// with x = 2^k (1 + f), 1 + f in [0.75, 1.5) and s = f / (2 + f):
//   log(x) = k ln 2 + f - s (f - s^2 P(s^2)).
// Q and P are our own minimax fits, with weights for the relative error of the whole, which stays below 0.1 ulp.
#pragma once
#include <cmath>
#include <limits>

#include "vector.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace carousel {

template <class T> struct natural_of;
template <> struct natural_of<float> { typedef uint32_t type; };
template <> struct natural_of<double> { typedef uint64_t type; };
typedef natural_of<real>::type natural;
typedef natural U __attribute__((vector_size(VB)));  // the bits of a V

constexpr bool SINGLE = sizeof(real) == 4;
constexpr int MANTISSA = SINGLE ? 23 : 52;
constexpr int BIAS = SINGLE ? 127 : 1023;
constexpr natural ONE_BITS = natural(BIAS) << MANTISSA;
constexpr natural LOW_BITS = (natural(1) << MANTISSA) - 1;        // the mantissa's
constexpr natural SIGN_BIT = natural(1) << (8 * sizeof(real) - 1);
constexpr natural LEAST_BITS = ONE_BITS - (natural(1) << (MANTISSA - 1));  // of 0.75

constexpr real INF = std::numeric_limits<real>::infinity();
constexpr real NOT_A_NUMBER = std::numeric_limits<real>::quiet_NaN();
constexpr real SHIFT = real(3) * (natural(1) << (MANTISSA - 1));  // x + SHIFT has round(x) in its low bits
constexpr real LOG2_E = real(1.4426950408889634074);
// ln 2 in two parts, the first short enough for its product with an exponent to be exact; the second is positive.
constexpr real LN2_HIGH = SINGLE ? real(0x1.62ep-1) : real(0x1.62e42fefa2p-1);
constexpr real LN2_LOW = SINGLE ? real(0x1.0bfbe8e7bcd5ep-15) : real(0x1.9ef35793c7673p-41);

INLINE V signed_as(V v, V sign) { return (V)((U)v | ((U)sign & SIGN_BIT)); }  // v without a sign, or with the same

// a (c + c1 (b x) + c2 (b x)^2 + …)
INLINE V polynomial(V, real a, real, real c) { return splat(a * c); }
template <class... C> INLINE V polynomial(V x, real a, real b, real c, C... higher) {
  return polynomial(x, a * b, b, higher...) * x + splat(a * c);
}

template <class F> INLINE V each(V v, F f) {
  V r;
  for (int l = 0; l < VL; l++) r[l] = f(v[l]);
  return r;
}

#if defined(__AVX512F__)
constexpr __mmask16 ALL_16 = 0xffff;  // GCC 12 warns of what the forms without a mask leave undefined
constexpr __mmask8 ALL_8 = 0xff;
INLINE __m512 raw_sqrt(__m512 x) { return _mm512_maskz_sqrt_ps(ALL_16, x); }
INLINE __m512d raw_sqrt(__m512d x) { return _mm512_maskz_sqrt_pd(ALL_8, x); }
template <int MODE> INLINE __m512 raw_round(__m512 x) { return _mm512_maskz_roundscale_ps(ALL_16, x, MODE); }
template <int MODE> INLINE __m512d raw_round(__m512d x) { return _mm512_maskz_roundscale_pd(ALL_8, x, MODE); }
INLINE __m512 raw_min(__m512 x, __m512 y) { return _mm512_maskz_min_ps(ALL_16, x, y); }
INLINE __m512d raw_min(__m512d x, __m512d y) { return _mm512_maskz_min_pd(ALL_8, x, y); }
INLINE __m512 raw_max(__m512 x, __m512 y) { return _mm512_maskz_max_ps(ALL_16, x, y); }
INLINE __m512d raw_max(__m512d x, __m512d y) { return _mm512_maskz_max_pd(ALL_8, x, y); }
#elif defined(__AVX2__)
INLINE __m256 raw_sqrt(__m256 x) { return _mm256_sqrt_ps(x); }
INLINE __m256d raw_sqrt(__m256d x) { return _mm256_sqrt_pd(x); }
template <int MODE> INLINE __m256 raw_round(__m256 x) { return _mm256_round_ps(x, MODE); }
template <int MODE> INLINE __m256d raw_round(__m256d x) { return _mm256_round_pd(x, MODE); }
INLINE __m256 raw_min(__m256 x, __m256 y) { return _mm256_min_ps(x, y); }
INLINE __m256d raw_min(__m256d x, __m256d y) { return _mm256_min_pd(x, y); }
INLINE __m256 raw_max(__m256 x, __m256 y) { return _mm256_max_ps(x, y); }
INLINE __m256d raw_max(__m256d x, __m256d y) { return _mm256_max_pd(x, y); }
#elif defined(__SSE2__)
INLINE __m128 raw_sqrt(__m128 x) { return _mm_sqrt_ps(x); }
INLINE __m128d raw_sqrt(__m128d x) { return _mm_sqrt_pd(x); }
INLINE __m128 raw_min(__m128 x, __m128 y) { return _mm_min_ps(x, y); }
INLINE __m128d raw_min(__m128d x, __m128d y) { return _mm_min_pd(x, y); }
INLINE __m128 raw_max(__m128 x, __m128 y) { return _mm_max_ps(x, y); }
INLINE __m128d raw_max(__m128d x, __m128d y) { return _mm_max_pd(x, y); }
#else
INLINE V raw_sqrt(V v) { return each(v, [](real x) { return std::sqrt(x); }); }
INLINE V raw_min(V x, V y) { return x < y ? x : y; }
INLINE V raw_max(V x, V y) { return x > y ? x : y; }
#endif

// x within [low, high]; NaN stays, because raw_min and raw_max answer their second argument then.
INLINE V clamp(V x, real low, real high) { return (V)raw_max(splat(low), (V)raw_min(splat(high), x)); }

#if defined(__AVX512F__)
// x * 2^n for whole n of any size, rounded once.
INLINE __m512 raw_scale(__m512 x, __m512 n) { return _mm512_maskz_scalef_ps(ALL_16, x, n); }
INLINE __m512d raw_scale(__m512d x, __m512d n) { return _mm512_maskz_scalef_pd(ALL_8, x, n); }
INLINE V scale(V x, V n) { return (V)raw_scale(x, n); }
// |x| = 2^exponent(x) * significand(x), the latter in [0.75, 1.5), once the exponent of the latter is taken off.
INLINE __m512 exponent(__m512 x) { return _mm512_maskz_getexp_ps(ALL_16, x); }
INLINE __m512d exponent(__m512d x) { return _mm512_maskz_getexp_pd(ALL_8, x); }
INLINE __m512 significand(__m512 x) {
  return _mm512_maskz_getmant_ps(ALL_16, x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
}
INLINE __m512d significand(__m512d x) {
  return _mm512_maskz_getmant_pd(ALL_8, x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
}
// Where x is 0, infinite, negative or NaN: the logarithm of x; elsewhere y. One answer per class of x, 4 bits each.
constexpr int LOG_ANSWERS = 0x03530422;  // from the lowest: NaN, signaling NaN, 0, 1, -inf, inf, negative, positive
INLINE __m512 log_of_special(__m512 y, __m512 x) {
  return _mm512_fixupimm_ps(y, x, _mm512_set1_epi32(LOG_ANSWERS), 0);
}
INLINE __m512d log_of_special(__m512d y, __m512d x) {
  return _mm512_fixupimm_pd(y, x, _mm512_set1_epi64(LOG_ANSWERS), 0);
}
#else
INLINE V power_of_two(U n) { return (V)((n << MANTISSA) + ONE_BITS); }  // from the low bits of n, in the normal range
#endif

// n = round(a x / ln 2 - 0.085) and r = high - low = x - n ln 2 / a, where high is exact. The 0.085 makes a r lie in
// (-0.288, 0.406): below -1/4, where exp(r) is smallest, the rounding of r would weigh most.
constexpr real OFFSET = real(0.085);
struct Reduced {
  V n, r, high, low;
#if !defined(__AVX512F__)
  U shifted;  // has n in its lowest bits
#endif
};
INLINE Reduced reduce(V x, real a) {
  Reduced y;
#if defined(__AVX512F__)
  y.n = (V)raw_round<_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC>(x * (a * LOG2_E) - OFFSET);
#else
  V shifted = (x * (a * LOG2_E) - OFFSET) + SHIFT;
  y.n = shifted - SHIFT;
  y.shifted = (U)shifted;
#endif
  y.high = x - y.n * (LN2_HIGH / a);
  y.low = y.n * (LN2_LOW / a);
  y.r = y.high - y.low;
  return y;
}

// BRIEF: float with FMA stays within 2 ulp (tried on every float of size 2^-7 to 2^8) with one term less and without
// the part that the rounding of r takes off.
#if defined(__AVX512F__) || defined(__FMA__)
constexpr bool FUSED = true;
#else
constexpr bool FUSED = false;
#endif
constexpr bool BRIEF = SINGLE && FUSED;
INLINE V exp_tail(V r, real a) {  // r^2 a Q(a r) = expm1(a r) / a - r
  V q;
  if constexpr (BRIEF)
    q = polynomial(r, a, a, 0.50000006f, 0.166665629f, 0.0416616276f, 0.00836190674f, 0.00144536269f);
  else if constexpr (SINGLE)
    q = polynomial(r, a, a, 0.5f, 0.166666701f, 0.0416665785f, 0.00833200943f, 0.00139187858f, 0.000209590813f);
  else
    q = polynomial(r, a, a, 0.5, 0.16666666666666666, 0.041666666666667476, 0.0083333333333353143,
                   0.0013888888888189945, 0.0001984126983583515, 2.4801589350750018e-5, 2.7557314848853193e-6,
                   2.755480427417424e-7, 2.5075357693302756e-8, 2.1996187460887066e-9);
  return q * (r * r);
}
INLINE V expm1_kernel(Reduced y, real a) {  // expm1(a r) / a
  return BRIEF ? exp_tail(y.r, a) + y.r : y.high + (exp_tail(y.r, a) - y.low);
}

INLINE V log_tail(V z) {  // P(z)
  if constexpr (SINGLE)
    return polynomial(z, 1, 1, 0.666669488f, 0.399576694f, 0.303641021f);
  else
    return polynomial(z, 1, 1, 0.66666666666672791, 0.39999999996116437, 0.28571429403526483, 0.22222137819580343,
                      0.18186384380925963, 0.15249614675024029, 0.15372709626411576);
}

INLINE V log_from(V k, V f) {  // k ln 2 + log(1 + f)
  V s = f / (f + real(2)), z = s * s;
  return k * LN2_HIGH + (f - (s * (f - z * log_tail(z)) - k * LN2_LOW));
}

// Beyond these the result is 0 or infinite.
constexpr real EXP_LEAST = SINGLE ? -105 : -747, EXP_MOST = SINGLE ? 90 : 711;

INLINE V scale(V e, Reduced x) {  // 2^n e, rounded once
#if defined(__AVX512F__)
  return scale(e, x.n);
#else
  U half = x.shifted >> 1;  // 2^n in two factors, for denormal results
  return e * power_of_two(half) * power_of_two(x.shifted - half);
#endif
}

INLINE V vexp(V x) {
  Reduced y = reduce(clamp(x, EXP_LEAST, EXP_MOST), 1);
  return scale(exp_tail(y.r, 1) + y.r + real(1), y);
}

// e / (1 + e) with e = exp(x): plainly, the worst error would be 2.4 ulp.
INLINE V vsigmoid(V x) {
  Reduced y = reduce(clamp(x, EXP_LEAST, 40), 1);
  V d = exp_tail(y.r, 1) + y.r;
  if constexpr (FUSED) {
    // The constant keeps the sum away from the start of a binade, where rounding costs most, when the quotient is at
    // the end of one.
    constexpr real c = 1.5;
    V e = scale(d * c + c, y);
    return e / (e + c);
  } else {
    // Less what the sum loses, for x < 0; the derivative is then near enough to the quotient.
    V e = scale(d + real(1), y), sum = e + real(1), s = e / sum;
    return s - s * select(x < real(0), e - (sum - real(1)), V{});
  }
}

INLINE V vexpm1(V x) {
  Reduced y = reduce(clamp(x, -40, EXP_MOST), 1);
  V d = expm1_kernel(y, 1);
#if defined(__AVX512F__)
  V inverse = scale(splat(1), -y.n);
#else
  V n = (V)raw_min(splat(64), y.n);  // 1 - 2^-64 is 1
  V inverse = power_of_two((U)(splat(SHIFT) - n));
#endif
  return signed_as(scale(d + (real(1) - inverse), y), x);  // the sign is for -0
}

// With y = -|x|, e = expm1(2 y) / 2 = 2^n d + (2^n - 1) / 2: tanh(|x|) = -e / (1 + e).
INLINE V vtanh(V x) {
  Reduced y = reduce((V)raw_max(splat(SINGLE ? -10 : -20), (V)((U)x | SIGN_BIT)), 2);  // NaN stays
  V d = expm1_kernel(y, 2);
#if defined(__AVX512F__)
  V p = scale(splat(1), y.n);
#else
  V p = power_of_two(y.shifted);
#endif
  constexpr real HALF_UP = real(0.5) + std::numeric_limits<real>::epsilon() / 2;  // decides the one tie, and right
  return signed_as(((real(0.5) - real(0.5) * p) - p * d) / (p * d + (p * HALF_UP + real(0.5))), x);
}

#if !defined(__AVX512F__)
// x = 2^k m for a normal positive x: m in [0.75, 1.5), and k both as a number and as the bits of 2^-k.
struct Split { V k, m, inverse; };
INLINE Split split(V x) {
  U u = (U)x + (ONE_BITS - LEAST_BITS);
  constexpr real ZERO_EXPONENT = real(natural(1) << MANTISSA);  // has the exponent's bits lowest
  V k = (V)((u >> MANTISSA) | (U)splat(ZERO_EXPONENT)) - (ZERO_EXPONENT + BIAS);
  return {k, (V)((u & LOW_BITS) + LEAST_BITS), (V)(2 * ONE_BITS - (u & ~LOW_BITS))};
}
#endif

INLINE V vlog(V x) {
#if defined(__AVX512F__)
  V m = significand(x), k = exponent(x) - exponent(m);
  return (V)log_of_special(log_from(k, m - real(1)), x);
#else
  M denormal = x < std::numeric_limits<real>::min();
  Split p = split(select(denormal, x * real(natural(4) << MANTISSA), x));
  V y = log_from(p.k - select(denormal, splat(MANTISSA + 2), V{}), p.m - real(1));
  V special = select(x == real(0), splat(-INF), select(x < real(0), splat(NOT_A_NUMBER), x));
  return select((x > real(0)) & (x < INF), y, special);
#endif
}

// k from 1 + x, then f = 2^-k x + (2^-k - 1), rounded once: what 1 + x loses of x is in f.
INLINE V vlog1p(V x) {
  V u = x + real(1);
#if defined(__AVX512F__)
  V m = significand(u), k = exponent(u) - exponent(m);
  V f = scale(x, -k) + (scale(splat(1), -k) - real(1));
  V y = (V)log_of_special(log_from(k, f), u);
#else
  Split p = split(u);
  V f = select(x > real(1ull << 60), p.m - real(1), x * p.inverse + (p.inverse - real(1)));
  V special = select(x == real(-1), splat(-INF), select(x < real(-1), splat(NOT_A_NUMBER), x));
  V y = select((x > real(-1)) & (x < INF), log_from(p.k, f), special);
#endif
  return signed_as(y, x);  // -0
}

INLINE M visnan(V v) { return v != v; }
INLINE V vabs(V v) { return (V)((U)v & ~SIGN_BIT); }
INLINE V vmax(V a, V b) { return select((a > b) | (a != a), a, b); }
INLINE V vmin(V a, V b) { return select((a < b) | (a != a), a, b); }
INLINE V vsign(V v) { return select(v > real(0), splat(1), select(v < real(0), splat(-1), V{})); }  // of NaN: 0

#if defined(__AVX512F__) || defined(__AVX2__)
INLINE V vround(V v) { return (V)raw_round<_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC>(v); }
INLINE V vfloor(V v) { return (V)raw_round<_MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC>(v); }
INLINE V vceil(V v) { return (V)raw_round<_MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC>(v); }
INLINE V vtrunc(V v) { return (V)raw_round<_MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC>(v); }
#else
INLINE V vround(V v) { return each(v, [](real x) { return std::nearbyint(x); }); }  // halves to even
INLINE V vfloor(V v) { return each(v, [](real x) { return std::floor(x); }); }
INLINE V vceil(V v) { return each(v, [](real x) { return std::ceil(x); }); }
INLINE V vtrunc(V v) { return each(v, [](real x) { return std::trunc(x); }); }
#endif
INLINE V vsqrt(V v) { return (V)raw_sqrt(v); }
INLINE V vrsqrt(V v) { return real(1) / vsqrt(v); }

INLINE V vsin(V v) { return each(v, [](real x) { return std::sin(x); }); }
INLINE V vcos(V v) { return each(v, [](real x) { return std::cos(x); }); }
INLINE V vatan(V v) { return each(v, [](real x) { return std::atan(x); }); }
INLINE V verf(V v) { return each(v, [](real x) { return std::erf(x); }); }
INLINE V vpow(V a, V b) {
  V r;
  for (int l = 0; l < VL; l++) r[l] = std::pow(a[l], b[l]);
  return r;
}

// log(1 + exp(y)) / beta with y = beta x, as max(y, 0) + log1p(exp(-|y|)), which cannot overflow; x above threshold.
INLINE V vsoftplus(V x, real beta, real threshold) {
  V y = x * beta;
  V r = (select(y > real(0), y, V{}) + vlog1p(vexp((V)((U)y | SIGN_BIT)))) / beta;
  return select(y > threshold, x, r);
}

// Of the first `lanes` lanes; NaN when one of them is. No lanes: the identity, -inf or inf.
INLINE real max_of(V v, int lanes) {
  real r = -INF;
  for (int l = 0; l < lanes; l++) r = v[l] > r || v[l] != v[l] ? v[l] : r;
  return r;
}
INLINE real min_of(V v, int lanes) {
  real r = INF;
  for (int l = 0; l < lanes; l++) r = v[l] < r || v[l] != v[l] ? v[l] : r;
  return r;
}

}  // namespace carousel
