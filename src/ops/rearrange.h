#pragma once

#include <vector>

#include "autograd/tape.h"

namespace locant {

/// Axes in another order: axis a of the result is axis order[a] of x.
Var permute(const Context& ctx, const Var& x, const std::vector<int>& order);
/// Entries [begin, end) of one axis.
Var slice_axis(const Context& ctx, const Var& x, int axis, std::int64_t begin, std::int64_t end);
/// Parts behind each other along one axis; the other extents are equal.
Var concat_axis(const Context& ctx, const std::vector<Var>& parts, int axis);
/// Rows of a table: table (R, ...) -> (rows.size(), ...); a negative row gives zeros. Gradient: sums in the
/// order of `rows`. Embeddings, flips, and tables that repeat.
Var gather_rows(const Context& ctx, const Var& table, const std::vector<std::int32_t>& rows);
/// Tokens (B, H W, C) as images (B, C, H, W), and back.
Var tokens_to_images(const Context& ctx, const Var& tokens, std::int64_t rows, std::int64_t columns);
Var images_to_tokens(const Context& ctx, const Var& images);

}  // namespace locant
