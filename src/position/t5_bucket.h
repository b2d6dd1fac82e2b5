#pragma once

// T5's bucketed bias: Raffel et al. 2020, "Exploring the Limits of Transfer Learning ...", section 2.1:
//
//   S[h, i, j] = q_i.k_j + T[bucket(j - i), h]                  no 1/sqrt(D)
//
// Near distances have a bucket each, far ones share logarithmically wider ones up to M, and all beyond M the
// last. Of N buckets an encoder uses N/2 for each direction (keys behind the query from N/2 on), a decoder
// all N for the past. Enters: score. Parameters: T (N, H), `relative_attention_bias.weight`, of the first
// layer of a stack and used by all of them. Init: normal C^-1/2. Resize: none needed. Gradient: by the
// kernel. Cost: one look-up and addition a score; buckets are worked out for Nq + Nk - 1 distances. Models:
// T5, mT5, FLAN-T5, UMT5.

#include <cmath>
#include <cstdint>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

struct T5Buckets {
  bool bidirectional = true;
  std::int64_t count = 32, max_distance = 128;
};

/// Bucket of `relative` = key - query position. In float32, as the models' code has it.
inline std::int64_t t5_bucket(const T5Buckets& b, std::int64_t relative) {
  const std::int64_t side = b.bidirectional ? b.count / 2 : b.count;
  const std::int64_t base = b.bidirectional && relative > 0 ? side : 0;
  const std::int64_t n =
      b.bidirectional ? (relative < 0 ? -relative : relative) : (relative < 0 ? -relative : 0);
  const std::int64_t exact = side / 2;
  if (n < exact) return base + n;
  const float wider =
      std::log(static_cast<float>(n) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(b.max_distance) / static_cast<double>(exact))) *
      static_cast<float>(side - exact);
  const std::int64_t far = exact + static_cast<std::int64_t>(wider);
  return base + (far < side ? far : side - 1);
}

// ---- parameters

struct T5Bucket {
  static constexpr const char* kTable = "relative_attention_bias.weight";
  T5Buckets buckets;
  Var table;  ///< (buckets.count, H)
};

// ---- lowering

/// Adds the term and sets the scale to 1; a decoder (not bidirectional) masks the future. `past` keys stand
/// before the first query. Throws Error when the table does not fit, or the buckets are none (an even count
/// of at least 4 for both directions, 2 for one, max_distance beyond the exact ones).
void add_t5_bucket(const T5Bucket& t5, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
                   AttentionOptions& options);

// ---- the equation, as it stands

/// T5's rule in its own words, in double: which of the N buckets distance n on one side falls into.
template <class T>
T t5_bucket_score(T dot, const T* table, std::int64_t heads, std::int64_t h, const T5Buckets& b,
                  std::int64_t relative) {
  const double side = static_cast<double>(b.bidirectional ? b.count / 2 : b.count);
  const double n = static_cast<double>(relative > 0 && !b.bidirectional ? 0 : std::abs(relative));
  const double exact = std::floor(side / 2), M = static_cast<double>(b.max_distance);
  double bucket =
      n < exact ? n : exact + std::floor(std::log(n / exact) / std::log(M / exact) * (side - exact));
  bucket = std::fmin(bucket, side - 1) + (b.bidirectional && relative > 0 ? side : 0);
  return dot + table[static_cast<std::int64_t>(bucket) * heads + h];
}

}  // namespace locant
