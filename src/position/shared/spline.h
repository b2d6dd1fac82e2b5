#pragma once

#include <vector>

namespace locant {

/// Weights (to.size(), from.size()), row-major, of one-dimensional interpolation from values at the points
/// `from` (strictly ascending) to the points `to`; beyond the ends the end values count. Double inside.

/// Straight lines between neighbours. At least one point.
std::vector<double> linear_weights(const std::vector<double>& from, const std::vector<double>& to);

/// The cubic spline through all points whose third derivative is continuous at the second and the last but
/// one point too ("not a knot"; FITPACK's interpolating spline). Throws Error on fewer than four points.
std::vector<double> cubic_spline_weights(const std::vector<double>& from, const std::vector<double>& to);

}  // namespace locant
