#include "position/sincos.h"

#include <mutex>
#include <numbers>

#include "core/error.h"
#include "position/picture.h"
#include "position/token_instance.h"

namespace locant {
namespace {

void check(std::int64_t C, double temperature, SinCosFlavour flavour) {
  require(C >= (flavour == SinCosFlavour::simple_vit ? 8 : 4) && C % 4 == 0, "sincos",
          "width {}; a multiple of 4{} was expected", C,
          flavour == SinCosFlavour::simple_vit ? " from 8 on" : "");
  require(temperature > 0 && std::isfinite(temperature), "sincos",
          "temperature {}; a positive number was expected", temperature);
}

// DETR's: channel i of the half that belongs to a coordinate `at` of `side`.
double detr_value(std::int64_t at, std::int64_t side, std::int64_t i, std::int64_t half, double temperature) {
  const double z = 2.0 * std::numbers::pi * static_cast<double>(at + 1) / (static_cast<double>(side) + 1e-6);
  const double angle =
      z * std::pow(temperature, -2.0 * static_cast<double>(i / 2) / static_cast<double>(half));
  return i % 2 == 0 ? std::sin(angle) : std::cos(angle);
}

struct Place {
  std::int64_t y, x, rows, columns;
};

double channel_value(SinCosFlavour flavour, const Place& at, std::int64_t channel, std::int64_t C,
                     double temperature) {
  const std::int64_t m = C / 4, block = channel / m, i = channel % m;
  switch (flavour) {
    case SinCosFlavour::detr: {
      const std::int64_t half = C / 2;
      return channel < half ? detr_value(at.y, at.rows, channel, half, temperature)
                            : detr_value(at.x, at.columns, channel - half, half, temperature);
    }
    case SinCosFlavour::timm: {
      const double angle =
          static_cast<double>(block % 2 == 0 ? at.y : at.x) * sincos_frequency(i, m + 1, temperature);
      return block < 2 ? std::sin(angle) : std::cos(angle);
    }
    case SinCosFlavour::simple_vit:
    case SinCosFlavour::mae:
      break;
  }
  const std::int64_t steps = flavour == SinCosFlavour::mae ? m + 1 : m;
  const double angle = static_cast<double>(block < 2 ? at.x : at.y) * sincos_frequency(i, steps, temperature);
  return block % 2 == 0 ? std::sin(angle) : std::cos(angle);
}

}  // namespace

Tensor sincos_2d(std::int64_t rows, std::int64_t columns, std::int64_t C, double temperature,
                 SinCosFlavour flavour) {
  check(C, temperature, flavour);
  require(rows > 0 && columns > 0, "sincos", "a grid of {} x {}; positive sides were expected", rows,
          columns);
  Tensor out({rows, columns, C});  // refuses a grid whose product overflows
  for (std::int64_t n = 0; n < rows * columns; ++n)
    for (std::int64_t channel = 0; channel < C; ++channel)
      out[n * C + channel] = static_cast<float>(
          channel_value(flavour, {n / columns, n % columns, rows, columns}, channel, C, temperature));
  return out.reshaped({1, rows * columns, C});
}

struct SinCos2d::Cache {
  std::mutex mutex;
  std::int64_t rows = 0, columns = 0;
  Tensor table;
};

SinCos2d::SinCos2d(std::int64_t C, double temperature)
    : C_(C), temperature_(temperature), cache_(std::make_shared<Cache>()) {
  check(C, temperature, SinCosFlavour::simple_vit);
}

Tensor SinCos2d::table(std::int64_t rows, std::int64_t columns) const {
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  if (cache_->rows != rows || cache_->columns != columns) {
    cache_->table = sincos_2d(rows, columns, C_, temperature_);
    cache_->rows = rows;
    cache_->columns = columns;
  }
  return cache_->table;
}

namespace {

SinCosFlavour flavour_of(const EncodingCase& c) {
  if (c.variant.empty() || c.variant == "simple_vit") return SinCosFlavour::simple_vit;
  if (c.variant == "mae") return SinCosFlavour::mae;
  if (c.variant == "timm") return SinCosFlavour::timm;
  if (c.variant == "detr") return SinCosFlavour::detr;
  fail("sincos", "no variant \"{}\"; there are simple_vit, mae, timm, detr", c.variant);
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
  check_tokens("sincos", c, c.query.rows * c.query.columns);
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

const Encoding kSincos = {
    .name = "sincos",
    .header = "position/sincos.h",
    .title = "fixed sines and cosines of the coordinates of a grid, in four flavours",
    .place = EncodingPlace::tokens,
    .paper = "Beyer et al. 2022, Better plain ViT baselines; He et al. 2022, MAE; Carion et al. 2020, DETR",
    .models = "SimpleViT, MAE, MoCo v3, DETR",
    .formula = "x_n + pe(y, x)",
    .lowering = "added to the tokens",
    .parameters = "0",
    .multiply_adds = "0",
    .memory = "N C",
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant
