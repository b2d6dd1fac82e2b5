#include "position/dynamic_bias.h"

#include <string>

#include "core/error.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kDynamicBiasName = "dynamic_bias";

/// (displacements, 2): f(dr), f(dc).
template <class Coordinate>
Var displacements(Window grid, const Coordinate& f) {
  const Grid g{1, grid.rows, grid.columns};
  const std::int64_t all = grid_displacements(kDynamicBiasName, g, g), columns = 2 * grid.columns - 1;
  Tensor out({all, 2});
  for (std::int64_t n = 0; n < all; ++n) {
    out[2 * n] = static_cast<float>(f(n / columns - (grid.rows - 1)));
    out[2 * n + 1] = static_cast<float>(f(n % columns - (grid.columns - 1)));
  }
  return Var(out);
}

std::int64_t length_of(const Var& bias) {
  return bias.defined() && bias.shape().rank() == 1 ? bias.dim(0) : 1;
}

}  // namespace

Var dynamic_bias_table(const Context& ctx, const DynamicBias& bias, Window grid, std::int64_t heads) {
  const std::int64_t width = length_of(bias.bias);
  const std::string at = DynamicBias::kProjection;
  check_table(kDynamicBiasName, at + ".weight", bias.weight, {width, 2});
  check_table(kDynamicBiasName, at + ".bias", bias.bias, {width});
  Var x =
      linear(ctx, displacements(grid, [](auto d) { return static_cast<double>(d); }), bias.weight, bias.bias);
  for (std::size_t n = 0; n < bias.steps.size(); ++n) {
    const DynamicBias::Step& step = bias.steps[n];
    const std::string name = fmt::format("pos.pos{}.", n + 1);
    const bool last = n + 1 == bias.steps.size();
    const std::int64_t rows = last ? heads : width;
    check_table(kDynamicBiasName, name + "0.weight", step.norm_weight, {width});
    check_table(kDynamicBiasName, name + "0.bias", step.norm_bias, {width});
    check_table(kDynamicBiasName, name + "2.weight", step.weight, {rows, width});
    check_table(kDynamicBiasName, name + "2.bias", step.bias, {rows});
    const Var z = relu(ctx, layer_norm(ctx, x, step.norm_weight, step.norm_bias, DynamicBias::kNormEps));
    const Var y = linear(ctx, z, step.weight, step.bias);
    x = bias.residual && !last ? add(ctx, x, y) : y;
  }
  return x;
}

Var relpos_mlp_table(const Context& ctx, const RelPosMlp& mlp, Window grid, std::int64_t heads) {
  const std::int64_t hidden = length_of(mlp.first_bias);
  const std::string first = RelPosMlp::kFirst, second = RelPosMlp::kSecond;
  check_table(kDynamicBiasName, first + ".weight", mlp.first_weight, {hidden, 2});
  check_table(kDynamicBiasName, first + ".bias", mlp.first_bias, {hidden});
  check_table(kDynamicBiasName, second + ".weight", mlp.second_weight, {heads, hidden});
  check_table(kDynamicBiasName, second + ".bias", mlp.second_bias, {heads});
  const Var z =
      relu(ctx, linear(ctx, displacements(grid, relpos_coordinate), mlp.first_weight, mlp.first_bias));
  return linear(ctx, dropout(ctx, z, mlp.dropout), mlp.second_weight, mlp.second_bias);
}

AttentionTerm displacement_term(const Var& table, Window grid, std::int64_t heads, std::int64_t prefix) {
  const Grid g{1, grid.rows, grid.columns};
  const std::int64_t rows = grid_displacements(kDynamicBiasName, g, g);
  check_table(kDynamicBiasName, "the table of displacements", table, {rows, heads});
  return gather_term(table, displacement_gather(kDynamicBiasName, g, rows, {.tokens = prefix}));
}

}  // namespace locant
