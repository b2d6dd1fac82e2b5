#include "position/shared/spline.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

using Matrix = std::vector<double>;  // row-major

/// The interval [x_n, x_{n+1}) of ascending points that holds `at`, the last one for the end.
std::size_t interval_of(const std::vector<double>& x, double at, std::size_t first, std::size_t last) {
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first);
  const auto end = x.begin() + static_cast<std::ptrdiff_t>(last);
  return first +
         static_cast<std::size_t>(std::max<std::ptrdiff_t>(std::upper_bound(begin, end, at) - begin, 1)) - 1;
}

/// The four cubic B-splines on `knots` that are not zero in knots[n] .. knots[n + 1], at a point of it: those
/// with the numbers n - 3 .. n (Cox and de Boor's recursion).
std::array<double, 4> basis_at(const std::vector<double>& knots, std::size_t n, double at) {
  std::array<double, 4> b = {1, 0, 0, 0};
  for (std::size_t degree = 1; degree <= 3; ++degree) {
    double carried = 0;
    for (std::size_t k = 0; k < degree; ++k) {
      const double right = knots[n + 1 + k], left = knots[n + 1 + k - degree];
      const double share = b[k] / (right - left);
      b[k] = carried + (right - at) * share;
      carried = (at - left) * share;
    }
    b[degree] = carried;
  }
  return b;
}

/// Rows of B-spline values at points.
Matrix collocate(const std::vector<double>& knots, const std::vector<double>& points, std::size_t splines) {
  Matrix out(points.size() * splines);
  for (std::size_t p = 0; p < points.size(); ++p) {
    const std::size_t n = interval_of(knots, points[p], 3, splines);
    const std::array<double, 4> b = basis_at(knots, n, points[p]);
    for (std::size_t k = 0; k < 4; ++k) out[p * splines + n - 3 + k] = b[k];
  }
  return out;
}

/// a (n, n)^-1 by Gauss and Jordan with pivots.
Matrix inverse(Matrix a, std::size_t n) {
  Matrix out(n * n);
  for (std::size_t i = 0; i < n; ++i) out[i * n + i] = 1;
  for (std::size_t c = 0; c < n; ++c) {
    std::size_t pivot = c;
    for (std::size_t r = c + 1; r < n; ++r)
      if (std::abs(a[r * n + c]) > std::abs(a[pivot * n + c])) pivot = r;
    for (std::size_t k = 0; k < n; ++k) {
      std::swap(a[c * n + k], a[pivot * n + k]);
      std::swap(out[c * n + k], out[pivot * n + k]);
    }
    const double by = 1 / a[c * n + c];
    for (std::size_t k = 0; k < n; ++k) a[c * n + k] *= by, out[c * n + k] *= by;
    for (std::size_t r = 0; r < n; ++r) {
      const double times = a[r * n + c];
      if (r == c || times == 0) continue;
      for (std::size_t k = 0; k < n; ++k)
        a[r * n + k] -= times * a[c * n + k], out[r * n + k] -= times * out[c * n + k];
    }
  }
  return out;
}

std::vector<double> clamped(std::vector<double> points, const std::vector<double>& to_range_of) {
  for (double& p : points) p = std::clamp(p, to_range_of.front(), to_range_of.back());
  return points;
}

}  // namespace

std::vector<double> linear_weights(const std::vector<double>& from, const std::vector<double>& to) {
  require(!from.empty(), "spline", "no points to interpolate between");
  Matrix out(to.size() * from.size());
  if (from.size() == 1) {
    std::fill(out.begin(), out.end(), 1.0);
    return out;
  }
  const std::vector<double> points = clamped(to, from);
  for (std::size_t p = 0; p < points.size(); ++p) {
    const std::size_t n = interval_of(from, points[p], 0, from.size() - 1);
    const double part = (points[p] - from[n]) / (from[n + 1] - from[n]);
    out[p * from.size() + n] = 1 - part;
    out[p * from.size() + n + 1] = part;
  }
  return out;
}

std::vector<double> cubic_spline_weights(const std::vector<double>& from, const std::vector<double>& to) {
  const std::size_t n = from.size();
  require(n >= 4 && n <= 2048, "spline", "a cubic through {} points; 4 to 2048 were expected", n);
  std::vector<double> knots(4, from.front());
  knots.insert(knots.end(), from.begin() + 2, from.end() - 2);
  knots.insert(knots.end(), 4, from.back());
  const Matrix to_splines = inverse(collocate(knots, from, n), n);
  const Matrix values = collocate(knots, clamped(to, from), n);
  Matrix out(to.size() * n);
  for (std::size_t p = 0; p < to.size(); ++p)
    for (std::size_t s = 0; s < n; ++s)
      for (std::size_t k = 0; values[p * n + s] != 0 && k < n; ++k)
        out[p * n + k] += values[p * n + s] * to_splines[s * n + k];
  return out;
}

}  // namespace locant
