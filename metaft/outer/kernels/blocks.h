// Products with vectors of channels, for places that lie anywhere in memory; sums stay in registers.
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <vector>

// All loops over a block: one left as it is would index the sums, and so put them into memory.
#define UNROLL _Pragma("GCC unroll 16")

namespace {

template <typename T>
using Vec = at::vec::Vectorized<T>;

// A block of ROWS x VECTORS sums stays in registers: 24 of 32, or 12 of 16.
constexpr int ROWS = 6;
#if defined(CPU_CAPABILITY_AVX2)
constexpr int VECTORS = 2;
#else
constexpr int VECTORS = 4;
#endif
constexpr int64_t SUMMED = 128;  // places that are summed block by block, so that they stay in the cache

// One tap of the window: where its values lie from those of the first, and its matrix.
template <typename T>
struct Tap {
  int64_t shift;
  const T* matrix;
};

template <typename T>
struct Taps {
  const Tap<T>* at;
  int64_t number, depth, row;  // of each matrix: its rows, and the stride between them
};

// C[r, :] = start + sum over taps and k of A[r][shift + k] matrix[k, :], with rows that lie anywhere; without a start,
// C is added to.
template <typename T, int R, int V>
__attribute__((noinline)) void block(
    const T* const* a, Taps<T> taps, int64_t column, T* const* c, const T* start) {
  Vec<T> sum[R][V];
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int v = 0; v < V; ++v) sum[r][v] = Vec<T>::loadu((start ? start : c[r]) + column + v * Vec<T>::size());
  }
  for (int64_t t = 0; t < taps.number; ++t) {
    const T* left[R];
    UNROLL for (int r = 0; r < R; ++r) left[r] = a[r] + taps.at[t].shift;
    const T* matrix = taps.at[t].matrix + column;
    for (int64_t k = 0; k < taps.depth; ++k, matrix += taps.row) {
      Vec<T> right[V];
      UNROLL for (int v = 0; v < V; ++v) right[v] = Vec<T>::loadu(matrix + v * Vec<T>::size());
      UNROLL for (int r = 0; r < R; ++r) {
        const Vec<T> one(left[r][k]);
        UNROLL for (int v = 0; v < V; ++v) sum[r][v] = at::vec::fmadd(one, right[v], sum[r][v]);
      }
    }
  }
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int v = 0; v < V; ++v) sum[r][v].store(c[r] + column + v * Vec<T>::size());
  }
}

template <typename T, int V>
void blocks(const T* const* a, Taps<T> taps, int64_t column, T* const* c, const T* start, int64_t rows) {
  for (; rows >= ROWS; rows -= ROWS, a += ROWS, c += ROWS) block<T, ROWS, V>(a, taps, column, c, start);
  if (rows == 5) block<T, 5, V>(a, taps, column, c, start);
  if (rows == 4) block<T, 4, V>(a, taps, column, c, start);
  if (rows == 3) block<T, 3, V>(a, taps, column, c, start);
  if (rows == 2) block<T, 2, V>(a, taps, column, c, start);
  if (rows == 1) block<T, 1, V>(a, taps, column, c, start);
}

// C[r, :] (+)= sum over places of A[place][r] B[place, :], with rows of A and C that lie anywhere. What is added to is
// added last: sums of thousands would be less exact one number after another.
template <typename T>
struct Pair {
  const T *a, *b;
};

template <typename T>
struct Row {
  int64_t from;
  T* to;
};

template <typename T, int R, int V>
__attribute__((noinline)) void outer(
    const Pair<T>* pairs, int64_t places, const Row<T>* rows, int64_t column, bool add) {
  Vec<T> sum[R][V];
  int64_t from[R];
  UNROLL for (int r = 0; r < R; ++r) {
    from[r] = rows[r].from;
    UNROLL for (int v = 0; v < V; ++v) sum[r][v] = Vec<T>(T(0));
  }
  for (int64_t p = 0; p < places; ++p) {
    const T *left = pairs[p].a, *line = pairs[p].b + column;
    Vec<T> right[V];
    UNROLL for (int v = 0; v < V; ++v) right[v] = Vec<T>::loadu(line + v * Vec<T>::size());
    UNROLL for (int r = 0; r < R; ++r) {
      const Vec<T> one(left[from[r]]);
      UNROLL for (int v = 0; v < V; ++v) sum[r][v] = at::vec::fmadd(one, right[v], sum[r][v]);
    }
  }
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int v = 0; v < V; ++v) {
      T* to = rows[r].to + column + v * Vec<T>::size();
      (add ? Vec<T>::loadu(to) + sum[r][v] : sum[r][v]).store(to);
    }
  }
}

template <typename T, int V>
void outers(const Pair<T>* pairs, int64_t places, const Row<T>* rows, int64_t left, int64_t column, bool add) {
  for (; left >= ROWS; left -= ROWS, rows += ROWS) outer<T, ROWS, V>(pairs, places, rows, column, add);
  if (left == 5) outer<T, 5, V>(pairs, places, rows, column, add);
  if (left == 4) outer<T, 4, V>(pairs, places, rows, column, add);
  if (left == 3) outer<T, 3, V>(pairs, places, rows, column, add);
  if (left == 2) outer<T, 2, V>(pairs, places, rows, column, add);
  if (left == 1) outer<T, 1, V>(pairs, places, rows, column, add);
}

// Columns in panels of VECTORS vectors; `width` is a multiple of a vector.
template <typename T, typename F>
void panels(int64_t width, F each) {
  constexpr int64_t lanes = Vec<T>::size();
  for (int64_t j = 0; j < width;) {
    const int64_t vectors = std::min<int64_t>((width - j) / lanes, VECTORS);
    each(j, vectors);
    j += vectors * lanes;
  }
}

template <typename T>
void blocks_of(
    int64_t vectors, const T* const* a, Taps<T> taps, int64_t column, T* const* c, const T* start, int64_t rows) {
  if (vectors == 4) blocks<T, 4>(a, taps, column, c, start, rows);
  if (vectors == 3) blocks<T, 3>(a, taps, column, c, start, rows);
  if (vectors == 2) blocks<T, 2>(a, taps, column, c, start, rows);
  if (vectors == 1) blocks<T, 1>(a, taps, column, c, start, rows);
}

// Sums over all pairs, a few at a time: they stay in the cache for all rows. Of no pair at all the sum is 0.
template <typename T>
void outers_of(const std::vector<Pair<T>>& pairs, const std::vector<Row<T>>& rows, int64_t width, bool add) {
  const int64_t number = pairs.size();
  int64_t done = 0;
  do {
    const Pair<T>* some = pairs.data() + done;
    const int64_t summed = std::min(SUMMED, number - done), left = rows.size();
    panels<T>(width, [&](int64_t column, int64_t vectors) {
      if (vectors == 4) outers<T, 4>(some, summed, rows.data(), left, column, add);
      if (vectors == 3) outers<T, 3>(some, summed, rows.data(), left, column, add);
      if (vectors == 2) outers<T, 2>(some, summed, rows.data(), left, column, add);
      if (vectors == 1) outers<T, 1>(some, summed, rows.data(), left, column, add);
    });
    done += SUMMED;
    add = true;
  } while (done < number);
}

}  // namespace
