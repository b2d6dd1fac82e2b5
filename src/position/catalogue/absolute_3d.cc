#include "position/absolute_3d.h"

#include "position/catalogue/all.h"
#include "position/catalogue/picture.h"
#include "position/catalogue/token_instance.h"

namespace locant {
namespace absolute_3d_encoding {
namespace {

EncodingInstance instance(const EncodingCase& c) {
  const std::int64_t C = c.H * c.D, F = c.query.frames, places = c.query.rows * c.query.columns;
  const Var time = random_parameter({1, F, C}, c.seed), space = random_parameter({1, places, C}, c.seed + 1),
            joint = random_parameter({1, F * places, C}, c.seed + 2);
  const auto number = [C](const Complexes& table, std::int64_t row, std::int64_t channel) {
    return table[static_cast<std::size_t>(row * C + channel)];
  };
  if (c.variant == "factorised")
    return token_instance(
        c, {{"time_embed", time}, {"pos_embed", space}},
        [=](const Context& ctx) { return factorised_absolute(ctx, time, space); },
        [=](const std::vector<Complexes>& x, std::int64_t n, std::int64_t channel) {
          return number(x[3], n / places, channel) + number(x[4], n % places, channel);
        });
  if (c.variant == "temporal")
    return token_instance(
        c, {{"temporal_embedding", time}},
        [=](const Context& ctx) { return temporal_absolute(ctx, time, F, places); },
        [=](const std::vector<Complexes>& x, std::int64_t n, std::int64_t channel) {
          return number(x[3], n / places, channel);
        });
  return token_instance(
      c, {{"pos_embed", joint}}, [=](const Context&) { return joint_absolute(joint, F, places); },
      [=](const std::vector<Complexes>& x, std::int64_t n, std::int64_t channel) {
        return number(x[3], n, channel);
      });
}

std::vector<EncodingCase> cases() {
  const Grid clip{2, 3, 2};
  return {
      {.query = {1, 1, 1}, .key = {1, 1, 1}},
      {.B = 2, .query = clip, .key = clip},
      {.B = 2, .Dv = 3, .query = clip, .key = clip, .variant = "factorised"},
      {.H = 3, .query = {3, 1, 4}, .key = {3, 1, 4}, .variant = "temporal"},
  };
}

// Which row of its table each token reads, frame beside frame; factorised: the rows in time above those in
// space.
Tensor picture(const EncodingCase& c) {
  const std::int64_t F = c.query.frames, places = c.query.rows * c.query.columns;
  const bool factorised = c.variant == "factorised";
  return panels(factorised ? 2 * F : F, F, c.query.rows, c.query.columns,
                [&](std::int64_t n, std::int64_t y, std::int64_t x) {
                  const std::int64_t place = y * c.query.columns + x, frame = n % F;
                  if (factorised) return n < F ? frame : place;
                  return c.variant == "temporal" ? frame : frame * places + place;
                });
}

}  // namespace
}  // namespace absolute_3d_encoding

const Encoding kAbsolute3d = {
    .name = "absolute_3d",
    .title = "learned rows of a video's tokens: joint, by frame and place, or by frame alone",
    .place = EncodingPlace::tokens,
    .paper = "Arnab et al. 2021, ViViT, section 3.1; Bertasius et al. 2021, TimeSformer, section 3",
    .models = "ViViT, TimeSformer, AIM",
    .formula = "x_(f, s) + p_(f, s), or + t_f + p_s",
    .lowering = "added to the tokens",
    .parameters = "F h w C; factorised (F + h w) C; temporal F C",
    .multiply_adds = "0",
    .memory = "F h w C",
    .grids = EncodingGrids::one,
    .variants = {"joint", "factorised", "temporal"},
    .cases = absolute_3d_encoding::cases,
    .instance = absolute_3d_encoding::instance,
    .picture = absolute_3d_encoding::picture,
};

}  // namespace locant
