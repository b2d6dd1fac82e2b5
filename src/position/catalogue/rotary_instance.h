#pragma once

// The encodings that turn q and k.

#include <cmath>
#include <cstdint>
#include <utility>

#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"
#include "position/rope.h"

namespace locant {

/// table(ctx, side) makes the angles of the queries or keys behind the prefix; angle(numbers, side, h, n, t)
/// is the paper's for pair t of token n, `numbers` being q, k, v and the parameters. d_rot channels of a head
/// turn.
template <class Table, class Angle>
EncodingInstance rotary_instance(const EncodingCase& c, Parameters parameters, std::int64_t d_rot,
                                 Pairing pairing, const Table& table, const Angle& angle) {
  return attention_instance(
      c, std::move(parameters),
      [c, pairing, table](const Context& ctx, AttentionCall& call) {
        call.q = rotate(ctx, call.q, c.H, table(ctx, Side::query), pairing, c.prefix);
        call.k = rotate(ctx, call.k, c.H, table(ctx, Side::key), pairing, c.prefix);
      },
      [c, d_rot, pairing, angle](const PlainCall& call) {
        const auto channel = [&](Side side, const Complex* row, std::int64_t h, std::int64_t token,
                                 std::int64_t d) {
          if (token < c.prefix) return row[d];
          return rope_channel(row, d, d_rot, pairing,
                              [&](std::int64_t t) { return angle(call.x, side, h, token - c.prefix, t); });
        };
        return plain_attention(call, [&](auto b, auto h, auto i, auto j) {
          Complex sum{};
          for (std::int64_t d = 0; d < c.D; ++d)
            sum += channel(Side::query, call.query(b, h, i), h, i, d) *
                   channel(Side::key, call.key(b, h, j), h, j, d);
          return sum / std::sqrt(static_cast<double>(c.D));
        });
      });
}

/// (Nq, Nk): scores of the first head where every channel of queries and keys is 1, which leaves what the
/// angles make of them.
inline Tensor rotary_scores(const EncodingCase& c, const RotaryTable& query, const RotaryTable& key,
                            Pairing pairing) {
  const auto turned = [&](std::int64_t N, const RotaryTable& table) {
    return rotate({}, Var(Tensor::full({1, N, c.H * c.D}, 1.0f)), c.H, table, pairing, c.prefix).value();
  };
  const Tensor q = turned(c.Nq(), query), k = turned(c.Nk(), key);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.D));
  return panels(1, 1, c.Nq(), c.Nk(), [&](std::int64_t, std::int64_t i, std::int64_t j) {
    return scale * token_dot(q, k, c.H, 0, i, j);
  });
}

}  // namespace locant
