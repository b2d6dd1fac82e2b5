#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "ops/conv2d.h"
#include "ops/linear.h"

namespace locant {

/// Where the taps of a convolution along one axis read: output j takes input j stride - pad + t dilation from
/// tap t. Splitting the input by remainders of the stride ("phases") makes every tap a plain shift: tap t
/// reads phase[t] at j + shift[t]. Phases hold zeros where they leave the input.
struct ConvAxis {
  ConvAxis(std::int64_t inputs, std::int64_t outputs, std::int64_t taps, std::int64_t stride,
           std::int64_t dilation, std::int64_t pad);

  std::int64_t taps() const { return static_cast<std::int64_t>(phase.size()); }
  std::int64_t phases() const { return static_cast<std::int64_t>(start.size()); }
  /// Entry j of phase p is input j stride + start[p]; entries [first(p), last(p)) lie inside the input.
  std::int64_t first(std::int64_t p) const;
  std::int64_t last(std::int64_t p) const;

  std::int64_t inputs, outputs, stride;
  std::int64_t extent;  ///< entries of a phase: outputs and the longest shift
  std::vector<std::int64_t> phase, shift, start;
};

/// x (B, C, H, W), weight (C multiplier, 1, kh, kw), y (B, C multiplier, rows, columns): output channel o
/// sees input channel o / multiplier.
struct DepthwiseShape {
  std::int64_t B, C, multiplier;
  ConvAxis rows, columns;
};

/// Row kernels on each picture by itself: no other layout to reorder into, unlike oneDNN's blocked
/// convolution. bias may be null.
void depthwise_forward(const DepthwiseShape& s, const float* x, const float* weight, const float* bias,
                       float* y);
void depthwise_input_gradient(const DepthwiseShape& s, const float* weight, const float* dy, float* dx);
/// Sums over the batch in its order.
void depthwise_weight_gradient(const DepthwiseShape& s, const float* x, const float* dy, float* dweight);

/// A depthwise convolution of tokens for inference: channels last, so that no permute stands before and
/// behind it. Copies share the weight.
class PackedDepthwise {
 public:
  PackedDepthwise() = default;
  /// weight (C, 1, kh, kw), bias (C) or undefined; neither is kept as it is. options.groups is C.
  PackedDepthwise(const Tensor& weight, const Tensor& bias, const Conv2dOptions& options);
  bool defined() const { return state_ != nullptr; }
  /// tokens (B, prefix + rows columns, C) -> (B, prefix + rows' columns', C): the activation of what conv2d
  /// gives of the grid, behind the prefix as it came.
  Tensor forward(const Tensor& tokens, std::int64_t rows, std::int64_t columns, std::int64_t prefix = 0,
                 Activation act = Activation::none) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace locant
