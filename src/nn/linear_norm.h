#pragma once

#include <vector>

#include "nn/conv_layers.h"
#include "nn/layers.h"

namespace locant {

/// A product without bias and its batch norm over all tokens, names `c` and `bn` (LeViT):
///
///   y = s (x W^T) + t = x (s W)^T + t,   s = weight / sqrt(running_var + eps),  t = bias - running_mean s
///
/// Folded into one product for inference.
class LinearNorm {
 public:
  struct Options {
    float eps = 1e-5f;
    Init norm_init = Init::ones();  ///< of the norm's weight
    bool pointwise = false;         ///< the file's weight is a 1x1 convolution's, (out, in, 1, 1)
  };
  LinearNorm() = default;
  LinearNorm(const Weights& w, std::int64_t in, std::int64_t out, const Options& options);
  /// x (B, N, in) -> (B, N, out), plus skip where that is defined.
  Var operator()(const Context& ctx, const Var& x, const Var& skip = {}) const;

 private:
  Linear product_;
  BatchNorm norm_;
  PackedLinear folded_;  // both, for inference
};

/// The same to several tensors at once, rows packed by head: head 0's rows of the first part, of the second,
/// .., then head 1's. For inference each part is a product of its own.
class HeadsLinearNorm {
 public:
  HeadsLinearNorm() = default;
  /// `widths`: of each part in each head.
  HeadsLinearNorm(const Weights& w, std::int64_t in, std::int64_t heads, std::vector<std::int64_t> widths,
                  const LinearNorm::Options& options);
  /// x (B, N, in) -> (B, N, heads * width) for each of the widths, heads first.
  std::vector<Var> operator()(const Context& ctx, const Var& x) const;

 private:
  std::int64_t heads_ = 0, head_rows_ = 0;
  std::vector<std::int64_t> widths_;
  LinearNorm whole_;
  std::vector<PackedLinear> parts_;
};

/// A batch norm of vectors and a product with bias, names `bn` and `l` (LeViT's heads):
///
///   y = W (s x + t) + b = (W s) x + (W t + b)
class NormLinear {
 public:
  NormLinear() = default;
  NormLinear(const Weights& w, std::int64_t in, std::int64_t out, float eps);
  bool defined() const { return norm_.defined() || folded_.defined(); }
  /// x (B, in) -> (B, out).
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  BatchNorm norm_;
  Linear product_;
  PackedLinear folded_;
};

}  // namespace locant
