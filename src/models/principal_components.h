#pragma once

#include <vector>

#include "core/tensor.h"

namespace locant {

/// Where a cloud of feature vectors is widest.
struct PrincipalComponents {
  std::vector<double> mean;  ///< (C)
  std::vector<std::vector<double>>
      components;  ///< (count, C), orthonormal, widest first; zero beyond the rank
};

/// Of the rows of all parts together, each (..., C): eigenvectors of their covariance by orthogonal iteration
/// from a fixed start. Deterministic: a component's sign makes its largest weight positive. Components whose
/// variances differ by under a few percent may be mixed with each other. Throws Error for no rows, differing
/// widths or a count outside 1..C.
PrincipalComponents principal_components(const std::vector<Tensor>& parts, std::int64_t count);

/// Coordinates of rows (..., C) along the components: (rows, count).
Tensor project(const PrincipalComponents& onto, const Tensor& rows);

}  // namespace locant
