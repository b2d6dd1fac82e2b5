#include "ops/talking_heads.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "kernels/row_ops.h"
#include "ops/matmul.h"

namespace locant {
namespace {

constexpr const char* kName = "talking_heads_attention";

/// Queries [first, first + T) of sample b, and the extents of all.
struct Tile {
  std::int64_t B, N, H, D, T, b, first;
  std::int64_t width() const { return 3 * H * D; }
  std::int64_t scores() const { return T * N; }  // of a head
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(D)); }
  /// Part 0 q, 1 k, 2 v of the first head; neighbouring heads are D apart, tokens width().
  std::int64_t at(std::int64_t part) const {
    return (b * N + (part == 0 ? first : 0)) * width() + part * H * D;
  }
  std::int64_t out() const { return (b * N + first) * H * D; }
};

/// Queries a tile: two buffers of (H, T, N) then stay in a core's cache.
std::int64_t tile_rows(std::int64_t H, std::int64_t N) {
  constexpr std::int64_t kNumbers = 1 << 17;
  return std::min(N, std::clamp<std::int64_t>(kNumbers / std::max<std::int64_t>(H * N, 1), 8, 64));
}

std::int64_t tiles_of(const Tile& all) { return (all.N + all.T - 1) / all.T; }
Tile tile_at(Tile all, std::int64_t index) {
  const std::int64_t tiles = tiles_of(all);
  all.b = index / tiles;
  all.first = index % tiles * all.T;
  all.T = std::min(all.T, all.N - all.first);
  return all;
}

/// A product for each head, or one of all heads' numbers: in the calling thread, or with all.
class Products {
 public:
  explicit Products(bool serial) : serial_(serial) {}
  void heads(const Tile& t, MatmulArgs args, std::int64_t step_a, std::int64_t step_b,
             std::int64_t step_c) const {
    if (!serial_) return matmul_batched(args, t.H, step_a, step_b, step_c);
    for (std::int64_t h = 0; h < t.H; ++h, args.a += step_a, args.b += step_b, args.c += step_c)
      matmul_serial(args);
  }
  void one(const MatmulArgs& args) const { serial_ ? matmul_serial(args) : matmul(args); }
  /// to (H, T N) = mix from, or its transpose, plus bias[h] where that is given.
  void mix(const Tile& t, const Tensor& matrix, bool transpose, const float* bias, const float* from,
           float* to) const {
    const std::int64_t numbers = t.scores();
    if (bias != nullptr)
      for (std::int64_t h = 0; h < t.H; ++h) std::fill_n(to + h * numbers, numbers, bias[h]);
    one({.transpose_a = transpose,
         .M = t.H,
         .N = numbers,
         .K = t.H,
         .a = matrix.data(),
         .lda = t.H,
         .b = from,
         .ldb = numbers,
         .beta = bias != nullptr ? 1.0f : 0.0f,
         .c = to,
         .ldc = numbers});
  }

 private:
  bool serial_;
};

/// scores and probabilities (H, T, N); mixed: scratch first, then the mixed probabilities.
void probabilities(const Products& products, const Tile& t, const Tensor& qkv, const TalkingHeads& mix,
                   float* scores, float* p, float* mixed) {
  products.heads(t,
                 {.transpose_b = true,
                  .M = t.T,
                  .N = t.N,
                  .K = t.D,
                  .alpha = t.scale(),
                  .a = qkv.data() + t.at(0),
                  .lda = t.width(),
                  .b = qkv.data() + t.at(1),
                  .ldb = t.width(),
                  .c = scores,
                  .ldc = t.N},
                 t.D, t.D, t.scores());
  products.mix(t, mix.before.value(), false, nullptr, scores, mixed);
  row_ops().softmax(mixed, t.H * t.T, t.N, p);
  products.mix(t, mix.after.value(), false, mix.after_bias.value().data(), p, mixed);
}

Tensor forward(const Tile& all, const Tensor& qkv, const TalkingHeads& mix) {
  Tensor y({all.B, all.N, all.H * all.D});
  const Products products(true);
  parallel_for(all.B * tiles_of(all), 1, [&](std::int64_t begin, std::int64_t end) {
    Tensor scores({all.H, all.T, all.N}), mixed({all.H, all.T, all.N});
    for (std::int64_t i = begin; i < end; ++i) {
      const Tile t = tile_at(all, i);
      probabilities(products, t, qkv, mix, scores.data(), scores.data(), mixed.data());
      products.heads(t,
                     {.M = t.T,
                      .N = t.D,
                      .K = t.N,
                      .a = mixed.data(),
                      .lda = t.N,
                      .b = qkv.data() + t.at(2),
                      .ldb = t.width(),
                      .c = y.data() + t.out(),
                      .ldc = t.H * t.D},
                     t.scores(), t.D, t.D);
    }
  });
  return y;
}

struct Gradients {
  Tensor qkv, before, after, after_bias;
};

/// dmatrix += dto from^T, (H, H), for to = matrix from.
void mix_gradient(const Products& products, const Tile& t, const float* dto, const float* from,
                  Tensor& dmatrix) {
  products.one({.transpose_b = true,
                .M = t.H,
                .N = t.H,
                .K = t.scores(),
                .a = dto,
                .lda = t.scores(),
                .b = from,
                .ldb = t.scores(),
                .beta = 1.0f,
                .c = dmatrix.data(),
                .ldc = t.H});
}

/// Tiles in turn, each with all threads: keys and values gather from every tile.
Gradients backward(const Tile& all, const Tensor& qkv, const TalkingHeads& mix, const Tensor& dy) {
  const std::int64_t H = all.H, HD = all.H * all.D;
  Gradients g{Tensor::zeros(qkv.shape()), Tensor::zeros({H, H}), Tensor::zeros({H, H}), Tensor::zeros({H})};
  Tensor scores({H, all.T, all.N}), p({H, all.T, all.N}), a({H, all.T, all.N}), b({H, all.T, all.N});
  const Products products(false);
  for (std::int64_t i = 0; i < all.B * tiles_of(all); ++i) {
    const Tile t = tile_at(all, i);
    const std::int64_t numbers = t.scores();
    probabilities(products, t, qkv, mix, scores.data(), p.data(), a.data());
    // dv += a^T dy; b = dy v^T, the gradient of a.
    products.heads(t,
                   {.transpose_a = true,
                    .M = t.N,
                    .N = t.D,
                    .K = t.T,
                    .a = a.data(),
                    .lda = t.N,
                    .b = dy.data() + t.out(),
                    .ldb = HD,
                    .beta = 1.0f,
                    .c = g.qkv.data() + t.at(2),
                    .ldc = t.width()},
                   numbers, t.D, t.D);
    products.heads(t,
                   {.transpose_b = true,
                    .M = t.T,
                    .N = t.N,
                    .K = t.D,
                    .a = dy.data() + t.out(),
                    .lda = HD,
                    .b = qkv.data() + t.at(2),
                    .ldb = t.width(),
                    .c = b.data(),
                    .ldc = t.N},
                   t.D, t.D, numbers);
    mix_gradient(products, t, b.data(), p.data(), g.after);
    parallel_for(H, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t h = begin; h < end; ++h) {
        double sum = 0;
        for (std::int64_t x = h * numbers; x < (h + 1) * numbers; ++x) sum += static_cast<double>(b[x]);
        g.after_bias[h] += static_cast<float>(sum);
      }
    });
    products.mix(t, mix.after.value(), true, nullptr, b.data(), a.data());  // of p
    parallel_for(H * t.T, 1, [&](std::int64_t begin, std::int64_t end) {
      row_ops().softmax_gradient(p.data() + begin * t.N, a.data() + begin * t.N, end - begin, t.N,
                                 b.data() + begin * t.N);
    });
    mix_gradient(products, t, b.data(), scores.data(), g.before);
    products.mix(t, mix.before.value(), true, nullptr, b.data(), a.data());  // of the scores
    products.heads(t,
                   {.M = t.T,
                    .N = t.D,
                    .K = t.N,
                    .alpha = t.scale(),
                    .a = a.data(),
                    .lda = t.N,
                    .b = qkv.data() + t.at(1),
                    .ldb = t.width(),
                    .c = g.qkv.data() + t.at(0),
                    .ldc = t.width()},
                   numbers, t.D, t.D);
    products.heads(t,
                   {.transpose_a = true,
                    .M = t.N,
                    .N = t.D,
                    .K = t.T,
                    .alpha = t.scale(),
                    .a = a.data(),
                    .lda = t.N,
                    .b = qkv.data() + t.at(0),
                    .ldb = t.width(),
                    .beta = 1.0f,
                    .c = g.qkv.data() + t.at(1),
                    .ldc = t.width()},
                   numbers, t.D, t.D);
  }
  return g;
}

}  // namespace

Var talking_heads_attention(const Context& ctx, const Var& qkv, const TalkingHeads& mix, std::int64_t heads) {
  const Shape& shape = qkv.shape();
  if (shape.rank() != 3 || heads < 1 || shape[2] < 3 * heads || shape[2] % (3 * heads) != 0)
    fail(kName, "qkv of shape {} for {} heads; (B, N, 3 heads D) was expected", shape.str(), heads);
  for (const Var* matrix : {&mix.before, &mix.after})
    if (matrix->shape() != Shape{heads, heads})
      fail(kName, "a mixing matrix of shape {} for {} heads", matrix->shape().str(), heads);
  for (const Var* bias : {&mix.before_bias, &mix.after_bias})
    if (bias->shape() != Shape{heads})
      fail(kName, "a bias of shape {} for {} heads", bias->shape().str(), heads);
  ProfileScope scope(kName);
  const std::int64_t B = shape[0], N = shape[1];
  scope.works(B * N * N * (2 * shape[2] / 3 + 2 * heads * heads));
  if (B * N == 0) return Var(Tensor::zeros({B, N, shape[2] / 3}));
  const Tile all{B, N, heads, shape[2] / (3 * heads), tile_rows(heads, N), 0, 0};
  return ctx.record({qkv, mix.before, mix.before_bias, mix.after, mix.after_bias},
                    forward(all, qkv.value(), mix), [=](const Tensor& dy) {
                      const ProfileScope inner(kName);
                      Gradients g = backward(all, qkv.value(), mix, dy);
                      qkv.accumulate(std::move(g.qkv));
                      mix.before.accumulate(std::move(g.before));
                      mix.before_bias.accumulate(Tensor::zeros({heads}));
                      mix.after.accumulate(std::move(g.after));
                      mix.after_bias.accumulate(std::move(g.after_bias));
                    });
}

}  // namespace locant
