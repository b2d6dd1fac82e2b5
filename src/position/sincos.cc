#include "position/sincos.h"

#include <mutex>
#include <numbers>

#include "core/error.h"

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

}  // namespace locant
