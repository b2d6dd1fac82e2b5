#pragma once

#include <cstdint>
#include <optional>

#include "nn/weights.h"
#include "ops/batch_norm.h"
#include "ops/conv1d.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "position/shared/token_grid.h"

namespace locant {

/// Input channels of a group. Throws Error unless the groups divide both.
std::int64_t channels_of_group(std::int64_t in, std::int64_t out, std::int64_t groups);

/// N(0, 2 / fan_out), fan_out the kernel's area times out / groups: He et al. 2015.
Init fan_out_init(std::int64_t fan_out);

class BatchNorm;

/// Own copies of a layer's weight (out, ...) and bias (out), or undefined, that become a packed form.
struct PackedSource {
  /// `weight`, and `bias` where its start is given; the weight is let go.
  PackedSource(const Weights& w, const Shape& shape, const Init& weight_init,
               const std::optional<Init>& bias_init);
  /// With the batch norm behind: s W and s b + t. An undefined one changes nothing.
  void fold(const BatchNorm& norm);
  /// As a product's: (out, rest).
  PackedLinear linear() const;
  /// As a depthwise convolution's: (C, 1, kh, kw), or (C, 1, k) along the columns.
  PackedDepthwise depthwise(const Conv2dOptions& options) const;

  Tensor weight, bias;
};

/// `weight` (out, in / groups, kernel rows, kernel columns), `bias` (out); starts as PyTorch's Conv2d does.
/// Packed for inference.
class Conv2d {
 public:
  struct Options {
    std::int64_t kernel_rows = 1, kernel_columns = 1;
    Conv2dOptions conv = {};
    bool bias = true;
    std::optional<Init> weight_init = std::nullopt;  ///< none: PyTorch's
    std::optional<Init> bias_init = std::nullopt;    ///< none: PyTorch's
  };
  Conv2d() = default;
  Conv2d(const Weights& w, std::int64_t in, std::int64_t out, const Options& options);
  /// A square kernel with one stride and padding for both axes.
  static Options square(std::int64_t kernel, std::int64_t stride = 1, std::int64_t pad = 0,
                        std::int64_t groups = 1, bool bias = true);
  /// images (B, in, H, W) -> (B, out, H', W').
  Var operator()(const Context& ctx, const Var& x) const;
  /// The same tensors as they are, for what convolves by itself.
  static Conv2dNumbers numbers(const Weights& w, std::int64_t in, std::int64_t out, const Options& options);
  /// The same for inference.
  static PackedSource source(const Weights& w, std::int64_t in, std::int64_t out, const Options& options);
  /// Undefined without one.
  const Var& bias() const { return numbers_.bias; }

 private:
  Conv2dNumbers numbers_;
  Conv2dOptions conv_;
};

/// `weight` (out, in / groups, kernel), `bias` (out). x (B, in, L) -> (B, out, L').
class Conv1d {
 public:
  Conv1d() = default;
  Conv1d(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel,
         const Conv1dOptions& options, bool bias = true);
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Var weight_, bias_;
  Conv1dOptions conv_;
};

/// `weight` (ones at the start, or as told), `bias`, `running_mean`, `running_var` (C). Batch statistics
/// while ctx.train, running ones else.
class BatchNorm {
 public:
  BatchNorm() = default;
  BatchNorm(const Weights& w, std::int64_t width, const BatchNormOptions& options = {},
            const Init& weight_init = Init::ones());
  Var operator()(const Context& ctx, const Var& x) const { return numbers_(ctx, x); }
  bool defined() const { return numbers_.defined(); }
  /// For what norms by itself; shares the running statistics.
  const BatchNormNumbers& numbers() const { return numbers_; }

  /// Evaluation as scale x + shift: weight / sqrt(running_var + eps), and bias - running_mean scale. (C)
  Var scale(const Context& ctx) const;
  Var shift(const Context& ctx, const Var& scale) const;

 private:
  BatchNormNumbers numbers_;
};

}  // namespace locant
