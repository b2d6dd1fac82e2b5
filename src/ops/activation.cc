#include "ops/activation.h"

#include "ops/elementwise_inl.h"

namespace locant {
namespace {

// Plain functions: y = f(x), dx = slope(x) dy. Comparisons are such that NaN stays NaN.
template <class F, class Slope>
Var elementwise(const Context& ctx, const char* op, const Var& x, const F& f, const Slope& slope) {
  const ProfileScope scope(op);
  Tensor y(x.shape());
  const float* from = x.value().data();
  float* to = y.data();
  parallel_for(y.numel(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = f(from[i]);
  });
  return ctx.record({x}, std::move(y), [x, op, slope](const Tensor& dy) {
    const ProfileScope inner(op);
    Tensor dx(x.shape());
    const float *z = x.value().data(), *g = dy.data();
    float* out = dx.data();
    parallel_for(dx.numel(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = slope(z[i]) * g[i];
    });
    x.accumulate(std::move(dx));
  });
}

// dx = dy factor^2 s (1 - s), s = sigmoid(factor x).
auto sigmoid_slope(const char* op, const Var& x, float factor) {
  return [op, x, factor](const Tensor& dy) {
    const ProfileScope scope(op);
    x.accumulate(gradient_by_kernel(x.value(), dy,
                                    [factor](const float* z, const float* g, std::int64_t n, float* out) {
                                      row_ops().sigmoid_gradient(z, factor, g, n, out);
                                    }));
  };
}

// x sigmoid(factor x).
Var gated(const Context& ctx, const char* op, const Var& x, float factor) {
  const ProfileScope scope(op);
  Tensor y = by_kernel(
      x.value(), [factor](const float* z, std::int64_t n, float* to) { row_ops().silu(z, factor, n, to); });
  return ctx.record({x}, std::move(y), [op, x, factor](const Tensor& dy) {
    const ProfileScope inner(op);
    x.accumulate(gradient_by_kernel(x.value(), dy,
                                    [factor](const float* z, const float* g, std::int64_t n, float* out) {
                                      row_ops().silu_gradient(z, factor, g, n, out);
                                    }));
  });
}

// (1 + tanh(a)) / 2 = sigmoid(2 a), a = sqrt(2 / pi) (x + 0.044715 x^3).
constexpr float kGate = 1.5957691216057308f, kCubic = 0.044715f;
void tanh_gate(const float* x, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = kGate * (x[i] + kCubic * x[i] * x[i] * x[i]);
  row_ops().sigmoid(to, n, to);
}

float clip(float x, float most) { return x < 0.0f ? 0.0f : x > most ? most : x; }

}  // namespace

Var relu(const Context& ctx, const Var& x) {
  return elementwise(
      ctx, "relu", x, [](float v) { return v < 0.0f ? 0.0f : v; },
      [](float v) { return v > 0.0f ? 1.0f : 0.0f; });
}

Var relu6(const Context& ctx, const Var& x) {
  return elementwise(
      ctx, "relu6", x, [](float v) { return clip(v, 6.0f); },
      [](float v) { return v > 0.0f && v < 6.0f ? 1.0f : 0.0f; });
}

Var sigmoid(const Context& ctx, const Var& x) {
  const ProfileScope scope("sigmoid");
  return ctx.record({x}, by_kernel(x.value(), row_ops().sigmoid), sigmoid_slope("sigmoid", x, 1.0f));
}

Var tanh(const Context& ctx, const Var& x) {
  const ProfileScope scope("tanh");  // 2 sigmoid(2 x) - 1
  return ctx.record({x}, by_kernel(x.value(), row_ops().tanh), sigmoid_slope("tanh", x, 2.0f));
}

Var silu(const Context& ctx, const Var& x) { return gated(ctx, "silu", x, 1.0f); }

Var hard_sigmoid(const Context& ctx, const Var& x) {
  return elementwise(
      ctx, "hard_sigmoid", x, [](float v) { return clip(v + 3.0f, 6.0f) / 6.0f; },
      [](float v) { return v > -3.0f && v < 3.0f ? 1.0f / 6.0f : 0.0f; });
}

Var hard_swish(const Context& ctx, const Var& x) {
  return elementwise(
      ctx, "hard_swish", x, [](float v) { return v * clip(v + 3.0f, 6.0f) / 6.0f; },
      [](float v) {
        const float middle = v / 3.0f + 0.5f;
        return v <= -3.0f ? 0.0f : v < 3.0f ? middle : 1.0f;
      });
}

Var quick_gelu(const Context& ctx, const Var& x) { return gated(ctx, "quick_gelu", x, 1.702f); }

Var gelu_tanh(const Context& ctx, const Var& x) {
  const ProfileScope scope("gelu_tanh");
  Tensor y = by_kernel(x.value(), [](const float* z, std::int64_t n, float* to) {
    tanh_gate(z, n, to);
    for (std::int64_t i = 0; i < n; ++i) to[i] *= z[i];
  });
  return ctx.record({x}, std::move(y), [x](const Tensor& dy) {
    const ProfileScope inner("gelu_tanh");
    x.accumulate(
        gradient_by_kernel(x.value(), dy, [](const float* z, const float* g, std::int64_t n, float* to) {
          tanh_gate(z, n, to);
          for (std::int64_t i = 0; i < n; ++i) {
            const float s = to[i], edge = s * (1.0f - s);  // 0 where z^3 may be beyond float32
            const float bend =
                edge > 0.0f ? edge * z[i] * kGate * (1.0f + 3.0f * kCubic * z[i] * z[i]) : 0.0f;
            to[i] = g[i] * (s + bend);
          }
        }));
  });
}

Var elu(const Context& ctx, const Var& x) {
  const ProfileScope scope("elu");
  const Tensor y = by_kernel(x.value(), row_ops().elu);
  return ctx.record({x}, y, [x, y](const Tensor& dy) {
    const ProfileScope inner("elu");
    Tensor dx(x.shape());
    const float *z = y.data(), *g = dy.data();
    float* out = dx.data();
    parallel_for(dx.numel(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = (z[i] > 0.0f ? 1.0f : z[i] + 1.0f) * g[i];
    });
    x.accumulate(std::move(dx));
  });
}

Var glu(const Context& ctx, const Var& x) {
  return gate_halves(ctx, "glu", x, row_ops().glu, row_ops().glu_gradient);
}

}  // namespace locant
