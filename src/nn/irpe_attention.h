#pragma once

#include <cstdint>
#include <string>

#include "nn/layers.h"
#include "position/irpe.h"

namespace locant {

/// What the attention layers with iRPE share. `on`: letters of q, k and v.
struct IrpeOptions {
  std::int64_t width = 192, heads = 3;
  IrpeForm form = {};
  std::string on = "k";
  bool shared = true;  ///< one table for all heads
  IrpeGrid grid = {};
  float dropout = 0.0f;  ///< of probabilities
};

/// The tables of such a layer and their maps, under the official names; they start at zero.
class IrpeEncoding {
 public:
  IrpeEncoding() = default;
  /// Throws Error when the heads do not divide the width or `on` has other letters.
  IrpeEncoding(const Weights& w, const IrpeOptions& options);
  /// q, k and v (B, N, C) -> (B, N, C). Shows, when a probe looks: dense, the scores that the position adds
  /// as rpe_k (B, H, N, N; bias: 1, 1 or H, N, N) and, with the key as row, rpe_q; what it adds to the result
  /// as rpe_v (B, H, N, D).
  Var attend(const Context& ctx, const Var& q, const Var& k, const Var& v,
             const AttentionVisibility& visibility) const;

 private:
  void show_scores(const Context& ctx, const Var& q, const Var& k, const Var& v,
                   const AttentionOptions& options) const;
  IrpeOptions options_;
  std::string path_;
  Irpe tables_;
  IrpeMaps maps_;
};

/// Self-attention of DeiT with iRPE: `qkv`, `proj`, tables.
class IrpeAttention {
 public:
  IrpeAttention() = default;
  IrpeAttention(const Weights& w, const IrpeOptions& options);
  /// x (B, N, C) -> (B, N, C), N the tokens of the grid. Shows qkv.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  std::int64_t width_ = 0;
  std::string path_;
  Linear qkv_, proj_;
  IrpeEncoding encoding_;
};

/// Self-attention of DETR's encoder with iRPE: `in_proj_weight` (3 C, C), `in_proj_bias`, `out_proj`, tables.
class IrpeDetrAttention {
 public:
  IrpeDetrAttention() = default;
  IrpeDetrAttention(const Weights& w, const IrpeOptions& options);
  /// query (the keys, too) and value (B, N, C) -> (B, N, C).
  Var operator()(const Context& ctx, const Var& query, const Var& value,
                 const AttentionVisibility& visibility = {}) const;

 private:
  std::int64_t width_ = 0;
  Var weight_, bias_;
  Linear out_proj_;
  IrpeEncoding encoding_;
};

}  // namespace locant
