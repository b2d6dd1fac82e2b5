#pragma once

// What the encodings share that draw themselves (Encoding::picture).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/tensor.h"
#include "position/grid.h"

namespace locant {

/// `count` panels of (rows, columns), `across` of them a line, NaN between them and where the last line has
/// none: at(n, row, column) of panel n.
template <class At>
Tensor panels(std::int64_t count, std::int64_t across, std::int64_t rows, std::int64_t columns,
              const At& at) {
  require(count >= 1 && across >= 1 && rows >= 1 && columns >= 1, "picture",
          "{} panels of {} x {}, {} a line; at least one of each was expected", count, rows, columns, across);
  const std::int64_t down = (count + across - 1) / across;
  Tensor out = Tensor::full({down * (rows + 1) - 1, across * (columns + 1) - 1},
                            std::numeric_limits<float>::quiet_NaN());
  for (std::int64_t n = 0; n < count; ++n)
    for (std::int64_t y = 0; y < rows; ++y)
      for (std::int64_t x = 0; x < columns; ++x)
        out[(n / across * (rows + 1) + y) * out.dim(1) + n % across * (columns + 1) + x] =
            static_cast<float>(at(n, y, x));
  return out;
}

/// As many panels a line as makes about as many lines of them.
inline std::int64_t squarish(std::int64_t count) {
  return static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
}

/// A panel a channel of table (1, prefix + rows columns, C), its numbers laid over the grid.
inline Tensor channel_panels(const Tensor& table, const Grid& grid, std::int64_t prefix = 0) {
  const std::int64_t C = table.dim(2);
  return panels(C, squarish(C), grid.rows, grid.columns,
                [&](std::int64_t channel, std::int64_t y, std::int64_t x) {
                  return table[(prefix + y * grid.columns + x) * C + channel];
                });
}

/// How many places of a kernel k x k around each token lie inside the grid: what zeros around tell of a
/// position. (rows, columns).
inline Tensor neighbour_counts(Grid grid, std::int64_t k) {
  const auto inside = [k](std::int64_t n, std::int64_t at) {
    return std::min(at + k / 2, n - 1) - std::max<std::int64_t>(at - k / 2, 0) + 1;
  };
  Tensor out({grid.rows, grid.columns});
  for (std::int64_t n = 0; n < out.numel(); ++n)
    out[n] = static_cast<float>(inside(grid.rows, n / grid.columns) * inside(grid.columns, n % grid.columns));
  return out;
}

/// The number of the window wh x ww that each token lies in, row-major; -1 beyond the last whole one. (rows,
/// columns).
inline Tensor window_numbers(Grid grid, std::int64_t wh, std::int64_t ww) {
  Tensor out({grid.rows, grid.columns});
  for (std::int64_t n = 0; n < out.numel(); ++n) {
    const std::int64_t r = n / grid.columns / wh, c = n % grid.columns / ww;
    const bool whole = r < grid.rows / wh && c < grid.columns / ww;
    out[n] = whole ? static_cast<float>(r * (grid.columns / ww) + c) : -1.0f;
  }
  return out;
}

/// q_i.k_j of one head, q (1, Nq, H D) and k (1, Nk, H D).
inline float token_dot(const Tensor& q, const Tensor& k, std::int64_t heads, std::int64_t h, std::int64_t i,
                       std::int64_t j) {
  const std::int64_t C = q.dim(2), D = C / heads;
  const float *a = q.data() + i * C + h * D, *b = k.data() + j * C + h * D;
  return std::inner_product(a, a + D, b, 0.0f);
}

}  // namespace locant
