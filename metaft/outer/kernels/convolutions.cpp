// Convolutions of small images and their two gradients, with channels last in memory.
//
// A library's convolution of five images of 7 x 7 prepares itself for longer than it multiplies, and multiplies by the
// zeros of the border. Here a place of the result is grouped with all others that see the same taps of the kernel:
//
//   forward:          out[place, :] = sum over taps of  in[place + tap, :] weight[tap]
//   input's gradient: the same, with the taps turned round and the weight as it lies
//   weight's:         weight[tap] = sum over places of  gradient[place, :]^T in[place + tap, :]
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace {

constexpr int64_t TOGETHER = 8 * ROWS;  // places that go through some taps together: their weights stay in the cache
constexpr int64_t CACHED = 16384;       // weights of so many taps
constexpr int64_t KEPT = 1 << 20;       // values of images that stay in the cache for all taps

struct Images {
  int64_t number, height, width, channels;
  int64_t values() const { return height * width * channels; }
};

struct Window {
  int64_t height, width, stride_y, stride_x, pad_y, pad_x;
  int64_t taps() const { return height * width; }
};

template <typename T>
struct Matrix {
  const T* at;
  int64_t row;
};

// Places along an axis that see the same taps; `sources` is where the first of these taps finds its value.
struct Group {
  std::vector<int64_t> taps, places, sources;
};

template <typename F>
std::vector<Group> groups(int64_t places, int64_t taps, F source) {
  std::vector<Group> found;
  std::vector<int64_t> seen;
  for (int64_t place = 0; place < places; ++place) {
    seen.clear();
    for (int64_t tap = 0; tap < taps; ++tap)
      if (source(place, tap) >= 0) seen.push_back(tap);
    auto group = std::find_if(found.begin(), found.end(), [&](const Group& g) { return g.taps == seen; });
    if (group == found.end()) group = found.insert(found.end(), Group{seen, {}, {}});
    group->places.push_back(place);
    group->sources.push_back(seen.empty() ? 0 : source(place, seen[0]));
  }
  return found;
}

std::vector<Group> forward_groups(int64_t places, int64_t sources, int64_t taps, int64_t stride, int64_t pad) {
  return groups(places, taps, [=](int64_t place, int64_t tap) {
    const int64_t source = place * stride - pad + tap;
    return source < sources ? source : -1;
  });
}

std::vector<Group> backward_groups(int64_t places, int64_t sources, int64_t taps, int64_t stride, int64_t pad) {
  return groups(places, taps, [=](int64_t place, int64_t tap) {
    const int64_t source = place + pad - tap;
    return source >= 0 && source % stride == 0 && source / stride < sources ? source / stride : -1;
  });
}

// Begin to bring values into the cache, for later.
template <bool WRITE, typename T>
void fetch(const T* values, int64_t number) {
  for (int64_t i = 0; i < number; i += 64 / sizeof(T)) __builtin_prefetch(values + i, WRITE, 2);
}

// out[place, :] = start + sum over taps of in[source of place by tap, :] times that tap's matrix. Further taps of a
// group find their values `step` places beside its first.
template <typename T>
struct Gather {
  const T* in;
  Images from;
  T* out;
  Images to;
  std::vector<Group> rows, columns;
  int64_t step, taps_in_row;
  Matrix<T> weight;
  int64_t next_tap;
  const T* start;

  void group(const Group& y, const Group& x, int64_t first, int64_t end) const {
    std::vector<const T*> sources;
    std::vector<T*> places;
    for (int64_t n = first; n < end; ++n) {
      for (size_t i = 0; i < y.places.size(); ++i) {
        const T* source = in + n * from.values() + y.sources[i] * from.width * from.channels;
        T* place = out + n * to.values() + y.places[i] * to.width * to.channels;
        for (size_t j = 0; j < x.places.size(); ++j) {
          sources.push_back(source + x.sources[j] * from.channels);
          places.push_back(place + x.places[j] * to.channels);
        }
      }
    }
    std::vector<Tap<T>> taps;
    for (size_t i = 0; i < y.taps.size(); ++i) {
      for (size_t j = 0; j < x.taps.size(); ++j) {
        const int64_t shift = step * (int64_t(i) * from.width + int64_t(j)) * from.channels;
        taps.push_back({shift, weight.at + (y.taps[i] * taps_in_row + x.taps[j]) * next_tap});
      }
    }
    const int64_t number = places.size(), all = taps.size();
    for (int64_t p = 0; p < number; p += TOGETHER) {
      const int64_t together = std::min(TOGETHER, number - p), next = std::min(p + together + TOGETHER, number);
      for (int64_t i = p + together; i < next && all; ++i) {
        fetch<false>(sources[i] + taps.back().shift, from.channels);
        fetch<true>(places[i], to.channels);
      }
      panels<T>(to.channels, [&](int64_t column, int64_t vectors) {
        const int64_t most = std::max<int64_t>(1, CACHED / (from.channels * vectors * Vec<T>::size()));
        int64_t t = 0;
        do {  // once at least: what sees no tap is what it starts from
          const Taps<T> some{taps.data() + t, std::min(most, all - t), from.channels, weight.row};
          blocks_of<T>(vectors, &sources[p], some, column, &places[p], t ? nullptr : start, together);
          t += most;
        } while (t < all);
      });
    }
  }

  void run() const {
    const int64_t at_once = std::max<int64_t>(1, KEPT / (from.values() + to.values()));
    at::parallel_for(0, from.number, 1, [&](int64_t first, int64_t end) {
      for (; first < end; first += at_once)
        for (const Group& y : rows)
          for (const Group& x : columns) group(y, x, first, std::min(first + at_once, end));
    });
  }
};

// Memory that a thread keeps.
template <typename T>
T* scratch(int64_t size) {
  thread_local std::vector<T> kept;
  if (int64_t(kept.size()) < size) kept.resize(size);
  return kept.data();
}

template <typename T>
void forward(const T* in, Images from, const T* weight, const T* bias, T* out, Images to, Window window) {
  const int64_t taps = window.taps(), ci = from.channels, co = to.channels;
  T* turned = scratch<T>(taps * ci * co);  // [tap, channel in, channel out]
  for (int64_t tap = 0; tap < taps; ++tap)
    at::vec::transpose_mxn<T>(weight + tap * ci, taps * ci, turned + tap * ci * co, co, co, ci);
  const std::vector<T> zeros(bias ? 0 : co);
  const T* start = bias ? bias : zeros.data();
  Gather<T>{
      in, from, out, to,
      forward_groups(to.height, from.height, window.height, window.stride_y, window.pad_y),
      forward_groups(to.width, from.width, window.width, window.stride_x, window.pad_x),
      1, window.width, {turned, co}, ci * co, start}.run();
}

template <typename T>
void towards_input(const T* gradient, Images to, const T* weight, T* out, Images from, Window window) {
  const int64_t ci = from.channels;
  const std::vector<T> zeros(ci);
  Gather<T>{
      gradient, to, out, from,
      backward_groups(from.height, to.height, window.height, window.stride_y, window.pad_y),
      backward_groups(from.width, to.width, window.width, window.stride_x, window.pad_x),
      -1, window.width, {weight, window.taps() * ci}, ci, zeros.data()}.run();
}

template <typename T>
void towards_weight(const T* gradient, Images to, const T* in, Images from, T* weight, Window window) {
  const int64_t taps = window.taps(), ci = from.channels, co = to.channels;
  const int64_t at_once = std::max<int64_t>(1, KEPT / (from.values() + to.values()));
  at::parallel_for(0, taps, 1, [&](int64_t first_tap, int64_t last_tap) {
    std::vector<Pair<T>> pairs;
    std::vector<Row<T>> rows(co);
    for (int64_t first = 0; first < to.number; first += at_once) {
      const int64_t last = std::min(first + at_once, to.number);
      for (int64_t tap = first_tap; tap < last_tap; ++tap) {
        pairs.clear();
        for (int64_t n = first; n < last; ++n) {
          for (int64_t y = 0; y < to.height; ++y) {
            const int64_t row = y * window.stride_y - window.pad_y + tap / window.width;
            if (row < 0 || row >= from.height) continue;
            const T* of_gradient = gradient + n * to.values() + y * to.width * co;
            for (int64_t x = 0; x < to.width; ++x, of_gradient += co) {
              const int64_t column = x * window.stride_x - window.pad_x + tap % window.width;
              if (column < 0 || column >= from.width) continue;
              pairs.push_back({of_gradient, in + n * from.values() + (row * from.width + column) * ci});
            }
          }
        }
        for (int64_t c = 0; c < co; ++c) rows[c] = {c, weight + c * taps * ci + tap * ci};
        outers_of<T>(pairs, rows, ci, first > 0);
      }
    }
  });
}

// The same where channels of the input are few: vectors go along those of the output, and rows are taps.
template <typename T>
void towards_weight_of_few(const T* gradient, Images to, const T* in, Images from, T* weight, Window window) {
  const int64_t taps = window.taps(), ci = from.channels, co = to.channels;
  T* turned = scratch<T>(taps * ci * co);  // [tap, channel in, channel out]
  std::fill_n(turned, taps * ci * co, T(0));
  std::vector<Pair<T>> pairs;
  std::vector<Row<T>> rows;
  for (const Group& y : forward_groups(to.height, from.height, window.height, window.stride_y, window.pad_y)) {
    for (const Group& x : forward_groups(to.width, from.width, window.width, window.stride_x, window.pad_x)) {
      rows.clear();
      for (size_t i = 0; i < y.taps.size(); ++i)
        for (size_t j = 0; j < x.taps.size(); ++j)
          for (int64_t c = 0; c < ci; ++c)
            rows.push_back(
                {int64_t(i * from.width + j) * ci + c,
                 turned + ((y.taps[i] * window.width + x.taps[j]) * ci + c) * co});
      pairs.clear();
      for (int64_t n = 0; n < to.number; ++n)
        for (size_t i = 0; i < y.places.size(); ++i)
          for (size_t j = 0; j < x.places.size(); ++j)
            pairs.push_back(
                {in + n * from.values() + (y.sources[i] * from.width + x.sources[j]) * ci,
                 gradient + n * to.values() + (y.places[i] * to.width + x.places[j]) * co});
      outers_of<T>(pairs, rows, co, true);
    }
  }
  at::vec::transpose_mxn<T>(turned, co, weight, taps * ci, taps * ci, co);
}

Images images(const at::Tensor& x) { return {x.size(0), x.size(2), x.size(3), x.size(1)}; }

at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

at::Tensor empty(int64_t n, int64_t channels, int64_t height, int64_t width, const at::Tensor& like) {
  return at::empty({n, channels, height, width}, like.options(), at::MemoryFormat::ChannelsLast);
}

template <typename F>
void by_type(const at::Tensor& x, F each) {
  if (x.scalar_type() == at::kDouble)
    each(double());
  else
    each(float());
}

bool whole(const at::Tensor& x, int64_t axis) {
  return x.size(axis) % (x.scalar_type() == at::kDouble ? Vec<double>::size() : Vec<float>::size()) == 0;
}

void check(const at::Tensor& a, const at::Tensor& b, bool agree) {
  const bool whole = a.dim() == 4 && b.dim() == 4 && a.numel() > 0 && b.numel() > 0;
  TORCH_CHECK(whole, "convolution: not of four axes, or empty");
  TORCH_CHECK(a.scalar_type() == b.scalar_type() && agree, "convolution: types or channels differ");
}

// Sizes, strides and paddings are numbers and no lists: to pass a list, compiled code includes torch's dispatcher, which
// takes longer to compile than all the rest of it.
at::Tensor convolution(
    const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
    int64_t stride_y, int64_t stride_x, int64_t pad_y, int64_t pad_x) {
  check(x, weight, x.size(1) == weight.size(1));
  const at::Tensor in = channels_last(x), w = channels_last(weight);
  TORCH_CHECK(whole(w, 0), "convolution: ", w.size(0), " channels, which are not whole vectors");
  const Window window{w.size(2), w.size(3), stride_y, stride_x, pad_y, pad_x};
  const int64_t height = (in.size(2) + 2 * pad_y - window.height) / stride_y + 1;
  const int64_t width = (in.size(3) + 2 * pad_x - window.width) / stride_x + 1;
  at::Tensor out = empty(in.size(0), w.size(0), height, width, in);
  const at::Tensor b = bias ? bias->contiguous() : at::Tensor();
  by_type(in, [&](auto zero) {
    using T = decltype(zero);
    forward<T>(
        in.const_data_ptr<T>(), images(in), w.const_data_ptr<T>(), bias ? b.const_data_ptr<T>() : nullptr,
        out.mutable_data_ptr<T>(), images(out), window);
  });
  return out;
}

at::Tensor convolution_input(
    const at::Tensor& gradient, const at::Tensor& weight, int64_t height, int64_t width,
    int64_t stride_y, int64_t stride_x, int64_t pad_y, int64_t pad_x) {
  check(gradient, weight, gradient.size(1) == weight.size(0));
  const at::Tensor g = channels_last(gradient), w = channels_last(weight);
  TORCH_CHECK(whole(w, 1), "convolution_input: ", w.size(1), " channels, which are not whole vectors");
  at::Tensor out = empty(g.size(0), w.size(1), height, width, g);
  by_type(g, [&](auto zero) {
    using T = decltype(zero);
    towards_input<T>(
        g.const_data_ptr<T>(), images(g), w.const_data_ptr<T>(), out.mutable_data_ptr<T>(), images(out),
        {w.size(2), w.size(3), stride_y, stride_x, pad_y, pad_x});
  });
  return out;
}

at::Tensor convolution_weight(
    const at::Tensor& gradient, const at::Tensor& x, int64_t height, int64_t width,
    int64_t stride_y, int64_t stride_x, int64_t pad_y, int64_t pad_x) {
  check(gradient, x, gradient.size(0) == x.size(0));
  const at::Tensor g = channels_last(gradient), in = channels_last(x);
  const bool few = !whole(in, 1);
  TORCH_CHECK(!few || whole(g, 1), "convolution_weight: neither number of channels is one of whole vectors");
  at::Tensor out = empty(g.size(1), in.size(1), height, width, g);
  by_type(g, [&](auto zero) {
    using T = decltype(zero);
    (few ? towards_weight_of_few<T> : towards_weight<T>)(
        g.const_data_ptr<T>(), images(g), in.const_data_ptr<T>(), images(in), out.mutable_data_ptr<T>(),
        {height, width, stride_y, stride_x, pad_y, pad_x});
  });
  return out;
}

}  // namespace

#define SIZE "int height, int width"
#define WINDOW "int stride_y, int stride_x, int pad_y, int pad_x"

TORCH_LIBRARY_FRAGMENT(metaft, library) {
  library.def("convolution(Tensor x, Tensor weight, Tensor? bias, " WINDOW ") -> Tensor");
  library.def("convolution_input(Tensor gradient, Tensor weight, " SIZE ", " WINDOW ") -> Tensor");
  library.def("convolution_weight(Tensor gradient, Tensor x, " SIZE ", " WINDOW ") -> Tensor");
}

TORCH_LIBRARY_IMPL(metaft, CPU, library) {
  library.impl("convolution", &convolution);
  library.impl("convolution_input", &convolution_input);
  library.impl("convolution_weight", &convolution_weight);
}
