#pragma once

// The encodings that are added to tokens: attention of q + pe and k + pe, pe (N, C) spread over the heads as
// the channels of a token are.

#include <cmath>
#include <cstdint>
#include <utility>

#include "ops/elementwise.h"
#include "position/catalogue/instance.h"

namespace locant {

/// table(ctx) makes pe (1, N, C) on the tape; value(numbers, token, channel) is the paper's equation for one
/// of its numbers, `numbers` being q, k, v and the parameters. Queries and keys are the same tokens.
template <class Table, class Value>
EncodingInstance token_instance(const EncodingCase& c, Parameters parameters, const Table& table,
                                const Value& value) {
  return attention_instance(
      c, std::move(parameters),
      [table](const Context& ctx, AttentionCall& call) {
        const Var pe = table(ctx);
        call.q = add(ctx, call.q, pe);
        call.k = add(ctx, call.k, pe);
      },
      [value](const PlainCall& call) {
        return plain_attention(call, [&](auto b, auto h, auto i, auto j) {
          const std::int64_t D = call.c.D;
          Complex sum{};
          for (std::int64_t d = 0; d < D; ++d)
            sum += (call.query(b, h, i)[d] + value(call.x, i, h * D + d)) *
                   (call.key(b, h, j)[d] + value(call.x, j, h * D + d));
          return sum / std::sqrt(static_cast<double>(D));
        });
      });
}

}  // namespace locant
