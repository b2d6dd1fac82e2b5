#pragma once

// What the encodings that are added to tokens share in the table of encodings: attention of q + pe and k +
// pe, pe (N, C) spread over the heads as the channels of a token are.

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "ops/elementwise.h"
#include "position/encoding.h"

namespace locant {

/// Throws Error that names the encoding unless queries and keys are the same tokens, `tokens` of them.
inline void check_tokens(const char* encoding, const EncodingCase& c, std::int64_t tokens) {
  require(c.Nq() == tokens && c.Nk() == tokens, encoding,
          "{} queries and {} keys where there are numbers for {} tokens; queries and keys must be the same",
          c.Nq(), c.Nk(), tokens);
}

/// table(ctx) makes pe (1, N, C) on the tape; value(numbers, token, channel) is the paper's equation for one
/// of its numbers, `numbers` being q, k, v and the parameters. Queries and keys are the same tokens.
template <class Table, class Value>
EncodingInstance token_instance(const EncodingCase& c, std::vector<std::pair<std::string, Var>> parameters,
                                const Table& table, const Value& value) {
  EncodingInstance out;
  out.parameters = std::move(parameters);
  out.run = [c, table](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    const Var pe = table(ctx);
    return run_attention(ctx, add(ctx, q, pe), add(ctx, k, pe), v, options, path);
  };
  out.reference = [c, value](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
      T sum{};
      for (std::int64_t d = 0; d < c.D; ++d)
        sum += (call.query(b, h, i)[d] + value(x, i, h * c.D + d)) *
               (call.key(b, h, j)[d] + value(x, j, h * c.D + d));
      return sum / std::sqrt(static_cast<double>(c.D));
    });
  };
  return out;
}

}  // namespace locant
