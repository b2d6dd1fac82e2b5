#include "position/learned_absolute.h"

#include "position/catalogue/all.h"
#include "position/catalogue/picture.h"
#include "position/catalogue/token_instance.h"

namespace locant {
namespace learned_absolute_encoding {
namespace {

// The table is made for 3 x 3; another grid takes it through the bilinear rule.
constexpr std::int64_t kOwnSide = 3;

// Row `at` of n resampled from kOwnSide: the two taps of a line through the centres of cells.
struct Taps {
  std::int64_t low, high;
  double share;  ///< of the higher
};
Taps taps(std::int64_t at, std::int64_t n) {
  const double where =
      (static_cast<double>(at) + 0.5) * static_cast<double>(kOwnSide) / static_cast<double>(n) - 0.5;
  const double clamped = where < 0 ? 0 : where;
  const auto low = static_cast<std::int64_t>(clamped);
  return {low, low + 1 < kOwnSide ? low + 1 : low, clamped - static_cast<double>(low)};
}

bool on_own_grid(const EncodingCase& c) { return c.query.rows == kOwnSide && c.query.columns == kOwnSide; }

Var table_of(const EncodingCase& c) {
  return random_parameter({1, c.prefix + kOwnSide * kOwnSide, c.H * c.D}, c.seed);
}

LearnedAbsolute encoding_of(const EncodingCase& c, const Var& table) {
  return {table, {kOwnSide, kOwnSide, c.prefix, parse_position_resize(on_own_grid(c) ? "none" : "bilinear")}};
}

EncodingInstance instance(const EncodingCase& c) {
  const std::int64_t C = c.H * c.D;
  const bool own = on_own_grid(c);
  const Var table = table_of(c);
  const LearnedAbsolute encoding = encoding_of(c, table);
  return token_instance(
      c, {{"pos_embed", table}},
      [=](const Context& ctx) { return encoding.table(ctx, c.query.rows, c.query.columns); },
      [=](const std::vector<Complexes>& x, std::int64_t token, std::int64_t channel) {
        const auto at = [&](std::int64_t row) { return x[3][static_cast<std::size_t>(row * C + channel)]; };
        if (token < c.prefix || own) return at(token);
        const Taps y = taps((token - c.prefix) / c.query.columns, c.query.rows);
        const Taps z = taps((token - c.prefix) % c.query.columns, c.query.columns);
        const auto line = [&](std::int64_t row) {
          const std::int64_t first = c.prefix + row * kOwnSide;
          return (1.0 - z.share) * at(first + z.low) + z.share * at(first + z.high);
        };
        return (1.0 - y.share) * line(y.low) + y.share * line(y.high);
      });
}

std::vector<EncodingCase> cases() {
  const Grid own{1, kOwnSide, kOwnSide};
  return {
      {.B = 2, .query = own, .key = own},
      {.H = 3, .Dv = 2, .query = own, .key = own, .prefix = 2},
      {.query = {1, 5, 4}, .key = {1, 5, 4}, .prefix = 1, .variant = "bilinear"},
      {.query = {1, 1, 2}, .key = {1, 1, 2}, .variant = "bilinear"},
  };
}

// The channels of the table as the grid takes it, a panel each; the prefix has no place in it.
Tensor picture(const EncodingCase& c) {
  const LearnedAbsolute encoding = encoding_of(c, table_of(c));
  return channel_panels(encoding.table({}, c.query.rows, c.query.columns).value(), c.query, c.prefix);
}

}  // namespace
}  // namespace learned_absolute_encoding

const Encoding kLearnedAbsolute = {
    .name = "learned_absolute",
    .title = "a learned row per token, resized to other grids by seven rules",
    .place = EncodingPlace::tokens,
    .paper = "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, equation 1",
    .models = "ViT, DeiT, DINOv2, SAM, ViTDet",
    .formula = "x_n + p_n",
    .lowering = "added to the tokens",
    .parameters = "N C",
    .multiply_adds = "0; on another grid 16 N C once",
    .memory = "N C",
    .grids = EncodingGrids::one_flat,
    .prefix = true,
    .variants = {"bilinear"},
    .cases = learned_absolute_encoding::cases,
    .instance = learned_absolute_encoding::instance,
    .picture = learned_absolute_encoding::picture,
};

}  // namespace locant
