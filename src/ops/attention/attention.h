#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "autograd/tape.h"
#include "core/remembered.h"
#include "ops/attention/terms.h"

namespace locant {

/// Slot -> token row maps of G groups (kernels/attention.h), shared by the layers of a stage.
struct RowMaps {
  std::int64_t groups = 1;
  std::int64_t queries = 0;                                      ///< Nq, slots a group
  std::int64_t keys = 0;                                         ///< Nk
  std::vector<std::int32_t> query_rows = {};                     ///< (G, Nq); empty: identity
  std::vector<std::int32_t> key_rows = {};                       ///< (G, Nk); empty: identity
  std::vector<std::int32_t> query_region = {}, key_region = {};  ///< (G, Nq), (G, Nk); empty: no region mask
  /// (G, Nq, 4): first row, end row, first column, end column of the key slots that a query sees, in a grid
  /// box_columns wide that starts at slot box_first_key; empty: no such mask (kernels/attention.h).
  std::vector<std::int32_t> query_box = {};
  std::int64_t box_columns = 0, box_first_key = 0;
  /// 2 x tokens, + 1 where the map reaches every token: kept by the first call, so that later ones on as many
  /// tokens do not read the maps again.
  Remembered checked_queries = {}, checked_keys = {};
};

/// Masks beside those of RowMaps. What a query may see is what all of them allow.
struct AttentionVisibility {
  bool causal = false;
  std::int64_t causal_offset = 0;  ///< query slot i sees key slots up to i + offset
  std::int64_t causal_span = 0;    ///< and of these the last `span` only; 0: all
  /// Not 0: seen. (Nq, Nk), (H, Nq, Nk), (G, H, Nq, Nk) or (B, G, H, Nq, Nk), extents of 1 shared.
  std::shared_ptr<const std::vector<std::uint8_t>> dense = nullptr;
  Shape dense_shape{0};
};

struct AttentionOptions {
  std::int64_t heads = 1;
  std::optional<float> scale = {};                ///< of q.k; nullopt: D^-0.5
  std::shared_ptr<const RowMaps> rows = nullptr;  ///< null: one group, identity
  std::vector<std::int64_t> key_lengths = {};     ///< (B); empty: all keys
  std::vector<AttentionTerm> terms = {};          ///< at most four
  std::optional<AttentionTerm> factor = {};       ///< a gather term that multiplies scale q.k
  AttentionValueTerm value_term = {};
  AttentionVisibility visibility = {};
  float dropout = 0.0f;  ///< of probabilities, while ctx.train; needs ctx.rng
  /// Bias (3 H D) of the joint projection: padding slots then act as keys k = its k third, v = its v third,
  /// and its gradient gets theirs. Undefined: padding slots are masked.
  Var pad_bias = {};
  /// Padding slots act as keys with k = 0 and v = 0 (SASA's zero padding). Not together with pad_bias.
  bool zero_pad = false;
};

/// What AttentionOptions::scale stands for with heads of width D.
float attention_scale(std::optional<float> scale, std::int64_t D);

/// Multi-head attention on a joint projection qkv (B, N, 3 H D) -> (B, N, H D), fused: kernels/attention.h.
/// Rows that no query slot covers are zero. Throws Error when 3 H does not divide the width, or maps do not
/// fit N.
Var attention(const Context& ctx, const Var& qkv, const AttentionOptions& options);

/// On separate q (B, Nq, H D), k (B, Nk, H D), v (B, Nk, H Dv) -> (B, Nq, H Dv).
Var attention(const Context& ctx, const Var& q, const Var& k, const Var& v, const AttentionOptions& options);

/// The same numbers from matmul, add, softmax, matmul, with every score in memory: baseline and oracle of the
/// fused op.
Var attention_composed(const Context& ctx, const Var& q, const Var& k, const Var& v,
                       const AttentionOptions& options);
Var attention_composed(const Context& ctx, const Var& qkv, const AttentionOptions& options);

/// What term `t` of the options adds to each score, (B, G, H, Nq, Nk), as the composed path makes it. For
/// looking at a model and for oracles; no gradient.
Tensor attention_term_scores(const Var& q, const Var& k, const Var& v, const AttentionOptions& options,
                             std::size_t t);

/// Probabilities of one query row: qkv (B, N, 3 H D) -> (B, H, N). For looking at a model; no gradient, no
/// terms.
Tensor attention_row(const Tensor& qkv, std::int64_t heads, std::optional<float> scale, std::int64_t row);

}  // namespace locant
