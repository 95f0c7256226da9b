// What a generated loop is given: where its rows, vectors and packed matrices are, and its share of the work.
#pragma once
#include "runtime.h"

namespace carousel {

// Row `r` of step `t` begins at p + t * t_stride + r * r_stride.
struct Rows {
  real* p;
  long t_stride, r_stride;
};

struct Frame {
  const Runtime* runtime;
  const Rows* rows;
  const real* const* vectors;
  const real* const* packed;
  const int32_t* const* tables;
  const long* sizes;
  const real* numbers;
  long from, to;     // steps; backward runs from `to - 1` down to `from`
  long batch;
  long threads;
  long split_units;  // threads share the units of every row (and meet at a barrier) instead of the rows
};

INLINE long blocks_of(long n) { return (n + BLK - 1) / BLK; }

// Calls f(first row, rows) for tiles of at most MR rows, as equal as can be.
template <class F> INLINE void tiles(long r0, long r1, F f) {
  const long count = (r1 - r0 + MR - 1) / MR;
  for (long i = 0; i < count; i++) {
    const long a = r0 + (r1 - r0) * i / count, b = r0 + (r1 - r0) * (i + 1) / count;
    f(a, b - a);
  }
}

}  // namespace carousel
