#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layers.h"
#include "position/swin_v2_cpb.h"

namespace locant {

/// Swin V2's attention in windows (Liu et al. 2022, equations 2 to 4): cos(q_i, k_j) tau_h with the bias of
/// position/swin_v2_cpb.h, tau = exp(min(logit_scale, logit_max)). `logit_scale` (H, 1, 1), `q_bias`,
/// `v_bias` (C; the keys have none), `cpb_mlp.{0,2}`, `qkv`, `proj`.
class WindowAttentionV2 {
 public:
  struct Options {
    std::int64_t width = 96, heads = 3;
    Window window = {8, 8};
    Window pretrained = {0, 0};  ///< 0: not pretrained with another window
    std::int64_t hidden = SwinV2Cpb::kHidden;
    float bias_scale = 16.0f;
    float logit_max = 4.605170185988092f;  ///< ln 100
    float l2_eps = 1e-12f;
    bool qkv_bias = true;
  };
  WindowAttentionV2() = default;
  /// Throws Error when the heads do not divide the width.
  WindowAttentionV2(const Weights& w, const Options& options);
  /// x (B, N, C) -> (B, N, C): N the tokens of one window, or as the row maps cut them. A padding slot is a
  /// token that was zero before the projection. Shows cpb_mlp (1, 2 Wh - 1, 2 Ww - 1, H), before the sigmoid,
  /// and proj.
  Var operator()(const Context& ctx, const Var& x, std::shared_ptr<const RowMaps> rows = nullptr) const;

 private:
  Options options_;
  std::string path_;
  Var logit_scale_, query_bias_, value_bias_;
  SwinV2Cpb cpb_;
  std::shared_ptr<const GatherMap> gather_;
  Linear qkv_, proj_;
};

}  // namespace locant
