#pragma once

// Feed-forwards with a depthwise convolution, which see positions through the zeros around the picture:
//
//   localvit   F(P) = BN(Conv1(G(a(BN(DW(a(BN(Conv1(P)))))))), out P + F(P)       Li et al. 2021, LocalViT
//   leff       F(P) = BN(Conv1(g(BN(DW(g(BN(Conv1(P)))))))                        Yuan et al. 2021, CeiT
//   conv_ff    F(P) = Conv1(s(Conv1(DW(s(Conv1(P))))))                            the survey's own
//
// P the patch tokens as a picture (C, h, w), Conv1 a product per token, DW depthwise k x k, a hard swish or
// ReLU6, g GELU, s hard swish, G squeeze-and-excitation, ECA, or nothing, BN over channels, which LeFF can do
// without. Enters: tokens, in place of the feed-forward. Special tokens pass by. Parameters: below, as in the
// checkpoints; LocalViT's convolutions have no bias. Starts as PyTorch's convolutions. Resize rule: none.
// Gradient: by tape. Cost: (2 C + k^2) e C multiply-adds a token, conv_ff e^2 C^2 more. Models: LocalViT,
// CeiT.

#include <complex>
#include <cstdint>
#include <string>

#include "ops/channel_gate.h"
#include "position/shared/token_grid.h"

namespace locant {

// ---- parameters

enum class FfActivation { relu6, hard_swish };
enum class FfGate { none, squeeze_excite, eca, eca_hard };

/// LocalViT's. In the checkpoints `conv.0`, norm `conv.1`, `conv.3`, `conv.4`, gate `conv.6`, then `conv.7`,
/// `conv.8`, each one less without a gate.
struct LocalityFf {
  Conv2dNumbers expand, depthwise, project;
  BatchNormNumbers expand_norm, depthwise_norm, project_norm;
  FfGate gate = FfGate::none;
  Conv2dNumbers squeeze, excite;  ///< squeeze_excite: `fc.0` (R, e C), `fc.2` (e C, R)
  Var eca_kernel;                 ///< eca, eca_hard: `conv.weight` (1, 1, odd)
  FfActivation act = FfActivation::hard_swish;
  std::int64_t stride = 1;  ///< of the depthwise convolution
  bool residual = true;
};

/// What stands in place of the convolutions and norms of either for inference: norms folded, products on
/// channels that lie last.
struct PackedConvFf {
  PackedLinear expand, project;
  PackedDepthwise depthwise;
};

/// CeiT's: `conv1`, `bn1`, `conv2`, `bn2`, `conv3`, `bn3`; norms may be undefined.
struct Leff {
  Conv2dNumbers conv1, conv2, conv3;
  BatchNormNumbers bn1, bn2, bn3;
  std::string path = {};  ///< before the names that are shown
};

/// The survey's: `up`, `depth`, `point`, `down`.
struct ConvFf {
  Conv2dNumbers up, depth, point, down;
};

// ---- lowering

/// images (B, C, h, w) -> (B, C', h', w'). Throws Error when shapes do not fit.
Var locality_ff(const Context& ctx, const LocalityFf& ff, const Var& images);
/// The same of tokens (B, prefix + h w, C), the prefix as it is. Of `ff` the gate, the activation and the
/// residual are read.
Var locality_ff(const Context& ctx, const LocalityFf& ff, const PackedConvFf& packed, const Var& tokens,
                Grid grid, std::int64_t prefix);
/// tokens (B, prefix + h w, C) -> the same, the prefix as it is. Shows conv1, conv2 and conv3.
Var leff(const Context& ctx, const Leff& ff, const Var& tokens, Grid grid, std::int64_t prefix);
/// The same; nothing is shown.
Var leff(const PackedConvFf& packed, const Var& tokens, Grid grid, std::int64_t prefix);
Var conv_ff(const Context& ctx, const ConvFf& ff, const Var& tokens, Grid grid, std::int64_t prefix);

// ---- the equation, as it stands

template <class T>
T hard_swish_number(T x) {
  const double r = std::real(x);
  return r <= -3 ? T(0.0) : r >= 3 ? x : x * (x + 3.0) / 6.0;
}
template <class T>
T hard_sigmoid_number(T x) {
  const double r = std::real(x);
  return r <= -3 ? T(0.0) : r >= 3 ? T(1.0) : (x + 3.0) / 6.0;
}

}  // namespace locant
