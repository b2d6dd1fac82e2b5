#pragma once

#include <cstdint>
#include <vector>

#include "nn/joint_projection.h"
#include "nn/layers.h"
#include "position/deberta.h"
#include "position/huang2020.h"
#include "position/kerple.h"
#include "position/music_transformer.h"
#include "position/rope.h"
#include "position/shaw.h"
#include "position/t5_bucket.h"
#include "position/transformer_xl.h"

namespace locant {

/// Encodings of a sequence that act within attention, each as its file in position/ says.
enum class AttentionPosition {
  none,
  rope,
  alibi,
  kerple,
  kerple_power,
  t5_bucket,
  shaw,
  transformer_xl,     ///< causal
  conformer,          ///< Transformer-XL's, in both directions
  music_transformer,  ///< causal; called without the mask, keys after the query have no position
  relative_key,
  relative_key_query,
  deberta
};

/// Multi-head self-attention of a sequence with a choice of encoding, projections named as
/// torch.nn.MultiheadAttention's: `in_proj_weight`, `in_proj_bias`, `out_proj`, and beside them what the
/// encoding learns, under its own names (Shaw::kKeys, MusicTransformer::kTable, ...). Tables shared by the
/// heads where an encoding has both forms.
class PositionedAttention {
 public:
  struct Options {
    std::int64_t width = 512, heads = 8;
    AttentionPosition position = AttentionPosition::none;
    bool causal = false;
    std::int64_t longest = 2048;  ///< rows of music_transformer's table; relative_key's longest sequence
    std::int64_t clip = 16;       ///< Shaw's K
    T5Buckets t5 = {};            ///< one-sided where causal
    DebertaBuckets deberta = {};
    float dropout = 0.0f;  ///< of probabilities
  };
  PositionedAttention() = default;
  /// Throws Error when the heads do not divide the width, or the encoding cannot be so.
  PositionedAttention(const Weights& w, const Options& options);
  /// x (B, N, C); key_lengths (B) or empty for all -> (B, N, C), plus skip where that is defined. Throws
  /// Error when N is above what the encoding has rows for.
  Var operator()(const Context& ctx, const Var& x, const std::vector<std::int64_t>& key_lengths = {},
                 const Var& skip = {}) const;

 private:
  /// Terms of encodings that need no q and k to be made; false for the others.
  bool add_terms(const Context& ctx, std::int64_t N, AttentionOptions& options) const;
  /// q and k with what the others make of them.
  void place(const Context& ctx, std::int64_t N, Var& q, Var& k, AttentionOptions& options) const;
  void make_conformer(const Weights& w);
  void make_deberta(const Weights& w);

  Options options_;
  JointProjection in_;
  Linear out_;
  Kerple kerple_;
  T5Bucket t5_;
  Shaw shaw_;
  MusicTransformer music_;
  Huang2020 huang_;
  TransformerXl xl_;            // u and v; rows are made from positions
  Linear positions_;            // of transformer_xl and conformer
  Var rel_embeddings_;          // DeBERTa's table (2 S, C)
  Linear pos_key_, pos_query_;  // and its projections
};

}  // namespace locant
