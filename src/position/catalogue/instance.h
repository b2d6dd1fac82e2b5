#pragma once

// How an EncodingInstance is put together.

#include <cstdint>
#include <functional>
#include <vector>

#include "position/catalogue/plain_attention.h"

namespace locant {

/// Uniform in [-scale, scale] (+ offset), a leaf with gradient.
Var random_parameter(const Shape& shape, std::uint64_t seed, float scale = 0.5f, float offset = 0.0f);

/// A call on its way to attention. The encoding changes q, k and v, or adds terms, maps and masks to the
/// options, which have their heads.
struct AttentionCall {
  Var q, k, v;
  AttentionOptions options;
};

/// An encoding that acts before attention and within it: reference sees the call as the kernel does.
EncodingInstance attention_instance(const EncodingCase& c, Parameters parameters,
                                    std::function<void(const Context& ctx, AttentionCall& call)> lower,
                                    std::function<Complexes(const PlainCall& call)> reference);

/// Two samples of Nq queries and Nk keys in a sequence, each.
struct SequenceSize {
  std::int64_t Nq, Nk;
  const char* variant = "";
};
std::vector<EncodingCase> sequence_cases(const std::vector<SequenceSize>& sizes);

/// Queries and keys on one flat grid, each.
struct GridSize {
  std::int64_t rows, columns;
  const char* variant = "";
};
std::vector<EncodingCase> grid_cases(const std::vector<GridSize>& sizes);

/// The index matrix of a case: row(i, j) for every query and key token.
template <class Row>
std::vector<std::int64_t> index_matrix(const EncodingCase& c, const Row& row) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < c.Nq(); ++i)
    for (std::int64_t j = 0; j < c.Nk(); ++j) out.push_back(row(i, j));
  return out;
}

}  // namespace locant
