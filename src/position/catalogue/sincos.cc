#include "position/sincos.h"

#include <numbers>

#include "position/catalogue/all.h"
#include "position/catalogue/picture.h"
#include "position/catalogue/token_instance.h"

namespace locant {
namespace sincos_encoding {
namespace {

SinCosFlavour flavour_of(const EncodingCase& c) {
  if (c.variant == "mae") return SinCosFlavour::mae;
  if (c.variant == "timm") return SinCosFlavour::timm;
  if (c.variant == "detr") return SinCosFlavour::detr;
  return SinCosFlavour::simple_vit;
}

// The table written out: all sines and cosines of a coordinate, then the blocks in the flavour's order.
double plain_value(const EncodingCase& c, std::int64_t token, std::int64_t channel) {
  const std::int64_t C = c.H * c.D, m = C / 4;
  const auto y = static_cast<double>(token / c.query.columns),
             x = static_cast<double>(token % c.query.columns);
  if (c.variant == "detr") {
    const bool row = channel < C / 2;
    const std::int64_t i = row ? channel : channel - C / 2;
    const auto side = static_cast<double>(row ? c.query.rows : c.query.columns);
    const double z = ((row ? y : x) + 1.0) / (side + 1e-6) * 2.0 * std::numbers::pi;
    const double angle =
        z / std::pow(10000.0, 2.0 * std::floor(static_cast<double>(i) / 2.0) / static_cast<double>(C / 2));
    return i % 2 == 0 ? std::sin(angle) : std::cos(angle);
  }
  std::vector<double> sin_x, cos_x, sin_y, cos_y;
  const double divisor =
      c.variant.empty() || c.variant == "simple_vit" ? static_cast<double>(m - 1) : static_cast<double>(m);
  for (std::int64_t i = 0; i < m; ++i) {
    const double w = 1.0 / std::pow(10000.0, static_cast<double>(i) / divisor);
    sin_x.push_back(std::sin(x * w)), cos_x.push_back(std::cos(x * w));
    sin_y.push_back(std::sin(y * w)), cos_y.push_back(std::cos(y * w));
  }
  std::vector<double> all;
  const auto put = [&](const std::vector<double>& block) {
    all.insert(all.end(), block.begin(), block.end());
  };
  if (c.variant == "timm")
    put(sin_y), put(sin_x), put(cos_y), put(cos_x);
  else
    put(sin_x), put(cos_x), put(sin_y), put(cos_y);
  return all[static_cast<std::size_t>(channel)];
}

EncodingInstance instance(const EncodingCase& c) {
  const Tensor table = sincos_2d(c.query.rows, c.query.columns, c.H * c.D, 10000.0, flavour_of(c));
  return token_instance(
      c, {}, [table](const Context&) { return Var(table); },
      [c](const std::vector<Complexes>&, std::int64_t token, std::int64_t channel) {
        return plain_value(c, token, channel);
      });
}

std::vector<EncodingCase> cases() {
  const auto grid = [](std::int64_t h, std::int64_t w) { return Grid{1, h, w}; };
  return {
      {.query = grid(1, 1), .key = grid(1, 1)},
      {.B = 2, .query = grid(3, 5), .key = grid(3, 5)},
      {.H = 1, .D = 4, .query = grid(2, 3), .key = grid(2, 3), .variant = "mae"},
      {.H = 3, .Dv = 2, .query = grid(4, 3), .key = grid(4, 3), .variant = "timm"},
      {.B = 2, .query = grid(2, 5), .key = grid(2, 5), .variant = "detr"},
  };
}

Tensor picture(const EncodingCase& c) {
  return channel_panels(sincos_2d(c.query.rows, c.query.columns, c.H * c.D, 10000.0, flavour_of(c)), c.query);
}

}  // namespace
}  // namespace sincos_encoding

const Encoding kSincos = {
    .name = "sincos",
    .title = "fixed sines and cosines of the coordinates of a grid, in four flavours",
    .place = EncodingPlace::tokens,
    .paper = "Beyer et al. 2022, Better plain ViT baselines; He et al. 2022, MAE; Carion et al. 2020, DETR",
    .models = "SimpleViT, MAE, MoCo v3, DETR",
    .formula = "x_n + pe(y, x)",
    .lowering = "added to the tokens",
    .parameters = "0",
    .multiply_adds = "0",
    .memory = "N C",
    .grids = EncodingGrids::one_flat,
    .variants = {"simple_vit", "mae", "timm", "detr"},
    .cases = sincos_encoding::cases,
    .instance = sincos_encoding::instance,
    .picture = sincos_encoding::picture,
};

}  // namespace locant
