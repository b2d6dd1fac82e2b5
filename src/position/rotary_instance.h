#pragma once

// What the encodings that turn q and k share in the table of encodings.

#include <string>
#include <utility>
#include <vector>

#include "position/picture.h"
#include "position/rope.h"

namespace locant {

/// table(ctx, side) makes the angles of the queries or keys behind the prefix; angle(numbers, side, h, n, t)
/// is the paper's for pair t of token n, `numbers` being q, k, v and the parameters. d_rot channels of a head
/// turn.
template <class Table, class Angle>
EncodingInstance rotary_instance(const EncodingCase& c, std::vector<std::pair<std::string, Var>> parameters,
                                 std::int64_t d_rot, Pairing pairing, const Table& table,
                                 const Angle& angle) {
  EncodingInstance out;
  out.parameters = std::move(parameters);
  out.run = [c, pairing, table](const Context& ctx, const Var& q, const Var& k, const Var& v,
                                AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    return run_attention(ctx, rotate(ctx, q, c.H, table(ctx, Side::query), pairing, c.prefix),
                         rotate(ctx, k, c.H, table(ctx, Side::key), pairing, c.prefix), v, options, path);
  };
  out.reference = [c, d_rot, pairing, angle](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    const auto channel = [&](Side side, const T* row, std::int64_t h, std::int64_t token, std::int64_t d) {
      if (token < c.prefix) return row[d];
      return rope_channel(row, d, d_rot, pairing,
                          [&](std::int64_t t) { return angle(x, side, h, token - c.prefix, t); });
    };
    return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
      T sum{};
      for (std::int64_t d = 0; d < c.D; ++d)
        sum += channel(Side::query, call.query(b, h, i), h, i, d) *
               channel(Side::key, call.key(b, h, j), h, j, d);
      return sum / std::sqrt(static_cast<double>(c.D));
    });
  };
  return out;
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
