#include "position/linear_attention.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/rope.h"

namespace locant {

namespace {

template <class Map>
FeatureMap same_map(const Map& map) {
  FeatureMap out;
  out.query = map;
  out.key = map;
  return out;
}

Var heads_apart(const Context& ctx, const Var& x, std::int64_t H) {
  if (x.shape().rank() != 3 || H < 1 || x.dim(2) % H != 0)
    fail("linear_attention", "tokens of shape {} for {} heads; (B, N, H D) was expected", x.shape().str(), H);
  return reshape(ctx, x, {x.dim(0), x.dim(1), H, x.dim(2) / H});
}

Var heads_joined(const Context& ctx, const Var& x) {
  return reshape(ctx, x, {x.dim(0), x.dim(1), x.dim(2) * x.dim(3)});
}

}  // namespace

FeatureMap elu_feature_map() {
  return same_map([](const Context& ctx, const Var& x) { return affine(ctx, elu(ctx, x), 1.0f, 1.0f); });
}

FeatureMap relu_feature_map(float offset) {
  return same_map(
      [offset](const Context& ctx, const Var& x) { return affine(ctx, relu(ctx, x), 1.0f, offset); });
}

FeatureMap taylor_feature_map() {
  FeatureMap out = same_map([](const Context& ctx, const Var& x) {
    const Var one(Tensor::full({x.dim(0), x.dim(1), x.dim(2), 1}, 1.0f));
    return concat_axis(ctx, {l2_normalize(ctx, x), one}, 3);
  });
  out.still = 1;
  out.keeps_norms = true;
  return out;
}

FeatureMap cosine_feature_map(std::int64_t longest) {
  require(longest >= 1, "linear_attention", "a cosine map for {} tokens; there must be one or more", longest);
  return same_map([longest](const Context& ctx, const Var& x) {
    require(x.dim(1) <= longest, "linear_attention", "{} tokens in a cosine map for {}", x.dim(1), longest);
    const Var r = relu(ctx, x);
    const auto part = [&](double (*wave)(double)) {
      Tensor weights({x.dim(1), 1, 1});
      for (std::int64_t i = 0; i < x.dim(1); ++i)
        weights[i] = static_cast<float>(wave(cosine_map_angle(i, longest)));
      return multiply(ctx, r, Var(std::move(weights)));
    };
    return concat_axis(ctx, {part(std::cos), part(std::sin)}, 3);
  });
}

FeatureMap feature_map(std::string_view name, std::int64_t longest) {
  if (name == "elu") return elu_feature_map();
  if (name == "relu") return relu_feature_map();
  if (name == "taylor") return taylor_feature_map();
  if (name == "cosine") return cosine_feature_map(longest);
  fail("linear_attention", "no feature map is called \"{}\"; there are elu, relu, taylor and cosine", name);
}

Var rotate_features(const Context& ctx, const Var& x, std::int64_t heads, std::int64_t still, double base) {
  const std::int64_t M = heads_apart(ctx, x, heads).dim(3) - still, N = x.dim(1);
  if (still < 0 || M < 2 || M % 2 != 0)
    fail("linear_attention", "features of shape {} for {} heads, of which {} stay, do not turn in pairs",
         x.shape().str(), heads, still);
  return rotate(ctx, x, heads, rope_table(N, M, 0, base), Pairing::neighbours);
}

Var mapped_linear_attention(const Context& ctx, const FeatureMap& map, bool rotate, const Var& q,
                            const Var& k, const Var& v, const LinearAttentionOptions& options,
                            AttentionPath path) {
  Var f = heads_joined(ctx, map.query(ctx, heads_apart(ctx, q, options.heads)));
  Var g = heads_joined(ctx, map.key(ctx, heads_apart(ctx, k, options.heads)));
  Var turned_f, turned_g;
  if (rotate) {
    turned_f = rotate_features(ctx, f, options.heads, map.still);
    turned_g = rotate_features(ctx, g, options.heads, map.still);
  }
  if (rotate && map.keeps_norms) {
    f = turned_f, g = turned_g;
    turned_f = turned_g = {};
  }
  if (path == AttentionPath::composed)
    return linear_attention_composed(ctx, f, g, turned_f, turned_g, v, options);
  if (!turned_f.defined()) return linear_attention(ctx, f, g, v, options);
  return linear_attention(ctx, f, g, turned_f, turned_g, v, options);
}

}  // namespace locant
