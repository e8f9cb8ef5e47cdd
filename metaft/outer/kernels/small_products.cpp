// Products of small matrices, and batches of them: C[b] = A[b] B[b], any strides, rows of C contiguous.
//
// A library's product costs a microsecond and more before it computes; a product of 10 x 40 and 40 x 40 takes less.
// Blocks of ROWS x VECTORS numbers of C stay in registers while k runs.
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>

// All loops over a block: one left as it is would index the sums, and so put them into memory.
#define UNROLL _Pragma("GCC unroll 16")

namespace {

template <typename T>
struct Matrix {
  const T* at;
  int64_t row, column;  // strides
};

// A function of its own: within a larger one the compiler has put the sums into memory all the same.
template <typename T, int ROWS, int VECTORS>
__attribute__((noinline)) void block(
    Matrix<T> a, const T* b, int64_t b_row, T* c, int64_t c_row, int64_t depth, int64_t last) {
  using Vec = at::vec::Vectorized<T>;
  Vec sum[ROWS][VECTORS];
  UNROLL for (int r = 0; r < ROWS; ++r) {
    UNROLL for (int v = 0; v < VECTORS; ++v) sum[r][v] = Vec(T(0));
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[VECTORS];
    UNROLL for (int v = 0; v < VECTORS - 1; ++v) right[v] = Vec::loadu(b + k * b_row + v * Vec::size());
    right[VECTORS - 1] = Vec::loadu(b + k * b_row + (VECTORS - 1) * Vec::size(), last);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const Vec left(a.at[r * a.row + k * a.column]);
      UNROLL for (int v = 0; v < VECTORS; ++v) sum[r][v] = at::vec::fmadd(left, right[v], sum[r][v]);
    }
  }
  UNROLL for (int r = 0; r < ROWS; ++r) {
    UNROLL for (int v = 0; v < VECTORS - 1; ++v) sum[r][v].store(c + r * c_row + v * Vec::size());
    sum[r][VECTORS - 1].store(c + r * c_row + (VECTORS - 1) * Vec::size(), last);
  }
}

template <typename T, int VECTORS>
void rows(Matrix<T> a, const T* b, int64_t b_row, T* c, int64_t c_row, int64_t height, int64_t depth, int64_t last) {
  int64_t i = 0;
  const auto next = [&](int64_t done) {
    i += done;
    a.at += done * a.row;
    c += done * c_row;
  };
  // A narrow block has few sums, and each waits for its last addition: more rows fill the gap.
  constexpr int MOST = VECTORS == 1 ? 10 : 5;
  while (height - i >= MOST) block<T, MOST, VECTORS>(a, b, b_row, c, c_row, depth, last), next(MOST);
  if (height - i >= 5) block<T, 5, VECTORS>(a, b, b_row, c, c_row, depth, last), next(5);
  if (height - i == 4) return block<T, 4, VECTORS>(a, b, b_row, c, c_row, depth, last);
  if (height - i == 3) return block<T, 3, VECTORS>(a, b, b_row, c, c_row, depth, last);
  if (height - i == 2) return block<T, 2, VECTORS>(a, b, b_row, c, c_row, depth, last);
  if (height - i == 1) return block<T, 1, VECTORS>(a, b, b_row, c, c_row, depth, last);
}

template <typename T>
void product(Matrix<T> a, const T* b, int64_t b_row, T* c, int64_t height, int64_t depth, int64_t width) {
  constexpr int64_t lanes = at::vec::Vectorized<T>::size();
  for (int64_t j = 0; j < width;) {
    const int64_t left = width - j, vectors = std::min<int64_t>((left + lanes - 1) / lanes, 3);
    const int64_t last = std::min(lanes, left - (vectors - 1) * lanes);
    if (vectors == 3) rows<T, 3>(a, b + j, b_row, c + j, width, height, depth, last);
    if (vectors == 2) rows<T, 2>(a, b + j, b_row, c + j, width, height, depth, last);
    if (vectors == 1) rows<T, 1>(a, b + j, b_row, c + j, width, height, depth, last);
    j += vectors * lanes;
  }
}

// B with its rows one after another.
template <typename T>
void pack(Matrix<T> b, T* to, int64_t depth, int64_t width) {
  if (b.row == 1) return at::vec::transpose_mxn<T>(b.at, b.column, to, width, width, depth);
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t j = 0; j < width; ++j) to[k * width + j] = b.at[k * b.row + j * b.column];
}

// One product if the tensors have two dimensions, a batch of them if they have three.
template <typename T>
void products(const at::Tensor& a, const at::Tensor& b, at::Tensor& c) {
  const int64_t row = a.dim() - 2, column = a.dim() - 1, number = row ? a.size(0) : 1;
  const int64_t next_a = row ? a.stride(0) : 0, next_b = row ? b.stride(0) : 0;
  const int64_t height = a.size(row), depth = a.size(column), width = b.size(column);
  const bool straight = b.stride(column) == 1 || width == 1;
  const std::unique_ptr<T[]> packed(straight && width > 1 ? nullptr : new T[depth * width]);
  const T* left = a.const_data_ptr<T>();
  const T* right = b.const_data_ptr<T>();
  T* out = c.mutable_data_ptr<T>();
  for (int64_t n = 0; n < number; ++n, left += next_a, right += next_b, out += height * width) {
    const T* rows_of_b = right;
    int64_t b_row = b.stride(row);
    if (packed) {
      pack({right, b.stride(row), b.stride(column)}, packed.get(), depth, width);
      rows_of_b = packed.get();
      b_row = width;
    }
    product<T>({left, a.stride(row), a.stride(column)}, rows_of_b, b_row, out, height, depth, width);
  }
}

void fill(const at::Tensor& a, const at::Tensor& b, at::Tensor& c) {
  if (a.scalar_type() == at::kDouble)
    products<double>(a, b, c);
  else
    products<float>(a, b, c);
}

at::Tensor small_bmm(const at::Tensor& a, const at::Tensor& b) {
  auto c = at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  fill(a, b, c);
  return c;
}

at::Tensor small_mm(const at::Tensor& a, const at::Tensor& b) {
  auto c = at::empty({a.size(0), b.size(1)}, a.options());
  fill(a, b, c);
  return c;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(metaft, library) {
  library.def("small_bmm(Tensor a, Tensor b) -> Tensor");
  library.def("small_mm(Tensor a, Tensor b) -> Tensor");
}

TORCH_LIBRARY_IMPL(metaft, CPU, library) {
  library.impl("small_bmm", &small_bmm);
  library.impl("small_mm", &small_mm);
}
