// The kernels that do not depend on a cell: packed products, weight gradients, and threads.
//
// A packed matrix of k × n is a row of panels, each of k rows and BLK columns; the last one has as many whole vectors
// as the remaining columns need, filled up with zeros. Panel p starts at p * k * BLK. Everything is fastest where
// packed matrices start at a multiple of 64 bytes.
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include "runtime.h"

using namespace carousel;

extern "C" {
struct PackJob {
  const real* w;
  long stride_k, stride_n, k, n;
  real* out;
};
struct Block {
  const real* p;
  long ld, n;
};
// What a block of columns gives: c[row, :] for every row of C.
struct Column {
  const real* p;
  long ld, n;
  real* c;
  long ldc, accumulate;
};
}

namespace {

long ceil_div(long a, long b) { return (a + b - 1) / b; }

typedef void (*GompParallel)(void (*)(void*), void*, unsigned, unsigned);
typedef int (*GompNumber)();

struct {
  GompParallel parallel;
  GompNumber thread, threads;
  pid_t pid;
} gomp;

struct Region {
  Task task;
  void* argument;
  long threads;
  std::atomic<bool> ran;
};

// A team of another size runs nothing: a task with a barrier would never end.
void in_region(void* p) {
  Region& region = *(Region*)p;
  if (gomp.threads() != region.threads) return;
  region.ran.store(true, std::memory_order_relaxed);
  region.task(region.argument, gomp.thread(), region.threads);
}

void run_on_new_threads(long threads, Task task, void* argument) {
  std::vector<std::thread> others;
  try {
    others.reserve(threads - 1);
    for (long id = 1; id < threads; id++) others.emplace_back(task, argument, id, threads);
  } catch (...) {  // those already started may be waiting for the rest
    fputs("carousel: cannot start a thread\n", stderr);
    abort();
  }
  task(argument, 0, threads);
  for (std::thread& other : others) other.join();
}

void run(long threads, Task task, void* argument) {
  if (threads <= 1) return task(argument, 0, 1);
  if (gomp.parallel && getpid() == gomp.pid) {  // libgomp hangs in a child of fork
    Region region{task, argument, threads, {false}};
    gomp.parallel(in_region, &region, (unsigned)threads, 0);
    if (region.ran.load(std::memory_order_relaxed)) return;
  }
  run_on_new_threads(threads, task, argument);
}

template <class F> void on_threads(long threads, F f) {
  run(threads, [](void* p, long, long) { (*(F*)p)(); }, &f);
}

// f(unit) for each unit; threads take the next one when they are free.
template <class F> void share(long threads, long units, F f) {
  std::atomic<long> next{0};
  on_threads(units > 1 ? threads : 1, [&] {
    for (long u; (u = next.fetch_add(1, std::memory_order_relaxed)) < units;) f(u);
  });
}

INLINE void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

struct Buffer {  // aligned memory that a thread keeps
  real* p = nullptr;
  long size = 0;
  ~Buffer() { free(p); }
  real* get(long n) {
    if (n > size) {
      free(p);
      size = ceil_div(n, 1024) * 1024;
      p = (real*)aligned_alloc(4096, ceil_div(size * sizeof(real), 4096) * 4096);
      if (!p) {
        fputs("carousel: out of memory\n", stderr);
        abort();
      }
    }
    return p;
  }
};
thread_local Buffer buffer_a, buffer_b;

INLINE V broadcast(real x) { return x - V{}; }  // unlike 0 + x, this is x for -0 too: no addition is left

// As many sets of accumulators as keep two units busy at a latency of four cycles.
constexpr int sets(int tile) { return tile >= 8 ? 1 : (8 + tile - 1) / tile; }

// Where a tile goes: c (+)= … + bias. While it is computed, lines at ahead, ahead + ahead_ld, … are fetched into L2, one
// for each step of the sum.
struct Target {
  real* c;
  long ldc;
  bool add = false;
  const real* bias = nullptr;
  const real* ahead = c;
  long ahead_ld = 0;
};

// Target (+)= Σ_terms A[row:, :] · panel, where element (r, k) of A is at a[r * lda + k * ks].
template <int R, int C> void kernel(const Term* terms, long count, long row, long ks, const Target& to) {
  constexpr int U = sets(R * C), WIDTH = C * VL;
  real* const out = to.c;
  const real *ahead = to.ahead, *bias = to.bias;
  const long ldc = to.ldc, ahead_ld = to.ahead_ld;
  V acc[U][R][C] = {};
  if (to.add)
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) __builtin_prefetch(out + r * ldc + c * VL, 1);
  for (const Term* t = terms; t < terms + count; t++) {
    const long lda = t->lda;
    const real *a = t->a + row * lda, *b = t->panel, *end = b + t->k * WIDTH;
    auto step = [&](int u) __attribute__((always_inline)) {
      V w[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) w[c] = load(b + u * WIDTH + c * VL);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const V x = broadcast(a[r * lda + u * ks]);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) acc[u][r][c] += x * w[c];
      }
    };
    for (; b + (U - 1) * WIDTH < end; b += U * WIDTH, a += U * ks) {
#pragma GCC unroll 8
      for (int u = 0; u < U; u++) step(u);
      if (U == 1) {  // smaller tiles have no time to spare
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_ld;
      }
    }
    if (U > 1)
      for (; b < end; b += WIDTH, a += ks) step(0);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
      V x = acc[0][r][c];
#pragma GCC unroll 8
      for (int u = 1; u < U; u++) x += acc[u][r][c];
      real* o = out + r * ldc + c * VL;
      if (bias) x += load(bias + c * VL);
      if (to.add) x += load(o);
      store(o, x);
    }
}

typedef void (*Kernel)(const Term*, long, long, long, const Target&);
template <size_t... I> constexpr std::array<Kernel, MR * NV> table(std::index_sequence<I...>) {
  return {{kernel<I / NV + 1, I % NV + 1>...}};
}
constexpr std::array<Kernel, MR * NV> kernels = table(std::make_index_sequence<MR * NV>());

// The same for `columns` columns that need not fill the vectors.
void run_kernel(long rows, long columns, const Term* terms, long count, long row, long ks, const Target& to) {
  const long vectors = ceil_div(columns, VL), width = vectors * VL;
  const Kernel f = kernels[(rows - 1) * NV + vectors - 1];
  if (columns == width) return f(terms, count, row, ks, to);
  alignas(64) real tile[MR * BLK];
  f(terms, count, row, ks, {tile, width});
  for (long r = 0; r < rows; r++)
    for (long j = 0; j < columns; j++) {
      real x = tile[r * width + j], *o = to.c + r * to.ldc + j;
      if (to.bias) x += to.bias[j];
      if (to.add) x += *o;
      *o = x;
    }
}

// f(first, rows) for tiles of nearly the same number of rows.
template <class F> INLINE void row_tiles(long from, long to, F f) {
  const long n = to - from, tiles = ceil_div(n, MR);
  for (long i = 0; i < tiles; i++) {
    const long a = from + n * i / tiles, b = from + n * (i + 1) / tiles;
    f(a, b - a);
  }
}

// Rows and columns of VL × VL exchanged.
INLINE void transpose(V (&x)[VL]) {
#pragma GCC unroll 4
  for (int s = 1; s < VL; s *= 2) {
    M low, high;
    for (int l = 0; l < VL; l++) {
      low[l] = l & s ? VL + (l ^ s) : l;
      high[l] = l & s ? VL + l : l ^ s;
    }
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++)
      if (!(i & s)) {
        const V a = x[i], b = x[i + s];
        x[i] = __builtin_shuffle(a, b, low);
        x[i + s] = __builtin_shuffle(a, b, high);
      }
  }
}

void pack_panel(const real* w, long stride_k, long stride_n, long k, long columns, real* out) {
  const long width = ceil_div(columns, VL) * VL;
  long j = 0;
  if (stride_n == 1) {
    j = columns / VL * VL;
    if (j == BLK)
      for (long i = 0; i < k; i++) memcpy(out + i * BLK, w + i * stride_k, BLK * sizeof(real));
    else if (j)
      for (long i = 0; i < k; i++) memcpy(out + i * width, w + i * stride_k, j * sizeof(real));
  } else if (stride_k == 1) {
    for (; j + VL <= columns; j += VL) {
      long i = 0;
      for (; i + VL <= k; i += VL) {
        V x[VL];
#pragma GCC unroll 16
        for (int l = 0; l < VL; l++) x[l] = load(w + (j + l) * stride_n + i);
        transpose(x);
#pragma GCC unroll 16
        for (int l = 0; l < VL; l++) store(out + (i + l) * width + j, x[l]);
      }
      for (; i < k; i++)
        for (long l = 0; l < VL; l++) out[i * width + j + l] = w[(j + l) * stride_n + i];
    }
  }
  for (; j < width; j++)
    for (long i = 0; i < k; i++) out[i * width + j] = j < columns ? w[i * stride_k + j * stride_n] : real(0);
}

}  // namespace

extern "C" {

// Torch's own OpenMP runtime: its GOMP_parallel and omp_get_thread_num. Without it each call starts threads.
void use_gomp(void* parallel, void* thread_num) {
  gomp = {};
  Dl_info library;
  if (!parallel || !thread_num || !dladdr(parallel, &library)) return;
  void* handle = dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (!handle) return;
  gomp.threads = (GompNumber)dlsym(handle, "omp_get_num_threads");
  dlclose(handle);
  if (!gomp.threads) return;
  gomp.thread = (GompNumber)thread_num;
  gomp.pid = getpid();
  gomp.parallel = (GompParallel)parallel;
}

void parallel(long threads, Task task, void* argument) { run(threads, task, argument); }

long team(long threads) { return std::max(threads, 1L); }

void barrier_wait(Barrier* barrier) {
  const long phase = barrier->phase.load(std::memory_order_relaxed);
  if (barrier->arrived.fetch_add(1, std::memory_order_acq_rel) == barrier->threads - 1) {
    barrier->arrived.store(0, std::memory_order_relaxed);
    barrier->phase.store(phase + 1, std::memory_order_release);
    return;
  }
  for (long spins = 0; barrier->phase.load(std::memory_order_acquire) == phase; spins++)
    if (spins < 2000) relax();
    else sched_yield();
}

void tile(long rows, long vectors, const Term* terms, long count, real* out, long ldo) {
  kernels[(rows - 1) * NV + vectors - 1](terms, count, 0, 1, {out, ldo});
}

const Runtime* runtime() {
  static const Runtime table = {tile, parallel, barrier_wait, team};
  return &table;
}

long vector_length() { return VL; }
long panel_width() { return BLK; }

long packed_size(long k, long n) { return k * ceil_div(n, VL) * VL; }

void pack(const real* w, long stride_k, long stride_n, long k, long n, real* out) {
  for (long j = 0; j < n; j += BLK)
    pack_panel(w + j * stride_n, stride_k, stride_n, k, std::min<long>(n - j, BLK), out + j * k);
}

void pack_many(const PackJob* jobs, long count, long threads) {
  long panels = 0, size = 0;
  for (long i = 0; i < count; i++) panels += ceil_div(jobs[i].n, BLK), size += jobs[i].k * jobs[i].n;
  if (size < 1 << 15) threads = 1;
  share(threads, panels, [&](long panel) {
    const PackJob* job = jobs;
    for (; panel >= ceil_div(job->n, BLK); job++) panel -= ceil_div(job->n, BLK);
    const long j = panel * BLK;
    pack_panel(job->w + j * job->stride_n, job->stride_k, job->stride_n, job->k, std::min<long>(job->n - j, BLK),
               job->out + j * job->k);
  });
}

// C[m × n] (+)= Σ_terms A · P + bias, each P packed.
void product(long m, const Term* terms, long count, long n, real* c, long ldc, long accumulate, const real* bias,
             long threads) {
  constexpr long MC = 120, KC = 512, MOST = 8;
  if (m <= 0 || n <= 0) return;
  long depth = 0;
  for (long t = 0; t < count; t++) depth += terms[t].k;
  if (m * n * depth < 1 << 18) threads = 1;
  const long panels = ceil_div(n, BLK), tiles = ceil_div(m, MR);
  const bool by_panels = threads > 1 && m < 32 * threads && panels >= threads;
  const long row_units = by_panels ? 1 : std::min(tiles, ceil_div(m, MC * threads) * threads);
  const long panel_units = by_panels ? threads : 1;
  share(threads, row_units * panel_units, [&](long unit) {
    const long r = unit % row_units, q = unit / row_units;
    const long from = tiles * r / row_units * MR, to = std::min(m, tiles * (r + 1) / row_units * MR);
    bool first = true;
    long t = 0, done = 0;  // the next term, and how much of it is done
    do {
      Term chunk[MOST];
      long source[MOST], start[MOST], pieces = 0, left = KC;
      while (t < count && pieces < MOST && left > 0) {
        const long k = std::min(terms[t].k - done, left);
        if (k > 0) {
          chunk[pieces] = {terms[t].a + done, terms[t].lda, nullptr, k};
          source[pieces] = t, start[pieces++] = done;
        }
        done += k, left -= k;
        if (done >= terms[t].k) t++, done = 0;
      }
      for (long p = panels * q / panel_units; p < panels * (q + 1) / panel_units; p++) {
        const long columns = std::min<long>(n - p * BLK, BLK), width = ceil_div(columns, VL) * VL;
        for (long i = 0; i < pieces; i++)
          chunk[i].panel = terms[source[i]].panel + p * BLK * terms[source[i]].k + start[i] * width;
        row_tiles(from, to, [&](long row, long rows) {
          run_kernel(rows, columns, chunk, pieces, row, 1,
                     {c + row * ldc + p * BLK, ldc, !first || accumulate, first && bias ? bias + p * BLK : nullptr});
        });
      }
      first = false;
    } while (t < count);
  });
}

// C[Σ a.n × b.n] (+)= Σ_t a[t, :]ᵀ b[t, :] for every b; the columns of the blocks of `a` are the rows of C, in order.
void outer(long rows, long blocks, const Block* a, long targets, const Column* b, long threads) {
  constexpr long MC = 88 * MR * sizeof(float) / sizeof(real), KC = 256;
  long m = 0, n = 0, panels = 0;
  for (long i = 0; i < blocks; i++) m += a[i].n;
  for (long i = 0; i < targets; i++) n += b[i].n, panels += ceil_div(b[i].n, BLK);
  if (m <= 0 || n <= 0) return;
  if (m * n * rows < 1 << 18) threads = 1;
  const long tiles = ceil_div(m, MR);
  long grid_m = 1, grid_n = 1;  // C is split over threads so that little is packed twice
  double best = -1;
  for (long g = 1; g <= threads; g++) {
    const long h = threads / g, y = ceil_div(tiles, g) * MR, x = ceil_div(panels, h) * BLK;
    const double cost = y * x / (2.0 * VL) + y + 0.25 * x;
    if (best < 0 || cost < best) best = cost, grid_m = g, grid_n = h;
  }
  struct Panel {  // columns `from` to `from + n` of a target
    const Column* of;
    long from, n;
    const real* at(long k) const { return of->p + k * of->ld + from; }
  };
  auto panel = [&](long p) {
    const Column* of = b;
    for (; p >= ceil_div(of->n, BLK); of++) p -= ceil_div(of->n, BLK);
    return Panel{of, p * BLK, std::min<long>(of->n - p * BLK, BLK)};
  };
  share(threads, grid_m * grid_n, [&](long unit) {
    const long u = unit % grid_m, v = unit / grid_m;
    const long from = tiles * u / grid_m * MR, to = std::min(m, tiles * (u + 1) / grid_m * MR);
    const long p0 = panels * v / grid_n, p1 = panels * (v + 1) / grid_n;
    if (from >= to || p0 >= p1) return;
    const long parts = ceil_div(to - from, MC);
    real* packed_a = buffer_a.get((ceil_div(to - from, parts) + 1) * KC);
    real* packed_b = buffer_b.get(BLK * KC);
    for (long part = 0; part < parts; part++) {
      const long low = from + (to - from) * part / parts, high = from + (to - from) * (part + 1) / parts;
      // f(block, its column, rows of the tile, row of C) for tiles that lie in one block
      auto each_tile = [&](auto f) {
        long start = 0;
        for (long i = 0; i < blocks; start += a[i++].n)
          row_tiles(std::max(low, start), std::max(std::max(low, start), std::min(high, start + a[i].n)),
                    [&](long row, long size) { f(a[i], row - start, size, row); });
      };
      long k0 = 0;
      do {
        const long k = std::min(rows - k0, KC);
        for (long i0 = 0; i0 < k; i0 += 16)
          each_tile([&](const Block& block, long column, long size, long row) {
            const long i1 = std::min(k, i0 + 16);
            const real* in = block.p + k0 * block.ld + column;
            real* out = packed_a + (row - low) * k;
            if (size == MR)
              for (long i = i0; i < i1; i++) {
                memcpy(out + i * MR, in + i * block.ld, MR * sizeof(real));
                __builtin_prefetch(in + i * block.ld + 4 * VL);
              }
            else
              for (long i = i0; i < i1; i++)
                for (long r = 0; r < size; r++) out[i * size + r] = in[i * block.ld + r];
          });
        for (long p = p0; p < p1; p++) {
          const Panel here = panel(p);
          const Column& column = *here.of;
          pack_panel(here.at(k0), column.ld, 1, k, here.n, packed_b);
          // The first tiles fetch what is packed next, each one vector of every row.
          const bool last = p + 1 == p1;
          const Panel next = panel(last ? p0 : p + 1);
          const real* ahead = last && k0 + 2 * k > rows ? nullptr : next.at(last ? k0 + k : k0);
          long fetched = 0;
          each_tile([&](const Block&, long, long size, long row) {
            const Term term{packed_a + (row - low) * k, 1, packed_b, k};
            Target target{column.c + row * column.ldc + here.from, column.ldc, k0 > 0 || column.accumulate};
            if (ahead && fetched < NV) target.ahead = ahead + fetched++ * VL, target.ahead_ld = next.of->ld;
            run_kernel(size, here.n, &term, 1, 0, size, target);
          });
        }
        k0 += k;
      } while (k0 < rows);
    }
  });
}

// out[n] (+)= Σ_t p[t, :], in blocks of rows, so that rounding errors stay small.
void column_sums(long rows, const real* p, long ld, long n, real* out, long accumulate, long threads) {
  constexpr long COLUMNS = 512, ROWS = 128;
  if (rows * n < 1 << 15) threads = 1;
  const long vectors = ceil_div(n, VL), units = std::max(std::min(threads, vectors), ceil_div(n, COLUMNS));
  share(threads, n > 0 ? units : 0, [&](long unit) {
    const long from = vectors * unit / units * VL, size = std::min(n, vectors * (unit + 1) / units * VL) - from;
    real total[COLUMNS], sums[COLUMNS];
    for (long j = 0; j < size; j++) total[j] = accumulate ? out[from + j] : real(0);
    for (long t = 0; t < rows;) {
      const long end = std::min(rows, t + ROWS);
      memset(sums, 0, sizeof sums);
      for (; t + 4 <= end; t += 4) {
        const real *q0 = p + t * ld + from, *q1 = q0 + ld, *q2 = q1 + ld, *q3 = q2 + ld;
        for (long j = 0; j < size; j++) sums[j] += (q0[j] + q1[j]) + (q2[j] + q3[j]);
      }
      for (; t < end; t++)
        for (long j = 0; j < size; j++) sums[j] += p[t * ld + from + j];
      for (long j = 0; j < size; j++) total[j] += sums[j];
    }
    memcpy(out + from, total, size * sizeof(real));
  });
}

// Rows of n numbers from one place to another; zeros where there is no source.
void copy_rows(real* to, long to_ld, const real* from, long from_ld, long rows, long n, long threads) {
  const long units = rows * n < 1 << 15 ? 1 : ceil_div(rows * n, 1 << 14);
  share(threads, std::min(units, rows), [&](long unit) {
    const long count = std::min(units, rows);
    for (long r = rows * unit / count; r < rows * (unit + 1) / count; r++)
      if (from) memcpy(to + r * to_ld, from + r * from_ld, n * sizeof(real));
      else memset(to + r * to_ld, 0, n * sizeof(real));
  });
}

// A list of work, one piece after the other; `table` has what the piece's function is given.
void perform(const Command* commands, long count, long threads) {
  for (const Command* c = commands; c < commands + count; c++) {
    const long* const t = (const long*)c->table;
    switch (c->what) {
      case Command::pack:
        pack_many((const PackJob*)t, c->count, threads);
        break;
      case Command::product:
        product(t[0], (const Term*)t[1], t[2], t[3], (real*)t[4], t[5], t[6], nullptr, threads);
        break;
      case Command::loop:
        ((void (*)(const void*))c->count)(t);
        break;
      case Command::outer:
        outer(t[0], t[1], (const Block*)t[2], t[3], (const Column*)t[4], threads);
        break;
      case Command::copy:
        for (long i = 0; i < c->count; i++)
          copy_rows((real*)t[6 * i], t[6 * i + 1], (const real*)t[6 * i + 2], t[6 * i + 3], t[6 * i + 4], t[6 * i + 5],
                    threads);
        break;
      case Command::sum:
        for (long i = 0; i < c->count; i++)
          column_sums(t[6 * i], (const real*)t[6 * i + 1], t[6 * i + 2], t[6 * i + 3], (real*)t[6 * i + 4], t[6 * i + 5],
                      threads);
        break;
    }
  }
}

// GFLOP/s of multiply-adds on registers only.
double fma_peak(long iterations, long threads) {
  const auto start = std::chrono::steady_clock::now();
  run(threads, [](void* p, long id, long) {
    V acc[12], x = broadcast(real(0.999)), y = broadcast(real(0.001));
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) acc[i] = broadcast(real(id + i));
    for (long k = 0; k < *(long*)p; k++)
#pragma GCC unroll 12
      for (int i = 0; i < 12; i++) {
        acc[i] = acc[i] * x + y;
#if defined(__x86_64__)
        asm volatile("" : "+x"(acc[i]));
#endif
      }
  }, &iterations);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return 24e-9 * VL * iterations * std::max(threads, 1L) / seconds.count();
}

}  // extern "C"
