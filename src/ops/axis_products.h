#pragma once

#include <cstdint>
#include <memory>

#include "autograd/tape.h"
#include "ops/axis_index.h"

namespace locant {

struct AxisProductOptions {
  float alpha = 1.0f;
  /// The table meets channels [first, first + W) of a head: SASA's halves.
  std::int64_t first = 0;
};

/// Products of each token's head vectors with the vectors of its coordinate: what axis terms read
/// (ops/attention).
///   out[b, n, h, e] = alpha x[b, n, h, first : first + W] . table[(h,) rows[coordinate[n], e]]
/// x (B, N, H D), table (R, W) shared by the heads or (H, R, W) -> (B, N, H, extent). One matrix product for
/// the tokens of a coordinate: H N E W multiply-adds, and no more memory than the result and Q E W floats.
/// Throws Error when shapes do not fit.
Var axis_products(const Context& ctx, const Var& x, std::int64_t heads, const Var& table,
                  std::shared_ptr<const AxisIndex> index, const AxisProductOptions& options = {});

}  // namespace locant
