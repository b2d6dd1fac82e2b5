#pragma once

// What the encodings that add a number to the score share: how an EncodingInstance is put together.

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "position/encoding.h"

namespace locant {

/// lower(ctx, options) adds terms, maps and masks to options that have their heads. score(call, numbers, b,
/// h, i, j) is the whole score, `numbers` q, k, v and the parameters; seen(i, j) tells which keys a query
/// sees.
template <class Lower, class Score, class Seen>
EncodingInstance score_instance(const EncodingCase& c, std::vector<std::pair<std::string, Var>> parameters,
                                const Lower& lower, const Score& score, const Seen& seen) {
  EncodingInstance out;
  out.parameters = std::move(parameters);
  out.run = [c, lower](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    lower(ctx, options);
    return run_attention(ctx, q, k, v, options, path);
  };
  out.reference = [c, score, seen](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    return plain_attention<T>(
        c, [&](auto b, auto h, auto i, auto j) { return score(call, x, b, h, i, j); },
        [&](auto, auto, auto i, auto j) { return seen(i, j); },
        [&](auto b, auto h, auto, auto j, auto d) { return call.value(b, h, j)[d]; });
  };
  return out;
}

/// The same where every query sees every key.
template <class Lower, class Score>
EncodingInstance score_instance(const EncodingCase& c, std::vector<std::pair<std::string, Var>> parameters,
                                const Lower& lower, const Score& score) {
  return score_instance(c, std::move(parameters), lower, score, [](auto, auto) { return true; });
}

/// Two samples of Nq queries and Nk keys in a sequence.
inline EncodingCase sequence_case(std::int64_t Nq, std::int64_t Nk, const char* variant = "") {
  return {.B = 2, .query = {1, 1, Nq}, .key = {1, 1, Nk}, .variant = variant};
}

/// Throws Error that names the encoding when the case has tokens in front of the sequence.
inline void check_no_prefix(const char* encoding, const EncodingCase& c) {
  require(c.prefix == 0, encoding, "{} tokens in front of the sequence; it has positions only", c.prefix);
}

/// The index matrix of a case: row(i, j) for every query and key token.
template <class Row>
std::vector<std::int64_t> index_matrix(const EncodingCase& c, const Row& row) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < c.Nq(); ++i)
    for (std::int64_t j = 0; j < c.Nk(); ++j) out.push_back(row(i, j));
  return out;
}

}  // namespace locant
