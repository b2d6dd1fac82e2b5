#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/layers.h"

namespace locant {

/// A vocabulary in clusters, frequent tokens first: adaptive input (Baevski and Auli 2019) and softmax (Grave
/// et al. 2017) as kimiyoung/transformer-xl has them. The first cluster is the shortlist.
struct AdaptiveVocabulary {
  /// Of the clusters' columns behind the shortlist: cluster 1 first, or last.
  enum class ClusterOrder { rising, falling };
  std::int64_t vocab_size = 204, dim = 512, embed_dim = 512;
  std::vector<std::int64_t> cutoffs = {};  ///< first ids of the clusters behind the shortlist
  std::int64_t div_val = 1;  ///< each cluster's vectors are so many times narrower than the last's
  bool tie_weight = true,
       tie_projs = true;  ///< of the softmax, to the embedding's; projections but the first
  ClusterOrder cluster_order = ClusterOrder::falling;

  std::size_t clusters() const { return cutoffs.size() + 1; }
  /// First id of a cluster; of the one behind the last: their number.
  std::int64_t begin(std::size_t cluster) const {
    return cluster == 0 ? 0 : cluster == clusters() ? vocab_size : cutoffs[cluster - 1];
  }
  /// Of a cluster's vectors.
  std::int64_t width(std::size_t cluster) const;
  /// One table for all, or one a cluster.
  bool one_table() const { return div_val == 1; }
  bool projects() const { return !one_table() || embed_dim != dim; }
};

/// sqrt(C) times the vectors of tokens; those of rare ones are narrower, and projected: `emb_layers`,
/// `emb_projs`.
class AdaptiveEmbedding {
 public:
  AdaptiveEmbedding() = default;
  AdaptiveEmbedding(const Weights& w, const AdaptiveVocabulary& vocabulary);
  /// T ids -> (T, C).
  Var operator()(const Context& ctx, const std::vector<std::int32_t>& ids) const;
  /// Vectors (size, width) of a cluster.
  Var table(const Context& ctx, std::size_t cluster) const;
  /// (C, width); only where the vocabulary projects.
  const Var& projection(std::size_t cluster) const { return projections_[c_.one_table() ? 0 : cluster]; }

 private:
  AdaptiveVocabulary c_;
  std::vector<Var> tables_, projections_;
};

/// log p(token) = log p(shortlist's token or cluster) + log p(token | cluster): `out_layers`, `out_projs`,
/// `cluster_weight`, `cluster_bias`.
class AdaptiveSoftmax {
 public:
  AdaptiveSoftmax() = default;
  /// Not `computes`: the biases alone, which files of models without it have as well.
  AdaptiveSoftmax(const Weights& w, const AdaptiveVocabulary& vocabulary,
                  std::shared_ptr<const AdaptiveEmbedding> embedding, bool computes);
  /// x (T, C) -> (T, vocabulary).
  Var log_probs(const Context& ctx, const Var& x) const;
  /// -log p of T tokens that come next, x (T, C) -> (T): tails are worked out for their own tokens alone.
  /// Throws Error where tokens times choices is beyond 2^31.
  Var nll(const Context& ctx, const Var& x, const std::vector<std::int32_t>& next) const;

 private:
  /// x (T, C) -> log p of the shortlist's tokens, then of clusters, (T, shortlist + clusters).
  Var heads(const Context& ctx, const Var& x) const;
  /// log p of a cluster's tokens within it.
  Var tail(const Context& ctx, const Var& x, std::size_t cluster) const;
  Var projected(const Context& ctx, const Var& x, std::size_t cluster) const;
  Var table(const Context& ctx, std::size_t cluster) const;
  Var bias(const Context& ctx, std::size_t cluster) const;
  /// Of a cluster in heads().
  std::int64_t column(std::size_t cluster) const;

  AdaptiveVocabulary c_;
  std::shared_ptr<const AdaptiveEmbedding> embedding_;
  std::vector<Var> tables_, biases_, projections_;
  Var cluster_weight_, cluster_bias_;
};

}  // namespace locant
