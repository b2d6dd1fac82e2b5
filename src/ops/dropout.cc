#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/elementwise.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// What element i of the draw `key` is multiplied by: a pure function of both, so neither threads nor their
// number change a run, and the backward needs no mask in memory.
struct Mask {
  std::uint64_t key;
  std::uint64_t threshold;  // of 2^24
  float kept;

  float operator()(std::int64_t i) const {
    const std::uint64_t bits = splitmix64(key + 0x9E3779B97F4A7C15ULL * static_cast<std::uint64_t>(i));
    return (bits >> 40) < threshold ? 0.0f : kept;
  }
};

Mask draw(const char* op, const Context& ctx, float p) {
  require(ctx.rng != nullptr, op, "training needs Context::rng");
  return {ctx.rng->next(), static_cast<std::uint64_t>(static_cast<double>(p) * 0x1p24 + 0.5),
          1.0f / (1.0f - p)};
}

// y = x times the mask, whose number i covers `run` elements.
Tensor apply(const Tensor& x, const Mask& mask, std::int64_t run) {
  Tensor y(x.shape());
  parallel_for(run > 0 ? x.numel() / run : 0, row_grain(run), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float factor = mask(i);
      for (std::int64_t j = i * run; j < (i + 1) * run; ++j) y[j] = factor == 0.0f ? 0.0f : factor * x[j];
    }
  });
  return y;
}

Var masked(const Context& ctx, const Var& x, const Mask& mask, std::int64_t run) {
  const ProfileScope scope("dropout");
  return ctx.record({x}, apply(x.value(), mask, run),
                    [x, mask, run](const Tensor& dy) { x.accumulate(apply(dy, mask, run)); });
}

void check(const char* op, float p) {
  require(p >= 0.0f && p < 1.0f, op, "probability {} is outside [0, 1)", p);
}

}  // namespace

Var dropout(const Context& ctx, const Var& x, float p) {
  check("dropout", p);
  if (!ctx.train || p == 0.0f) return x;
  return masked(ctx, x, draw("dropout", ctx, p), 1);
}

Var drop_path(const Context& ctx, const Var& x, float p) {
  check("drop_path", p);
  if (!ctx.train || p == 0.0f) return x;
  require(x.shape().rank() >= 1, "drop_path", "x has no axis of samples; its first axis must be the batch");
  const std::int64_t samples = x.dim(0);
  return masked(ctx, x, draw("drop_path", ctx, p), samples > 0 ? x.value().numel() / samples : 0);
}

}  // namespace locant
