#include "position/spatial_reduction.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/grid_reference.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace spatial_reduction_encoding {
namespace {

// The variant is the ratio; 2 unless given.
std::int64_t ratio_of(const EncodingCase& c) { return c.variant.empty() ? 2 : c.variant[0] - '0'; }

EncodingInstance instance(const EncodingCase& c) {
  require(c.D == c.Dv, "spatial_reduction", "keys {} wide, values {}; one convolution reduces both", c.D,
          c.Dv);
  const std::int64_t ratio = ratio_of(c), C = c.H * c.D;
  const SpatialReduction sr{random_parameter({C, C, ratio, ratio}, c.seed), random_parameter({C}, c.seed + 1),
                            random_parameter({C}, c.seed + 2, 0.3f, 1.0f), random_parameter({C}, c.seed + 3)};
  const auto lower = [c, sr](const Context& ctx, AttentionCall& call) {
    call.k = reduced_tokens(ctx, sr, reduced_images(ctx, sr, call.k, c.key));
    call.v = reduced_tokens(ctx, sr, reduced_images(ctx, sr, call.v, c.key));
  };
  const auto reference = [c, C, ratio](const PlainCall& call) {
    const std::vector<Complexes>& x = call.x;
    EncodingCase after = c;
    after.key = reduced_grid(c.key, ratio);
    const auto reduce = [&](const Complexes& tokens) {
      return plain_on_grid(tokens, c.B, 0, c.key.tokens(), [&](const Complexes& sample) {
        Complexes y;
        for (std::int64_t n = 0; n < after.key.tokens() * C; ++n)
          y.push_back(reduced_number(sample, x[3].data(), x[4].data(), c.key, C, ratio,
                                     n / C / after.key.columns, n / C % after.key.columns, n % C));
        plain_norm(y, C, x[5].data(), x[6].data(), 1e-5);
        return y;
      });
    };
    return plain_attention(after, x[0], reduce(x[1]), reduce(x[2]));
  };
  return attention_instance(c,
                            {{SpatialReduction::kWeight, sr.weight},
                             {SpatialReduction::kBias, sr.bias},
                             {SpatialReduction::kNormWeight, sr.norm_weight},
                             {SpatialReduction::kNormBias, sr.norm_bias}},
                            lower, reference);
}

std::vector<EncodingCase> cases() {
  // Of two channels the norm leaves nothing but signs. Seeds: where the channels of a key are almost alike,
  // it magnifies what rounding leaves of the gradient; of these they are not.
  return {
      {.B = 2, .D = 2, .Dv = 2, .query = {1, 2, 3}, .key = {1, 2, 2}},
      {.D = 2, .Dv = 2, .query = {1, 4, 3}, .key = {1, 4, 3}, .seed = 4},
      {.H = 4, .D = 1, .Dv = 1, .query = {1, 1, 1}, .key = {1, 3, 4}},
      {.H = 1, .D = 3, .Dv = 3, .query = {1, 1, 3}, .key = {1, 3, 7}, .variant = "3"},
      {.D = 2, .Dv = 2, .query = {1, 2, 2}, .key = {1, 2, 2}, .variant = "1", .seed = 2},
  };
}

// Which key each token becomes part of.
Tensor picture(const EncodingCase& c) { return window_numbers(c.key, ratio_of(c), ratio_of(c)); }

}  // namespace
}  // namespace spatial_reduction_encoding

const Encoding kSpatialReduction = {
    .name = "spatial_reduction",
    .title = "keys and values from a picture reduced by a strided convolution",
    .place = EncodingPlace::projection,
    .paper = "Wang et al. 2021, Pyramid Vision Transformer",
    .models = "PVT",
    .formula = "X' = LN(Conv(X, R x R, stride R)), k = X' Wk, v = X' Wv",
    .lowering = "a convolution and a norm before keys and values",
    .parameters = "R^2 C^2 + 3 C",
    .multiply_adds = "N C^2, and 2 N^2 C / R^2 in place of 2 N^2 C",
    .memory = "2 N C / R^2",
    .grids = EncodingGrids::flat,
    .variants = {"1", "2", "3", "4", "5", "6", "7", "8", "9"},
    .cases = spatial_reduction_encoding::cases,
    .instance = spatial_reduction_encoding::instance,
    .picture = spatial_reduction_encoding::picture,
};

}  // namespace locant
