#include "position/encoding.h"

#include "core/rng.h"

namespace locant {

const char* place_name(EncodingPlace place) {
  switch (place) {
    case EncodingPlace::tokens:
      return "tokens";
    case EncodingPlace::query_key:
      return "q and k";
    case EncodingPlace::score:
      return "score, table";
    case EncodingPlace::vectors:
      return "score, query or key times table";
    case EncodingPlace::value:
      return "value";
    case EncodingPlace::own_softmax:
      return "own softmax";
    case EncodingPlace::linear:
      return "kernelised";
    case EncodingPlace::projection:
      return "projection side";
  }
  return "";
}

Grid natural_grid(const Encoding& encoding, std::int64_t side) {
  bool sequence = true;
  int videos = 0, pictures = 0;
  for (const EncodingCase& c : encoding.cases()) {
    sequence = sequence && c.query.rows == 1 && c.query.frames == 1;
    videos += c.query.frames > 1;
    pictures += c.query.frames == 1 && c.query.tokens() > 1;
  }
  if (videos > pictures) return side % 4 == 0 ? Grid{16, side / 4, side / 4} : Grid{side * side, 1, 1};
  return sequence ? Grid{1, 1, side * side} : Grid{1, side, side};
}

Var random_parameter(const Shape& shape, std::uint64_t seed, float scale, float offset) {
  Tensor out(shape);
  Rng rng(seed);
  for (float& x : out.values()) x = offset + scale * (2.0f * rng.uniform() - 1.0f);
  return Var(std::move(out), true);
}

Var run_attention(const Context& ctx, const Var& q, const Var& k, const Var& v,
                  const AttentionOptions& options, AttentionPath path) {
  return path == AttentionPath::fused ? attention(ctx, q, k, v, options)
                                      : attention_composed(ctx, q, k, v, options);
}

}  // namespace locant
