#include "position/global_subsampled.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/grid_reference.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace global_subsampled_encoding {
namespace {

GlobalSubsampled setting_of(const EncodingCase& c) {
  require(c.D == c.Dv, "global_subsampled", "keys {} wide, values {}; one map samples both", c.D, c.Dv);
  GlobalSubsampled out;
  out.window_rows = 2;
  out.window_columns = c.variant == "wide" ? 3 : 2;
  if (c.variant == "depthwise") out.by = Subsampling::depthwise;
  if (c.variant == "mean") out.by = Subsampling::mean;
  return out;
}

EncodingInstance instance(const EncodingCase& c) {
  GlobalSubsampled gsa = setting_of(c);
  const std::int64_t C = c.H * c.D, wh = gsa.window_rows, ww = gsa.window_columns;
  gsa.norm_weight = random_parameter({C}, c.seed, 0.3f, 1.0f);
  gsa.norm_bias = random_parameter({C}, c.seed + 1);
  Parameters parameters = {{GlobalSubsampled::kNormWeight, gsa.norm_weight},
                           {GlobalSubsampled::kNormBias, gsa.norm_bias}};
  if (gsa.by != Subsampling::mean) {
    gsa.weight = random_parameter({C, gsa.by == Subsampling::depthwise ? 1 : C, wh, ww}, c.seed + 2);
    gsa.bias = random_parameter({C}, c.seed + 3);
    parameters.emplace_back(GlobalSubsampled::kWeight, gsa.weight);
    parameters.emplace_back(GlobalSubsampled::kBias, gsa.bias);
  }
  const auto lower = [c, gsa](const Context& ctx, AttentionCall& call) {
    call.k = subsampled_tokens(ctx, gsa, call.k, c.key);
    call.v = subsampled_tokens(ctx, gsa, call.v, c.key);
  };
  const auto reference = [c, C, wh, ww, by = gsa.by](const PlainCall& call) {
    const std::vector<Complexes>& x = call.x;
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
    return plain_attention(after, x[0], sample(x[1]), sample(x[2]));
  };
  return attention_instance(c, std::move(parameters), lower, reference);
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
}  // namespace global_subsampled_encoding

const Encoding kGlobalSubsampled = {
    .name = "global_subsampled",
    .title = "one key and value a window: a convolution, depthwise or not, or the mean",
    .place = EncodingPlace::projection,
    .paper = "Chu et al. 2021, Twins",
    .models = "Twins-SVT",
    .formula = "X' = LN(S(X, wh x ww, stride wh x ww)), k = X' Wk, v = X' Wv",
    .lowering = "a convolution or a pooling, and a norm, before keys and values",
    .parameters = "wh ww C^2 + 3 C; depthwise wh ww C + 3 C; mean 2 C",
    .multiply_adds = "N C^2 (depthwise N C), and 2 N^2 C / (wh ww) in place of 2 N^2 C",
    .memory = "2 N C / (wh ww)",
    .grids = EncodingGrids::flat,
    .variants = {"wide", "depthwise", "mean"},
    .cases = global_subsampled_encoding::cases,
    .instance = global_subsampled_encoding::instance,
    .picture = global_subsampled_encoding::picture,
};

}  // namespace locant
