#pragma once

// The encodings that add a number to the score.

#include <utility>

#include "position/catalogue/instance.h"

namespace locant {

/// lower(ctx, options) adds terms, maps and masks to options that have their heads. score(call, b, h, i, j)
/// is the whole score; seen(i, j) tells which keys a query sees.
template <class Lower, class Score, class Seen = SeesAll>
EncodingInstance score_instance(const EncodingCase& c, Parameters parameters, const Lower& lower,
                                const Score& score, const Seen& seen = {}) {
  return attention_instance(
      c, std::move(parameters),
      [lower](const Context& ctx, AttentionCall& call) { lower(ctx, call.options); },
      [score, seen](const PlainCall& call) {
        return plain_attention(
            call, [&](auto b, auto h, auto i, auto j) { return score(call, b, h, i, j); }, seen);
      });
}

}  // namespace locant
