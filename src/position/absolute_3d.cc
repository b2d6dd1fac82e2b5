#include "position/absolute_3d.h"

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/picture.h"
#include "position/sequence.h"
#include "position/token_instance.h"

namespace locant {
namespace {

constexpr const char* kName = "absolute_3d";

// (1, rows, C), of any number of rows.
void check_rows(const Var& table, const char* name) {
  require(table.shape().rank() == 3, kName, "the {} table has the shape {}; (1, rows, C) was expected", name,
          table.shape().str());
  check_table(kName, name, table, {1, table.dim(1), table.dim(2)});
}

}  // namespace

Var joint_absolute(const Var& table, std::int64_t frames, std::int64_t places) {
  check_rows(table, "joint");
  require(table.dim(1) == frames * places, kName, "a joint table of shape {} for {} frames of {} places",
          table.shape().str(), frames, places);
  return table;
}

Var temporal_absolute(const Context& ctx, const Var& time, std::int64_t frames, std::int64_t places) {
  check_rows(time, "temporal");
  require(time.dim(1) == frames && places >= 0 && places <= (1 << 24), kName,
          "a temporal table of shape {} for {} frames of {} places; resize it first", time.shape().str(),
          frames, places);
  std::vector<std::int32_t> rows;
  for (std::int64_t n = 0; n < frames * places; ++n) rows.push_back(static_cast<std::int32_t>(n / places));
  const Var flat = gather_rows(ctx, reshape(ctx, time, {frames, time.dim(2)}), rows);
  return reshape(ctx, flat, {1, frames * places, time.dim(2)});
}

Var factorised_absolute(const Context& ctx, const Var& time, const Var& space) {
  check_rows(time, "temporal");
  check_rows(space, "spatial");
  if (time.dim(2) != space.dim(2))
    fail(kName, "tables of shape {} and {} differ in width", time.shape().str(), space.shape().str());
  const std::int64_t F = time.dim(1), places = space.dim(1), C = time.dim(2);
  const Var sum = add_broadcast(ctx, reshape(ctx, time, {F, 1, C}), reshape(ctx, space, {1, places, C}));
  return reshape(ctx, sum, {1, F * places, C});
}

Var resize_temporal(const Context& ctx, const Var& time, std::int64_t frames) {
  check_rows(time, "temporal");
  require(frames >= 1, kName, "{} frames", frames);
  const Var grid = reshape(ctx, time, {1, 1, time.dim(1), time.dim(2)});
  return reshape(ctx, resize(ctx, grid, 1, frames, ResizeRule::bilinear), {1, frames, time.dim(2)});
}

namespace {

EncodingInstance instance(const EncodingCase& c) {
  const std::int64_t C = c.H * c.D, F = c.query.frames, places = c.query.rows * c.query.columns;
  check_tokens(kName, c, F * places);
  const Var time = random_parameter({1, F, C}, c.seed), space = random_parameter({1, places, C}, c.seed + 1),
            joint = random_parameter({1, F * places, C}, c.seed + 2);
  using Numbers = std::vector<Complexes>;
  const auto number = [C](const Complexes& table, std::int64_t row, std::int64_t channel) {
    return table[static_cast<std::size_t>(row * C + channel)];
  };
  if (c.variant == "factorised")
    return token_instance(
        c, {{"time_embed", time}, {"pos_embed", space}},
        [=](const Context& ctx) { return factorised_absolute(ctx, time, space); },
        [=](const Numbers& x, std::int64_t n, std::int64_t channel) {
          return number(x[3], n / places, channel) + number(x[4], n % places, channel);
        });
  if (c.variant == "temporal")
    return token_instance(
        c, {{"temporal_embedding", time}},
        [=](const Context& ctx) { return temporal_absolute(ctx, time, F, places); },
        [=](const Numbers& x, std::int64_t n, std::int64_t channel) {
          return number(x[3], n / places, channel);
        });
  require(c.variant.empty() || c.variant == "joint", kName,
          "no variant \"{}\"; there are joint, factorised, temporal", c.variant);
  return token_instance(
      c, {{"pos_embed", joint}}, [=](const Context&) { return joint_absolute(joint, F, places); },
      [=](const Numbers& x, std::int64_t n, std::int64_t channel) { return number(x[3], n, channel); });
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

const Encoding kAbsolute3d = {
    .name = kName,
    .header = "position/absolute_3d.h",
    .title = "learned rows of a video's tokens: joint, by frame and place, or by frame alone",
    .place = EncodingPlace::tokens,
    .paper = "Arnab et al. 2021, ViViT, section 3.1; Bertasius et al. 2021, TimeSformer, section 3",
    .models = "ViViT, TimeSformer, AIM",
    .formula = "x_(f, s) + p_(f, s), or + t_f + p_s",
    .lowering = "added to the tokens",
    .parameters = "F h w C; factorised (F + h w) C; temporal F C",
    .multiply_adds = "0",
    .memory = "F h w C",
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant
