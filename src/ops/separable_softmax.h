#pragma once

#include "autograd/tape.h"

namespace locant {

/// Attention on a grid whose scores are a number of the rows plus one of the columns, so that its softmax is
/// a product of two:
///   P[h, (r, c), (s, t)] = softmax_s(row_scores[h, r, s]) softmax_t(column_scores[h, c, t])
///   out[b, (r, c), h] = sum over s, t of P[h, (r, c), (s, t)] v[b, (s, t), h]
/// row_scores (H, query rows, key rows), column_scores (H, query columns, key columns), v (B, key rows * key
/// columns, H Dv), row-major grids -> (B, query rows * query columns, H Dv). P is never made: H D times (key
/// rows * query columns * key columns + query rows * query columns * key rows) multiply-adds. Gradients reach
/// all three. Throws Error when the shapes do not fit each other.
Var separable_softmax(const Context& ctx, const Var& row_scores, const Var& column_scores, const Var& v);

/// (1 - g_h) a + g_h b, g = sigmoid(gate): a and b (B, N, H D), gate (H). Gradients reach all three. Throws
/// Error when the shapes do not fit each other.
Var gated_sum(const Context& ctx, const Var& a, const Var& b, const Var& gate);

}  // namespace locant
