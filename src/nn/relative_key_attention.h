#pragma once

#include <cstdint>
#include <vector>

#include "nn/layers.h"
#include "position/huang2020.h"

namespace locant {

/// BERT's self-attention with relative_key or relative_key_query (position/huang2020.h), as Hugging Face
/// builds it up to the context, before any output projection: `query`, `key`, `value`, and
/// `distance_embedding.weight`, shared by the heads.
class RelativeKeyAttention {
 public:
  struct Options {
    std::int64_t width = 768, heads = 12;
    Huang2020Method method = Huang2020Method::relative_key_query;
    std::int64_t longest = 512;  ///< max_position_embeddings
    float dropout = 0.0f;        ///< of probabilities
  };
  RelativeKeyAttention() = default;
  /// Throws Error when the heads do not divide the width, the method is another, or `longest` is below 1.
  RelativeKeyAttention(const Weights& w, const Options& options);
  /// x (B, N, C), key_lengths (B) or empty for all -> (B, N, C). Shows query, key and value.
  Var operator()(const Context& ctx, const Var& x, const std::vector<std::int64_t>& key_lengths = {}) const;

 private:
  Options options_;
  std::string path_;
  Linear query_, key_, value_;
  Huang2020 huang_;
};

}  // namespace locant
