#include "ops/mask_loss.h"

#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"

namespace locant {
namespace {

struct Masks {
  std::int64_t count, pixels;
  Shape result{0};
};

Masks masks_of(const char* op, const Shape& logits, const Shape& target) {
  if (logits.rank() < 2 || logits != target || logits[-1] < 1)
    fail(op, "logits of shape {} and a target of shape {}; both must be (.., masks, pixels)", logits.str(),
         target.str());
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis + 1 < logits.rank(); ++axis) extents.push_back(logits[axis]);
  Masks out{1, logits[-1], Shape(std::span<const std::int64_t>(extents))};
  for (const std::int64_t extent : extents) out.count *= extent;
  return out;
}

double sigmoid(double x) { return x >= 0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x)); }

/// log(1 + e^x)
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

/// Calls body(mask) for every mask; each is worked on by one thread, in the order of its pixels.
template <class Body>
void each_mask(const Masks& masks, const Body& body) {
  parallel_for(masks.count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m) body(m);
  });
}

}  // namespace

Var focal_loss(const Context& ctx, const Var& logits, const Tensor& target, float alpha, float gamma) {
  const ProfileScope scope("mask_loss");
  const Masks masks = masks_of("focal_loss", logits.shape(), target.shape());
  require(alpha >= 0.0f && alpha <= 1.0f && gamma >= 0.0f, "focal_loss",
          "alpha {} must be in [0, 1] and gamma {} not negative", alpha, gamma);
  const double a = alpha, g = gamma;
  Tensor out(masks.result);
  each_mask(masks, [&](std::int64_t m) {
    const float *x = logits.value().data() + m * masks.pixels, *t = target.data() + m * masks.pixels;
    double sum = 0.0;
    for (std::int64_t i = 0; i < masks.pixels; ++i) {
      // With the sign of a wrong answer: 1 - p_t = sigmoid(z), -log p_t = softplus(z).
      const double z = t[i] > 0.5f ? -x[i] : x[i];
      sum += (t[i] > 0.5f ? a : 1.0 - a) * std::pow(sigmoid(z), g) * softplus(z);
    }
    out[m] = static_cast<float>(sum / static_cast<double>(masks.pixels));
  });
  return ctx.record({logits}, std::move(out), [=](const Tensor& dy) {
    const ProfileScope inner("mask_loss");
    Tensor dx(logits.shape());
    each_mask(masks, [&](std::int64_t m) {
      const float *x = logits.value().data() + m * masks.pixels, *t = target.data() + m * masks.pixels;
      const double scale = static_cast<double>(dy[m]) / static_cast<double>(masks.pixels);
      for (std::int64_t i = 0; i < masks.pixels; ++i) {
        const bool one = t[i] > 0.5f;
        const double z = one ? -x[i] : x[i], s = sigmoid(z);
        const double dz = (one ? a : 1.0 - a) * std::pow(s, g) * (g * (1.0 - s) * softplus(z) + s);
        dx[m * masks.pixels + i] = static_cast<float>(scale * (one ? -dz : dz));
      }
    });
    logits.accumulate(std::move(dx));
  });
}

Var dice_loss(const Context& ctx, const Var& logits, const Tensor& target) {
  const ProfileScope scope("mask_loss");
  const Masks masks = masks_of("dice_loss", logits.shape(), target.shape());
  const auto above = std::make_shared<std::vector<double>>(static_cast<std::size_t>(masks.count));
  const auto below = std::make_shared<std::vector<double>>(static_cast<std::size_t>(masks.count));
  Tensor out(masks.result);
  each_mask(masks, [&](std::int64_t m) {
    const float *x = logits.value().data() + m * masks.pixels, *t = target.data() + m * masks.pixels;
    double both = 0.0, ps = 0.0, ts = 0.0;
    for (std::int64_t i = 0; i < masks.pixels; ++i) {
      const double p = sigmoid(x[i]);
      both += p * t[i];
      ps += p;
      ts += t[i];
    }
    const auto at = static_cast<std::size_t>(m);
    (*above)[at] = 2.0 * both + 1.0;
    (*below)[at] = ps + ts + 1.0;
    out[m] = static_cast<float>(1.0 - (*above)[at] / (*below)[at]);
  });
  return ctx.record({logits}, std::move(out), [=](const Tensor& dy) {
    const ProfileScope inner("mask_loss");
    Tensor dx(logits.shape());
    each_mask(masks, [&](std::int64_t m) {
      const float *x = logits.value().data() + m * masks.pixels, *t = target.data() + m * masks.pixels;
      const double n = (*above)[static_cast<std::size_t>(m)], q = (*below)[static_cast<std::size_t>(m)];
      for (std::int64_t i = 0; i < masks.pixels; ++i) {
        const double p = sigmoid(x[i]);
        dx[m * masks.pixels + i] =
            static_cast<float>(-dy[m] * (2.0 * t[i] * q - n) / (q * q) * p * (1.0 - p));
      }
    });
    logits.accumulate(std::move(dx));
  });
}

}  // namespace locant
