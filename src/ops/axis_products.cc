#include "ops/axis_products.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/matmul.h"

namespace locant {
namespace {

constexpr const char* kAxisProductsOp = "axis_products";
constexpr std::int64_t kChunkRows = 512;  // (token, head) rows of a product: both sides stay in the L2 cache
constexpr std::int64_t kFewLanes = 16;    // with fewer tables, each is summed in several parts

// Vectors of tokens: those of (b, n, h) at data + (b N + n) token_stride + h head_stride.
struct View {
  float* data;
  std::int64_t token_stride, head_stride, width;
};

// Tokens of one coordinate in some samples (and of one head, where heads have tables of their own).
struct Chunk {
  std::int64_t b = 0, samples = 1, h = 0, heads = 0;
  std::span<const std::int32_t> tokens = {};
  std::int64_t rows() const { return samples * static_cast<std::int64_t>(tokens.size()) * heads; }
  bool consecutive() const {
    return tokens.back() - tokens.front() + 1 == static_cast<std::int32_t>(tokens.size());
  }
};

// Chunks whose table gradient is summed in one thread, in order.
struct Lane {
  std::int64_t table = 0;  // h coordinates + c
  std::vector<Chunk> chunks = {};
};

struct Call {
  std::shared_ptr<const AxisIndex> index;
  std::int64_t B, N, H, D, first, W, R;
  bool per_head;
  float alpha;

  std::int64_t Q() const { return index->coordinates(); }
  std::int64_t E() const { return index->extent(); }
  std::int64_t tables() const { return (per_head ? H : 1) * Q(); }
  // dx has numbers everywhere.
  bool covers() const { return index->covers() && W == D; }
  View x_view(const Tensor& x) const { return {const_cast<float*>(x.data()) + first, H * D, D, W}; }
  View y_view(const Tensor& y) const { return {const_cast<float*>(y.data()), H * E(), E(), E()}; }
};

Call checked(const Var& x, std::int64_t heads, const Var& table, std::shared_ptr<const AxisIndex> index,
             const AxisProductOptions& options) {
  const Shape &xs = x.shape(), &ts = table.shape();
  require(index != nullptr, kAxisProductsOp, "no index for a table of shape {}", ts.str());
  if (xs.rank() != 3 || heads < 1 || xs[2] % heads != 0 || xs[1] != index->tokens())
    fail(kAxisProductsOp, "x of shape {} does not hold the vectors of {} heads for {} tokens", xs.str(),
         heads, index->tokens());
  const std::int64_t D = xs[2] / heads;
  const bool shared = ts.rank() == 2, own = ts.rank() == 3 && ts[0] == heads;
  if ((!shared && !own) || options.first < 0 || options.first > D - ts[-1] || ts[-2] < index->table_rows())
    fail(kAxisProductsOp,
         "a table of shape {} at channel {} for {} heads of width {}; it must be (rows, width) or (heads, "
         "rows, width) with {} rows or more",
         ts.str(), options.first, heads, D, index->table_rows());
  return {std::move(index), xs[0], xs[1], heads, D, options.first, ts[-1], ts[-2], own, options.alpha};
}

// Tokens in runs that need no copy where these are long, else as many as a product takes.
void cut(std::span<const std::int32_t> tokens, Chunk chunk, std::vector<Chunk>& out) {
  const auto most = static_cast<std::size_t>(std::max<std::int64_t>(1, kChunkRows / chunk.heads));
  const auto enough = static_cast<std::size_t>(std::max<std::int64_t>(1, 64 / chunk.heads));
  while (!tokens.empty()) {
    std::size_t run = 1;
    while (run < std::min(most, tokens.size()) && tokens[run] == tokens[run - 1] + 1) ++run;
    const std::size_t count = run >= enough ? run : std::min(most, tokens.size());
    chunk.tokens = tokens.first(count);
    out.push_back(chunk);
    tokens = tokens.subspan(count);
  }
}

std::vector<Lane> lanes_of(const Call& call) {
  std::vector<Lane> lanes;
  const std::int64_t parts = (kFewLanes + call.tables() - 1) / call.tables();
  for (std::int64_t t = 0; t < call.tables(); ++t) {
    std::vector<Chunk> chunks;
    const std::span<const std::int32_t> tokens = call.index->tokens_at(t % call.Q());
    const std::int64_t heads = call.per_head ? 1 : call.H;
    // Windows have a handful of tokens a coordinate: products of several samples at once.
    const std::int64_t rows = std::max<std::int64_t>(1, static_cast<std::int64_t>(tokens.size()) * heads);
    const std::int64_t samples = std::max<std::int64_t>(1, kChunkRows / 2 / rows);
    for (std::int64_t b = 0; b < call.B; b += samples)
      cut(tokens, {b, std::min(samples, call.B - b), call.per_head ? t / call.Q() : 0, heads}, chunks);
    const auto count = static_cast<std::int64_t>(chunks.size());
    for (std::int64_t p = 0; p < parts && count > 0; ++p) {
      const auto begin = chunks.begin() + count * p / parts, end = chunks.begin() + count * (p + 1) / parts;
      if (begin != end) lanes.push_back({t, {begin, end}});
    }
  }
  return lanes;
}

// ---- vectors of a chunk as the rows of a matrix

// Copies between the tokens and the rows (token, head) of a matrix.
template <bool kToTokens>
void copy_rows(const Call& call, const View& view, const Chunk& chunk, float* matrix) {
  for (std::int64_t b = chunk.b; b < chunk.b + chunk.samples; ++b)
    for (const std::int32_t n : chunk.tokens)
      for (std::int64_t h = chunk.h; h < chunk.h + chunk.heads; ++h, matrix += view.width) {
        float* at = view.data + (b * call.N + n) * view.token_stride + h * view.head_stride;
        kToTokens ? std::copy_n(matrix, view.width, at) : std::copy_n(at, view.width, matrix);
      }
}

// Where the rows lie one after the other in the tensor itself; null: they do not.
float* in_place(const Call& call, const View& view, const Chunk& chunk) {
  const bool dense = view.head_stride == view.width && view.token_stride == call.H * view.width &&
                     chunk.heads == call.H && chunk.samples == 1 && chunk.consecutive();
  return dense ? view.data + (chunk.b * call.N + chunk.tokens.front()) * view.token_stride : nullptr;
}

float* scratch(std::vector<float>& buffer, std::int64_t count) {
  if (buffer.size() < static_cast<std::size_t>(count)) buffer.resize(static_cast<std::size_t>(count));
  return buffer.data();
}

const float* read_rows(const Call& call, const View& view, const Chunk& chunk, std::vector<float>& buffer) {
  if (const float* there = in_place(call, view, chunk)) return there;
  float* matrix = scratch(buffer, chunk.rows() * view.width);
  copy_rows<false>(call, view, chunk, matrix);
  return matrix;
}

// to = alpha a op(b), (rows, width of `to`).
void multiply_rows(const Call& call, const Chunk& chunk, const float* a, std::int64_t K, const float* b,
                   bool transpose_b, const View& to, std::vector<float>& buffer) {
  float* there = in_place(call, to, chunk);
  float* c = there != nullptr ? there : scratch(buffer, chunk.rows() * to.width);
  matmul_serial({.transpose_b = transpose_b,
                 .M = chunk.rows(),
                 .N = to.width,
                 .K = K,
                 .alpha = call.alpha,
                 .a = a,
                 .lda = K,
                 .b = b,
                 .ldb = transpose_b ? K : to.width,
                 .c = c,
                 .ldc = to.width});
  if (there == nullptr) copy_rows<true>(call, to, chunk, c);
}

// ---- the table, a matrix (E, W) for each coordinate

// visit(e, place of its vector in the table) for the places of table t that read one.
template <class Visit>
void each_vector(const Call& call, std::int64_t t, const Visit& visit) {
  for (std::int64_t e = 0; e < call.E(); ++e)
    if (const std::int32_t row = call.index->row(t % call.Q(), e); row >= 0)
      visit(e, (t / call.Q() * call.R + row) * call.W);
}

Tensor matrices_of(const Call& call, const Tensor& table) {
  Tensor out = Tensor::zeros({call.tables(), call.E(), call.W});
  for (std::int64_t t = 0; t < call.tables(); ++t)
    each_vector(call, t, [&](std::int64_t e, std::int64_t from) {
      std::copy_n(table.data() + from, call.W, out.data() + (t * call.E() + e) * call.W);
    });
  return out;
}

// Sums of the lanes' matrices, in order.
Tensor table_gradient(const Call& call, const std::vector<Lane>& lanes, const Tensor& parts,
                      const Shape& shape) {
  Tensor out = Tensor::zeros(shape);
  const float* from = parts.data();
  for (const Lane& lane : lanes) {
    each_vector(call, lane.table, [&](std::int64_t e, std::int64_t to) {
      for (std::int64_t d = 0; d < call.W; ++d) out[to + d] += from[e * call.W + d];
    });
    from += call.E() * call.W;
  }
  return out;
}

Tensor forward(const Call& call, const Tensor& x, const Tensor& table) {
  const Tensor matrices = matrices_of(call, table);
  const Shape shape{call.B, call.N, call.H, call.E()};
  Tensor y = call.index->covers() ? Tensor(shape) : Tensor::zeros(shape);
  std::vector<std::pair<std::int64_t, Chunk>> work;
  for (const Lane& lane : lanes_of(call))
    for (const Chunk& chunk : lane.chunks) work.emplace_back(lane.table, chunk);
  parallel_for(static_cast<std::int64_t>(work.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> from, to;
    for (std::int64_t w = begin; w < end; ++w) {
      const auto& [t, chunk] = work[static_cast<std::size_t>(w)];
      multiply_rows(call, chunk, read_rows(call, call.x_view(x), chunk, from), call.W,
                    matrices.data() + t * call.E() * call.W, true, call.y_view(y), to);
    }
  });
  return y;
}

// dx = alpha dy vectors, dvectors = alpha sum of dy^T x.
void backward(const Call& call, const Var& x, const Var& table, const Tensor& dy) {
  const ProfileScope scope(kAxisProductsOp);
  const std::vector<Lane> lanes = lanes_of(call);
  const Tensor matrices = matrices_of(call, table.value());
  const std::int64_t E = call.E(), W = call.W;
  Tensor dx, parts;
  if (x.requires_grad()) dx = call.covers() ? Tensor(x.shape()) : Tensor::zeros(x.shape());
  if (table.requires_grad()) parts = Tensor::zeros({static_cast<std::int64_t>(lanes.size()), E, W});
  parallel_for(static_cast<std::int64_t>(lanes.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> from, to, other;
    for (std::int64_t l = begin; l < end; ++l) {
      const Lane& lane = lanes[static_cast<std::size_t>(l)];
      for (const Chunk& chunk : lane.chunks) {
        const float* a = read_rows(call, call.y_view(dy), chunk, from);
        if (dx.defined())
          multiply_rows(call, chunk, a, E, matrices.data() + lane.table * E * W, false, call.x_view(dx), to);
        if (!parts.defined()) continue;
        matmul_serial({.transpose_a = true,
                       .M = E,
                       .N = W,
                       .K = chunk.rows(),
                       .alpha = call.alpha,
                       .a = a,
                       .lda = E,
                       .b = read_rows(call, call.x_view(x.value()), chunk, other),
                       .ldb = W,
                       .beta = 1.0f,
                       .c = parts.data() + l * E * W,
                       .ldc = W});
      }
    }
  });
  if (dx.defined()) x.accumulate(std::move(dx));
  if (parts.defined()) table.accumulate(table_gradient(call, lanes, parts, table.shape()));
}

}  // namespace

Var axis_products(const Context& ctx, const Var& x, std::int64_t heads, const Var& table,
                  std::shared_ptr<const AxisIndex> index, const AxisProductOptions& options) {
  const ProfileScope scope(kAxisProductsOp);
  const Call call = checked(x, heads, table, std::move(index), options);
  return ctx.record({x, table}, forward(call, x.value(), table.value()),
                    [call, x, table](const Tensor& dy) { backward(call, x, table, dy); });
}

}  // namespace locant
