#include "ops/resize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// A sparse matrix a row per output: sample i of n is sum_t weight[t] in[index[t]], t in [begin[i], begin[i +
// 1]).
struct AxisMap {
  std::vector<std::size_t> begin = {0};
  std::vector<std::int64_t> index;
  std::vector<double> weight;

  std::int64_t outputs() const { return static_cast<std::int64_t>(begin.size()) - 1; }
  void tap(std::int64_t at, double w) {
    index.push_back(at);
    weight.push_back(w);
  }
  void end_row() { begin.push_back(index.size()); }
};

// Cubic convolution kernel (Keys 1981) with free parameter a.
double cubic(double x, double a) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0.0;
}

double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

void bilinear_row(AxisMap& map, double x, std::int64_t m) {
  x = std::max(x, 0.0);
  const std::int64_t low = std::min(static_cast<std::int64_t>(x), m - 1);
  const double part = std::min(x - static_cast<double>(low), 1.0);
  map.tap(low, 1 - part);
  map.tap(std::min(low + 1, m - 1), part);
}

void bicubic_row(AxisMap& map, double x, std::int64_t m) {
  const double low = std::floor(x);
  for (int t = -1; t <= 2; ++t)
    map.tap(std::clamp<std::int64_t>(static_cast<std::int64_t>(low) + t, 0, m - 1),
            cubic(x - low - t, -0.75));
}

// Antialiased: every input within `support` of the centre c, its kernel widened by `scale` when shrinking.
void wide_row(AxisMap& map, double c, double scale, bool is_cubic, std::int64_t m) {
  const double widen = std::max(scale, 1.0), support = (is_cubic ? 2.0 : 1.0) * widen;
  const std::int64_t first = std::max<std::int64_t>(static_cast<std::int64_t>(c - support + 0.5), 0);
  const std::int64_t last = std::min<std::int64_t>(static_cast<std::int64_t>(c + support + 0.5), m);
  const std::size_t start = map.weight.size();
  double total = 0;
  for (std::int64_t j = first; j < last; ++j) {
    const double x = (static_cast<double>(j) - c + 0.5) / widen;
    map.tap(j, is_cubic ? cubic(x, -0.5) : triangle(x));
    total += map.weight.back();
  }
  for (std::size_t t = start; t < map.weight.size(); ++t) map.weight[t] /= total;
}

AxisMap axis_map(std::int64_t m, std::int64_t n, ResizeRule rule, double offset) {
  AxisMap map;
  const double scale = static_cast<double>(m) / (static_cast<double>(n) + offset);
  for (std::int64_t i = 0; i < n; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    switch (rule) {
      case ResizeRule::bilinear:
        bilinear_row(map, centre - 0.5, m);
        break;
      case ResizeRule::bicubic:
        bicubic_row(map, centre - 0.5, m);
        break;
      case ResizeRule::bicubic_antialias:
        wide_row(map, centre, scale, true, m);
        break;
      case ResizeRule::bilinear_antialias:
        wide_row(map, centre, scale, false, m);
        break;
      case ResizeRule::bicubic_corners:
        bicubic_row(map, n > 1 ? static_cast<double>(i * (m - 1)) / static_cast<double>(n - 1) : 0.0, m);
        break;
    }
    map.end_row();
  }
  return map;
}

// The transpose: what each of `m` inputs gave to the outputs.
AxisMap transposed(const AxisMap& map, std::int64_t m) {
  std::vector<std::vector<std::pair<std::int64_t, double>>> rows(static_cast<std::size_t>(m));
  for (std::int64_t i = 0; i < map.outputs(); ++i)
    for (std::size_t t = map.begin[static_cast<std::size_t>(i)];
         t < map.begin[static_cast<std::size_t>(i) + 1]; ++t)
      rows[static_cast<std::size_t>(map.index[t])].emplace_back(i, map.weight[t]);
  AxisMap back;
  for (const auto& row : rows) {
    for (const auto& [i, w] : row) back.tap(i, w);
    back.end_row();
  }
  return back;
}

// in (outer, m, inner) -> (outer, n, inner)
Tensor apply(const Tensor& in, std::int64_t outer, std::int64_t m, std::int64_t inner, const AxisMap& map) {
  const std::int64_t n = map.outputs();
  Tensor out = Tensor::zeros({outer, n, inner});
  parallel_for(outer * n, row_grain(4 * inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto i = static_cast<std::size_t>(r % n);
      float* to = out.data() + r * inner;
      for (std::size_t t = map.begin[i]; t < map.begin[i + 1]; ++t) {
        const float* from = in.data() + (r / n * m + map.index[t]) * inner;
        const auto w = static_cast<float>(map.weight[t]);
        for (std::int64_t c = 0; c < inner; ++c) to[c] += w * from[c];
      }
    }
  });
  return out;
}

}  // namespace

Var resize(const Context& ctx, const Var& grid, std::int64_t rows, std::int64_t columns, ResizeRule rule,
           double offset) {
  const Shape& shape = grid.shape();
  if (shape.rank() != 4 || shape[1] < 1 || shape[2] < 1)
    fail("resize", "grid of shape {} is not (B, H, W, C) with at least one cell", shape.str());
  require(rows >= 1 && columns >= 1, "resize", "a grid of {} x {} has no cells", rows, columns);
  require(offset == 0.0 || rule == ResizeRule::bicubic, "resize",
          "the offset {} belongs to the bicubic rule alone", offset);
  require(offset > -1.0 && std::isfinite(offset), "resize", "the offset {} must be above -1", offset);
  const ProfileScope scope("resize");
  const std::int64_t B = shape[0], H = shape[1], W = shape[2], C = shape[3];
  AxisMap across = axis_map(W, columns, rule, offset), down = axis_map(H, rows, rule, offset);
  const Tensor wide = apply(grid.value(), B * H, W, C, across);
  Tensor y = apply(wide, B, H, columns * C, down).reshaped({B, rows, columns, C});
  return ctx.record(
      {grid}, std::move(y),
      [grid, across = std::move(across), down = std::move(down), B, H, W, C, rows,
       columns](const Tensor& dy) {
        const Tensor dwide = apply(dy, B, rows, columns * C, transposed(down, H));
        grid.accumulate(apply(dwide, B * H, columns, C, transposed(across, W)).reshaped(grid.shape()));
      });
}

}  // namespace locant
