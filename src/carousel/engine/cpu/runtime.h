// What generated code calls: the register tile of products, threads, and a barrier between them.
#pragma once
#include <atomic>

#include "vector.h"

namespace carousel {

// One summand of a tile: acc[r][c] += Σ_k a[r * lda + k] * panel[k * width + c], where width is the tile's.
struct Term {
  const real* a;
  long lda;
  const real* panel;
  long k;
};

// Part `id` of `threads` of a piece of work.
typedef void (*Task)(void* argument, long id, long threads);

// Holds each of `threads` threads in barrier_wait until all of them are there; can be used again at once.
struct Barrier {
  explicit Barrier(long threads) : threads(threads) {}
  const long threads;
  alignas(64) std::atomic<long> arrived{0};
  alignas(64) std::atomic<long> phase{0};
};

struct Runtime {
  // Rows 1 to MR, vectors 1 to NV: writes rows × (vectors * VL) elements of `out`; zeros where there are no terms.
  void (*tile)(long rows, long vectors, const Term* terms, long count, real* out, long ldo);
  // Runs every id below `threads`, each on a thread of its own; the caller is one of them.
  void (*parallel)(long threads, Task task, void* argument);
  void (*barrier_wait)(Barrier* barrier);
  // How many ids `parallel(threads, …)` runs at the same time, so that a barrier for that many can be passed.
  long (*team)(long threads);
};

// One piece of work for `perform`: what to do, and a table with the arguments, all of them 8 bytes wide. `count` is the
// number of jobs in the table, for a loop the function.
struct Command {
  enum { pack, product, loop, outer, copy, sum };
  long what, count;
  const void* table;
};

}  // namespace carousel
