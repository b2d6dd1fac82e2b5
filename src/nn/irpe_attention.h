#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/joint_projection.h"
#include "nn/layers.h"
#include "position/irpe.h"

namespace locant {

/// What the attention layers with iRPE share. `on`: letters of q, k and v; empty: no iRPE.
struct IrpeOptions {
  std::int64_t width = 192, heads = 3;
  IrpeForm form = {};
  std::string on = "k";
  bool shared = true;     ///< one table for all heads
  std::int64_t skip = 0;  ///< tokens in front of the grid
  bool qkv_bias = true;
  float dropout = 0.0f;  ///< of probabilities
  /// Tables start Xavier-uniform, as DETR has all that is no vector; else at zero.
  bool xavier_tables = false;
};

/// The tables of such a layer under the official names.
class IrpeEncoding {
 public:
  IrpeEncoding() = default;
  /// Throws Error when the heads do not divide the width or `on` has other letters.
  IrpeEncoding(const Weights& w, const IrpeOptions& options);
  /// q (B, Nq, C), k and v (B, Nk, C) -> (B, Nq, C). `maps`: of the grid that all are tokens of; null where
  /// there are no tables. Shows, when a probe looks: dense, the scores that the position adds as rpe_k (B, H,
  /// N, N; bias: 1, 1 or H, N, N) and, with the key as row, rpe_q; what it adds to the result as rpe_v (B, H,
  /// N, D).
  Var attend(const Context& ctx, const Var& q, const Var& k, const Var& v, const IrpeMaps* maps,
             const AttentionVisibility& visibility) const;

 private:
  void show_scores(const Context& ctx, const Var& q, const Var& k, const Var& v,
                   const AttentionOptions& options) const;
  IrpeOptions options_;
  std::string path_;
  Irpe tables_;
};

/// Self-attention of DeiT with iRPE: `qkv`, `proj`, tables.
class IrpeAttention {
 public:
  IrpeAttention() = default;
  IrpeAttention(const Weights& w, const IrpeOptions& options);
  /// x (B, N, C), N the tokens of the maps' grid -> the same, plus skip where that is defined. Shows qkv.
  Var operator()(const Context& ctx, const Var& x, const IrpeMaps& maps, const Var& skip = {}) const;

 private:
  std::int64_t width_ = 0;
  std::string path_;
  Linear qkv_, proj_;
  IrpeEncoding encoding_;
};

/// DETR's attention, torch.nn.MultiheadAttention: `in_proj_weight` (3 C, C; rows q, k, v), `in_proj_bias`,
/// `out_proj`; in the encoder with tables.
class IrpeDetrAttention {
 public:
  IrpeDetrAttention() = default;
  IrpeDetrAttention(const Weights& w, IrpeOptions options);
  /// query (B, Nq, C), key and value (B, Nk, C) -> (B, Nq, C), plus skip where that is defined. `maps` as
  /// above.
  Var operator()(const Context& ctx, const Var& query, const Var& key, const Var& value, const IrpeMaps* maps,
                 const AttentionVisibility& visibility = {}, const Var& skip = {}) const;

 private:
  std::int64_t width_ = 0;
  JointProjection in_proj_;
  Linear out_proj_;
  IrpeEncoding encoding_;
};

/// Keys inside the first rows and columns of each sample's grid, {rows, columns} a sample: pictures of
/// different sizes, padded at the bottom and right. Throws Error for a size that is empty or beyond the grid.
AttentionVisibility irpe_keys_within(const std::vector<std::vector<std::int64_t>>& sizes,
                                     const IrpeGrid& grid);

}  // namespace locant
