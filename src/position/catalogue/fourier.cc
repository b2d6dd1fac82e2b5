#include "position/fourier.h"

#include <numbers>

#include "position/catalogue/all.h"
#include "position/catalogue/picture.h"
#include "position/catalogue/token_instance.h"

namespace locant {
namespace fourier_encoding {
namespace {

constexpr std::int64_t kWidth = 4;  // channels an axis: short tables

struct Numbers {
  Var weight, bias;
};
Numbers numbers_of(const EncodingCase& c) {
  const std::int64_t C = c.H * c.D;
  return {random_parameter({C, 2 * kWidth, 1, 1}, c.seed), random_parameter({C}, c.seed + 1)};
}

EncodingInstance instance(const EncodingCase& c) {
  constexpr std::int64_t d = kWidth;
  const Numbers numbers = numbers_of(c);
  const Var weight = numbers.weight, bias = numbers.bias;
  return token_instance(
      c, {{"pos_embed.token_projection.weight", weight}, {"pos_embed.token_projection.bias", bias}},
      [=](const Context& ctx) { return fourier_position(ctx, weight, bias, c.query.rows, c.query.columns); },
      [=](const std::vector<Complexes>& x, std::int64_t n, std::int64_t channel) {
        Complex sum = x[4][static_cast<std::size_t>(channel)];
        for (std::int64_t i = 0; i < 2 * d; ++i) {
          const bool row = i < d;
          const std::int64_t at = row ? n / c.query.columns : n % c.query.columns;
          const std::int64_t side = row ? c.query.rows : c.query.columns;
          const double z =
              static_cast<double>(at + 1) / (static_cast<double>(side) + 1e-6) * 2.0 * std::numbers::pi;
          const double angle =
              z / std::pow(10000.0, 2.0 * static_cast<double>(i % d / 2) / static_cast<double>(d));
          sum += x[3][static_cast<std::size_t>(channel * 2 * d + i)] *
                 (i % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
        return sum;
      });
}

std::vector<EncodingCase> cases() {
  const auto grid = [](std::int64_t h, std::int64_t w) { return Grid{1, h, w}; };
  return {
      {.query = grid(1, 1), .key = grid(1, 1)},
      {.B = 2, .query = grid(2, 3), .key = grid(2, 3)},
      {.H = 3, .D = 3, .query = grid(4, 3), .key = grid(4, 3)},
  };
}

// The channels of the projected code, a panel each.
Tensor picture(const EncodingCase& c) {
  const Numbers numbers = numbers_of(c);
  return channel_panels(
      fourier_position({}, numbers.weight, numbers.bias, c.query.rows, c.query.columns).value(), c.query);
}

}  // namespace
}  // namespace fourier_encoding

const Encoding kFourier = {
    .name = "fourier",
    .title = "a learned projection of the sines and cosines of a grid's coordinates",
    .place = EncodingPlace::tokens,
    .paper = "El-Nouby et al. 2021, XCiT, appendix A",
    .models = "XCiT",
    .formula = "x_n + W [ row code | column code ] + b",
    .lowering = "added to the tokens",
    .parameters = "(64 + 1) C",
    .multiply_adds = "64 N C once a grid",
    .memory = "64 N + N C",
    .grids = EncodingGrids::one_flat,
    .cases = fourier_encoding::cases,
    .instance = fourier_encoding::instance,
    .picture = fourier_encoding::picture,
};

}  // namespace locant
