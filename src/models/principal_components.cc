#include "models/principal_components.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "ops/matmul.h"

namespace locant {

namespace {

constexpr int kIterations = 200;

/// Covariance (C, C) of the rows of all parts.
Tensor covariance(const std::vector<Tensor>& parts, const std::vector<double>& mean, std::int64_t rows) {
  const auto C = static_cast<std::int64_t>(mean.size());
  Tensor sum = Tensor::zeros({C, C});
  for (const Tensor& part : parts) {
    if (part.numel() == 0) continue;
    Tensor centred = part.clone();
    for (std::int64_t i = 0; i < centred.numel(); ++i)
      centred[i] = static_cast<float>(centred[i] - mean[static_cast<std::size_t>(i % C)]);
    matmul({.transpose_a = true,
            .M = C,
            .N = C,
            .K = centred.numel() / C,
            .alpha = 1.0f / static_cast<float>(rows),
            .a = centred.data(),
            .lda = C,
            .b = centred.data(),
            .ldb = C,
            .beta = 1.0f,
            .c = sum.data(),
            .ldc = C});
  }
  return sum;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (std::size_t c = 0; c < a.size(); ++c) sum += a[c] * b[c];
  return sum;
}

/// Gram-Schmidt in place, twice for accuracy; a row that others span becomes zero.
void orthonormalise(std::vector<std::vector<double>>& rows) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double before = dot(rows[r], rows[r]);
    for (int pass = 0; pass < 2; ++pass)
      for (std::size_t s = 0; s < r; ++s) {
        const double along = dot(rows[r], rows[s]);
        for (std::size_t c = 0; c < rows[r].size(); ++c) rows[r][c] -= along * rows[s][c];
      }
    const double after = dot(rows[r], rows[r]);
    const double scale = after > before * 1e-12 ? 1.0 / std::sqrt(after) : 0.0;
    for (double& value : rows[r]) value *= scale;
  }
}

std::vector<double> times(const Tensor& matrix, const std::vector<double>& row) {
  const std::int64_t C = matrix.dim(0);
  std::vector<double> product(row.size(), 0.0);
  for (std::int64_t i = 0; i < C; ++i)
    for (std::int64_t j = 0; j < C; ++j)
      product[static_cast<std::size_t>(j)] += row[static_cast<std::size_t>(i)] * matrix[i * C + j];
  return product;
}

}  // namespace

PrincipalComponents principal_components(const std::vector<Tensor>& parts, std::int64_t count) {
  require(!parts.empty() && parts.front().defined() && parts.front().shape().rank() >= 1,
          "principal_components", "no rows were given");
  const std::int64_t C = parts.front().dim(-1);
  require(count >= 1 && count <= C, "principal_components", "{} components of {} features were asked for",
          count, C);
  PrincipalComponents result;
  result.mean.assign(static_cast<std::size_t>(C), 0.0);
  std::int64_t rows = 0;
  for (const Tensor& part : parts) {
    require(part.defined() && part.shape().rank() >= 1 && part.dim(-1) == C, "principal_components",
            "rows of {} and of {} features", C, part.defined() ? part.shape().str() : "nothing");
    rows += part.numel() / C;
    for (std::int64_t i = 0; i < part.numel(); ++i) result.mean[static_cast<std::size_t>(i % C)] += part[i];
  }
  require(rows > 0, "principal_components", "no rows were given");
  for (double& value : result.mean) value /= static_cast<double>(rows);

  const Tensor matrix = covariance(parts, result.mean, rows);
  Rng rng(1);
  result.components.assign(static_cast<std::size_t>(count), std::vector<double>(static_cast<std::size_t>(C)));
  for (auto& component : result.components)
    for (double& value : component) value = rng.uniform() - 0.5;
  orthonormalise(result.components);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    for (auto& component : result.components) component = times(matrix, component);
    orthonormalise(result.components);
  }
  for (auto& component : result.components) {
    const double largest = *std::max_element(component.begin(), component.end(),
                                             [](double a, double b) { return std::abs(a) < std::abs(b); });
    if (largest < 0.0)
      for (double& value : component) value = -value;
  }
  return result;
}

Tensor project(const PrincipalComponents& onto, const Tensor& rows) {
  const auto C = static_cast<std::int64_t>(onto.mean.size()),
             count = static_cast<std::int64_t>(onto.components.size());
  require(rows.defined() && rows.shape().rank() >= 1 && rows.dim(-1) == C, "project",
          "rows have no {} features", C);
  const std::int64_t N = C == 0 ? 0 : rows.numel() / C;
  Tensor projected({N, count});
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t k = 0; k < count; ++k) {
      const std::vector<double>& component = onto.components[static_cast<std::size_t>(k)];
      double sum = 0.0;
      for (std::size_t c = 0; c < component.size(); ++c)
        sum += (rows[n * C + static_cast<std::int64_t>(c)] - onto.mean[c]) * component[c];
      projected[n * count + k] = static_cast<float>(sum);
    }
  return projected;
}

}  // namespace locant
