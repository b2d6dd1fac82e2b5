#include "bench/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/pool.h"
#include "ops/attention/attention.h"
#include "ops/matmul.h"
#include "position/decomposed.h"
#include "position/swin_bias.h"

namespace locant::bench {

namespace {

double matmul_flops(std::int64_t size) {
  return 2.0 * static_cast<double>(size * size) * static_cast<double>(size);
}

/// Row maps of shifted windows of side x side on a square grid, with a region id for each of the (up to) nine
/// pieces that the cyclic shift brings together (Liu et al. 2021, figure 4).
std::shared_ptr<const RowMaps> shifted_windows(std::int64_t side, std::int64_t windows) {
  const auto across = std::llround(std::sqrt(static_cast<double>(windows)));
  require(across * across == windows, "bench", "{} windows make no square grid", windows);
  const std::int64_t grid = across * side, shift = across > 1 ? side / 2 : 0;
  // A line of the shifted grid falls into three stretches: whole windows, and the two halves of the last one.
  const auto stretch = [&](std::int64_t at) { return at < grid - side ? 0 : at < grid - shift ? 1 : 2; };
  auto maps = std::make_shared<RowMaps>();
  maps->groups = windows;
  maps->queries = maps->keys = side * side;
  for (std::int64_t g = 0; g < windows; ++g)
    for (std::int64_t i = 0; i < side * side; ++i) {
      const std::int64_t y = g / across * side + i / side, x = g % across * side + i % side;
      maps->query_rows.push_back(static_cast<std::int32_t>((y + shift) % grid * grid + (x + shift) % grid));
      if (shift > 0) maps->query_region.push_back(static_cast<std::int32_t>(stretch(y) * 3 + stretch(x)));
    }
  maps->key_rows = maps->query_rows;
  maps->key_region = maps->query_region;
  return maps;
}

/// Inputs of a case, and the passes on them.
class Work {
 public:
  explicit Work(const AttentionCase& which) {
    const std::int64_t N = which.windows * which.n, width = which.heads * which.d;
    qkv_ = Var(random_tensor({which.batch, N, 3 * width}, 1), true);
    dout_ = random_tensor({which.batch, N, width}, 2);
    options_.heads = which.heads;
    if (which.side > 0) {
      require(which.side * which.side == which.n, "bench", "a window of side {} has no {} tokens", which.side,
              which.n);
      const Window window{which.side, which.side};
      options_.rows = shifted_windows(which.side, which.windows);
      const SwinBias bias{window, Var(random_tensor({swin_table_rows(window), which.heads}, 3), true)};
      options_.terms.push_back(swin_bias_term(bias, swin_gather(window, window)));
    } else if (which.windows > 1) {
      auto maps = std::make_shared<RowMaps>();
      maps->groups = which.windows;
      maps->queries = maps->keys = which.n;
      options_.rows = maps;
    }
    if (which.decomposed) add_decomposed(which);
  }

  void forward(bool composed, Best& best) const {
    best.add(seconds_of([&] { run(Context{}, composed); }));
  }

  /// A forward pass that keeps what the backward needs, then the backward.
  void train(bool composed, Best& backward, Best& both) {
    Tape tape;
    Context ctx;
    ctx.tape = &tape;
    Var out;
    const double forward_s = seconds_of([&] { out = run(ctx, composed); });
    const double backward_s = seconds_of([&] { tape.backward({{out, dout_}}); });
    backward.add(backward_s);
    both.add(forward_s + backward_s);
    qkv_.clear_grad();
    for (AttentionTerm& term : options_.terms)
      for (Var* var : term.vars()) var->clear_grad();
    tables_.rows.clear_grad();
    tables_.columns.clear_grad();
  }

 private:
  void add_decomposed(const AttentionCase& which) {
    const auto across = std::llround(std::sqrt(static_cast<double>(which.n)));
    require(which.side == 0 && across * across == which.n, "bench",
            "{} tokens are no square; the decomposed term is measured on square grids without shift",
            which.n);
    const Grid grid{1, across, across};
    tables_.rows = Var(random_tensor({2 * across - 1, which.d}, 4), true);
    tables_.columns = Var(random_tensor({2 * across - 1, which.d}, 5), true);
    if (options_.rows == nullptr) {
      auto maps = std::make_shared<RowMaps>();
      maps->groups = 1;
      maps->queries = maps->keys = which.n;
      options_.rows = maps;
    }
    width_ = which.d;
    indices_ = decomposed_window_indices(*options_.rows, which.windows * which.n, grid, grid);
  }

  Var run(const Context& ctx, bool composed) const {
    AttentionOptions options = options_;
    if (width_ > 0)
      options.terms.push_back(decomposed_term(ctx, tables_, qkv_, options_.heads, indices_, width_));
    return composed ? attention_composed(ctx, qkv_, options) : attention(ctx, qkv_, options);
  }

  Var qkv_;
  Tensor dout_;
  AttentionOptions options_;
  Decomposed tables_ = {};
  AxisIndices indices_ = {};
  std::int64_t width_ = 0;  ///< of a head where there is a decomposed term
};

/// Most bytes in use at once during a call, in MB, beyond what was in use before the case.
double peak_mb_of(std::int64_t before, const std::function<void()>& call) {
  Pool::global().reset_peak();
  call();
  return static_cast<double>(Pool::global().stats().peak_bytes - before) * 1e-6;
}

}  // namespace

const std::vector<AttentionCase>& attention_cases() {
  static const std::vector<AttentionCase> cases = {
      {.name = "global", .heads = 4, .n = 4096, .d = 64},
      {.name = "sam_global", .heads = 12, .n = 4096, .d = 64, .decomposed = true},
      {.name = "sam_windows", .windows = 25, .heads = 12, .n = 196, .d = 64, .decomposed = true},
      {.name = "swin_stage1", .windows = 64, .heads = 3, .n = 49, .d = 32, .side = 7},
      {.name = "swin_stage2", .windows = 16, .heads = 6, .n = 49, .d = 32, .side = 7},
      {.name = "swin_stage3", .windows = 4, .heads = 12, .n = 49, .d = 32, .side = 7},
      {.name = "swin_stage4", .windows = 1, .heads = 24, .n = 49, .d = 32, .side = 7},
  };
  return cases;
}

std::vector<Row> bench_attention(const AttentionCase& which, double seconds, bool composed,
                                 std::int64_t matmul_size) {
  const std::int64_t before = Pool::global().stats().live_bytes;
  Work work(which);
  Best matmul, ignored;
  struct Passes {
    Best forward, backward, both;
  } fused, plain;
  const double forward_mb = peak_mb_of(before, [&] { work.forward(false, ignored); });
  const double train_mb = peak_mb_of(before, [&] { work.train(false, ignored, ignored); });

  std::vector<std::function<void()>> sides = {
      [&] { matmul.add(packed_matmul_seconds(matmul_size)); },
      [&] { work.forward(false, fused.forward); },
      [&] { work.train(false, fused.backward, fused.both); },
  };
  if (composed) {
    sides.push_back([&] { work.forward(true, plain.forward); });
    sides.push_back([&] { work.train(true, plain.backward, plain.both); });
  }
  interleave(sides, seconds);
  Pool::global().trim();  // the composed path's scores

  const double unit = static_cast<double>(which.batch * which.windows * which.heads) *
                      static_cast<double>(which.n) * static_cast<double>(which.n) *
                      static_cast<double>(which.d);
  const double matmul_rate = matmul_flops(matmul_size) / matmul.seconds;
  const auto row = [&](const char* pass, double flops, double fused_s, double composed_s, double peak_mb) {
    Row result{.name = which.name, .pass = pass, .batch = which.batch, .ms = fused_s * 1e3};
    result.gflops = flops / fused_s * 1e-9;
    result.over_matmul = flops / fused_s / matmul_rate;
    if (composed) result.over_composed = composed_s / fused_s;
    result.peak_mb = peak_mb;
    return result;
  };
  return {row("forward", 4.0 * unit, fused.forward.seconds, plain.forward.seconds, forward_mb),
          row("backward", 10.0 * unit, fused.backward.seconds, plain.backward.seconds, train_mb),
          row("forward+backward", 14.0 * unit, fused.both.seconds, plain.both.seconds, train_mb)};
}

std::vector<Row> bench_matmul(double seconds, std::int64_t size) {
  const Tensor a = random_tensor({size, size}, 1), b = random_tensor({size, size}, 2);
  Tensor c({size, size});
  Best packed, plain;
  const auto product = [&] {
    matmul({.M = size,
            .N = size,
            .K = size,
            .a = a.data(),
            .lda = size,
            .b = b.data(),
            .ldb = size,
            .c = c.data(),
            .ldc = size});
  };
  interleave({[&] { packed.add(packed_matmul_seconds(size)); }, [&] { plain.add(seconds_of(product)); }},
             seconds);
  const auto row = [&](const char* name, double best_s) {
    Row result{.name = fmt::format("{}_{}", name, size), .pass = "forward", .ms = best_s * 1e3};
    result.gflops = matmul_flops(size) / best_s * 1e-9;
    result.over_matmul = packed.seconds / best_s;
    return result;
  };
  return {row("packed_matmul", packed.seconds), row("matmul", plain.seconds)};
}

}  // namespace locant::bench
