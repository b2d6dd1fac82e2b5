#pragma once

#include "autograd/tape.h"

namespace locant {

/// alpha op(a) op(b) over the last two axes; leading axes are equal, or those of one side are absent (then it
/// is shared and its gradient summed). matmul.h underneath.
struct ProductOptions {
  bool transpose_a = false, transpose_b = false;
  float alpha = 1.0f;
};
Var product(const Context& ctx, const Var& a, const Var& b, const ProductOptions& options = {});

/// Products of each token's head vectors with a table of vectors: x (B, N, H D), table (R, D) shared by the
/// heads or (H, R, D) -> (B, N, H, R), alpha x[b, n, h].table[(h,) r]. What bucket terms read
/// (ops/attention).
Var head_products(const Context& ctx, const Var& x, std::int64_t heads, const Var& table, float alpha = 1.0f);

}  // namespace locant
