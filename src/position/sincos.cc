#include "position/sincos.h"

#include <mutex>

#include "core/error.h"

namespace locant {
namespace {

void check(std::int64_t C, double temperature) {
  require(C >= 8 && C % 4 == 0, "sincos", "width {}; a multiple of 4 from 8 on was expected", C);
  require(temperature > 0 && std::isfinite(temperature), "sincos",
          "temperature {}; a positive number was expected", temperature);
}

}  // namespace

Tensor sincos_2d(std::int64_t rows, std::int64_t columns, std::int64_t C, double temperature) {
  check(C, temperature);
  require(rows > 0 && columns > 0, "sincos", "a grid of {} x {}; positive sides were expected", rows,
          columns);
  const std::int64_t m = C / 4;
  Tensor out({1, rows * columns, C});
  for (std::int64_t i = 0; i < m; ++i) {
    const double frequency = sincos_frequency(i, m, temperature);
    for (std::int64_t y = 0; y < rows; ++y)
      for (std::int64_t x = 0; x < columns; ++x) {
        float* token = out.data() + (y * columns + x) * C;
        token[i] = static_cast<float>(std::sin(static_cast<double>(x) * frequency));
        token[m + i] = static_cast<float>(std::cos(static_cast<double>(x) * frequency));
        token[2 * m + i] = static_cast<float>(std::sin(static_cast<double>(y) * frequency));
        token[3 * m + i] = static_cast<float>(std::cos(static_cast<double>(y) * frequency));
      }
  }
  return out;
}

struct SinCos2d::Cache {
  std::mutex mutex;
  std::int64_t rows = 0, columns = 0;
  Tensor table;
};

SinCos2d::SinCos2d(std::int64_t C, double temperature)
    : C_(C), temperature_(temperature), cache_(std::make_shared<Cache>()) {
  check(C, temperature);
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
