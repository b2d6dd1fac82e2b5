#include "position/global_subsampled.h"

#include "ops/norm.h"
#include "ops/pool2d.h"
#include "position/grid_reference.h"

namespace locant {

Var subsampled_tokens(const Context& ctx, const GlobalSubsampled& gsa, const Var& tokens, Grid grid) {
  const std::int64_t wh = gsa.window_rows, ww = gsa.window_columns;
  require(wh >= 1 && ww >= 1 && wh <= grid.rows && ww <= grid.columns, "global_subsampled",
          "no window of {} x {} fits a grid of {} x {}", wh, ww, grid.rows, grid.columns);
  const Var out = on_grid(ctx, "global_subsampled", tokens, grid, 0, [&](const Var& images) {
    if (gsa.by == Subsampling::mean) return average_pool2d(ctx, images, {wh, ww, wh, ww});
    const std::int64_t C = images.dim(1), from = gsa.by == Subsampling::depthwise ? 1 : C;
    const Shape want{C, from, wh, ww};
    if (gsa.weight.shape() != want)
      fail("global_subsampled", "sr.weight of shape {} for windows of {} x {}; {} was expected",
           gsa.weight.shape().str(), wh, ww, want.str());
    return conv2d(ctx, images, gsa.weight, gsa.bias, {wh, ww, 0, 0, C / from});
  });
  return layer_norm(ctx, out, gsa.norm_weight, gsa.norm_bias, gsa.eps);
}

namespace {

GlobalSubsampled setting_of(const EncodingCase& c) {
  require(c.prefix == 0 && c.D == c.Dv, "global_subsampled",
          "{} tokens in front, keys {} wide, values {}; one map samples both, of a grid alone", c.prefix, c.D,
          c.Dv);
  GlobalSubsampled out;
  out.window_rows = 2;
  out.window_columns = c.variant == "wide" ? 3 : 2;
  if (c.variant == "depthwise") out.by = Subsampling::depthwise;
  if (c.variant == "mean") out.by = Subsampling::mean;
  require(c.variant.empty() || c.variant == "wide" || out.by != Subsampling::convolution, "global_subsampled",
          "no variant \"{}\"; there are wide, depthwise and mean", c.variant);
  return out;
}

EncodingInstance instance(const EncodingCase& c) {
  GlobalSubsampled gsa = setting_of(c);
  const std::int64_t C = c.H * c.D, wh = gsa.window_rows, ww = gsa.window_columns;
  gsa.norm_weight = random_parameter({C}, c.seed, 0.3f, 1.0f);
  gsa.norm_bias = random_parameter({C}, c.seed + 1);
  EncodingInstance out;
  out.parameters = {{GlobalSubsampled::kNormWeight, gsa.norm_weight},
                    {GlobalSubsampled::kNormBias, gsa.norm_bias}};
  if (gsa.by != Subsampling::mean) {
    gsa.weight = random_parameter({C, gsa.by == Subsampling::depthwise ? 1 : C, wh, ww}, c.seed + 2);
    gsa.bias = random_parameter({C}, c.seed + 3);
    out.parameters.emplace_back(GlobalSubsampled::kWeight, gsa.weight);
    out.parameters.emplace_back(GlobalSubsampled::kBias, gsa.bias);
  }
  out.run = [c, gsa](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    return run_attention(ctx, q, subsampled_tokens(ctx, gsa, k, c.key), subsampled_tokens(ctx, gsa, v, c.key),
                         options, path);
  };
  out.reference = [c, C, wh, ww, by = gsa.by](const std::vector<Complexes>& x) {
    EncodingCase after = c;
    after.key = subsampled_grid(c.key, wh, ww);
    const bool mean = by == Subsampling::mean;
    const auto sample = [&](const Complexes& tokens) {
      return plain_on_grid(tokens, c.B, 0, c.key.tokens(), [&](const Complexes& one) {
        Complexes y;
        for (std::int64_t n = 0; n < after.key.tokens() * C; ++n)
          y.push_back(subsampled_number(by, one, mean ? nullptr : x[5].data(), mean ? nullptr : x[6].data(),
                                        c.key, C, wh, ww, n / C / after.key.columns,
                                        n / C % after.key.columns, n % C));
        plain_norm(y, C, x[3].data(), x[4].data(), 1e-5);
        return y;
      });
    };
    return plain_softmax_attention(after, x[0], sample(x[1]), sample(x[2]));
  };
  return out;
}

std::vector<EncodingCase> cases() {
  // Of two channels the norm leaves nothing but signs.
  return {
      {.B = 2, .D = 2, .Dv = 2, .query = {1, 1, 2}, .key = {1, 2, 4}},
      {.H = 3, .D = 1, .Dv = 1, .query = {1, 4, 5}, .key = {1, 4, 5}},
      {.H = 1, .D = 3, .Dv = 3, .query = {1, 1, 3}, .key = {1, 4, 6}, .variant = "wide"},
      {.D = 2, .Dv = 2, .query = {1, 2, 3}, .key = {1, 4, 3}, .variant = "depthwise"},
      {.H = 3, .D = 1, .Dv = 1, .query = {1, 2, 3}, .key = {1, 5, 4}, .variant = "mean"},
  };
}

// Which key each token becomes part of.
Tensor picture(const EncodingCase& c) {
  const GlobalSubsampled gsa = setting_of(c);
  return window_numbers(c.key, gsa.window_rows, gsa.window_columns);
}

}  // namespace

const Encoding kGlobalSubsampled = {
    .name = "global_subsampled",
    .header = "position/global_subsampled.h",
    .title = "one key and value a window: a convolution, depthwise or not, or the mean",
    .place = EncodingPlace::projection,
    .paper = "Chu et al. 2021, Twins",
    .models = "Twins-SVT",
    .formula = "X' = LN(S(X, wh x ww, stride wh x ww)), k = X' Wk, v = X' Wv",
    .lowering = "a convolution or a pooling, and a norm, before keys and values",
    .parameters = "wh ww C^2 + 3 C; depthwise wh ww C + 3 C; mean 2 C",
    .multiply_adds = "N C^2 (depthwise N C), and 2 N^2 C / (wh ww) in place of 2 N^2 C",
    .memory = "2 N C / (wh ww)",
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant
