#pragma once

#include <cstdint>
#include <string_view>

#include "nn/weights.h"
#include "ops/linear.h"

namespace locant {

/// Throws Error under the name of `op` unless the heads divide the width.
void require_heads(const char* op, std::int64_t heads, std::int64_t width);
/// Throws Error under the name of `op` unless images are (B, channels, H, W) and not empty.
void require_images(std::string_view op, const Var& images, std::int64_t channels);

/// y = act(x W^T + b) + residual. `weight` (out, in), `bias` (out). Packed once for inference, where act and
/// residual are fused into the product.
class Linear {
 public:
  struct Options {
    bool bias = true;
    Init weight_init = Init::trunc_normal(0.02f);
    Init bias_init = Init::zeros();
    /// Shape of the checkpoint's weight where it is not (out, in), with as many elements: a convolution's.
    Shape weight_shape{0};
  };
  Linear() = default;
  Linear(const Weights& w, std::int64_t in, std::int64_t out) : Linear(w, in, out, Options{}) {}
  Linear(const Weights& w, std::int64_t in, std::int64_t out, const Options& options);

  Var operator()(const Context& ctx, const Var& x, Activation act = Activation::none,
                 const Var& residual = {}) const;
  bool defined() const { return packed_.defined() || weight_.defined(); }
  /// Undefined without one.
  const Var& bias() const { return bias_; }

 private:
  Var weight_, bias_;
  PackedLinear packed_;
  std::int64_t in_ = 0, out_ = 0;
};

/// `weight` (C) starts at ones where nothing else is said, `bias` (C) at zeros.
class LayerNorm {
 public:
  LayerNorm() = default;
  LayerNorm(const Weights& w, std::int64_t width, float eps, const Init& weight_init = Init::ones());
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Var weight_, bias_;
  float eps_ = 1e-5f;
};

/// Images (B, C, H, W) with zeros added at the bottom and right, so that the sides are multiples of the
/// patch.
Var pad_to_patches(const Context& ctx, const Var& images, std::int64_t patch_rows,
                   std::int64_t patch_columns);

/// Convolution whose stride is its kernel, as a product: images (B, C, H, W) -> (B, (H/ph)(W/pw), width).
/// `weight` (width, C, ph, pw), `bias` (width); starts as PyTorch's Conv2d does. A remainder at the right and
/// bottom is left out. Throws Error when the images have another number of channels or are smaller than a
/// patch.
class PatchEmbed {
 public:
  PatchEmbed() = default;
  PatchEmbed(const Weights& w, std::int64_t channels, std::int64_t patch_rows, std::int64_t patch_columns,
             std::int64_t width);
  Var operator()(const Context& ctx, const Var& images) const;

 private:
  Linear projection_;
  std::int64_t channels_ = 0, patch_rows_ = 0, patch_columns_ = 0;
};

/// fc1, exact GELU, fc2 (+ residual): names `fc1`, `fc2`.
class Mlp {
 public:
  Mlp() = default;
  Mlp(const Weights& w, std::int64_t width, std::int64_t hidden);
  Var operator()(const Context& ctx, const Var& x, const Var& residual = {}) const;

 private:
  Linear fc1_, fc2_;
};

}  // namespace locant
