#pragma once

#include "autograd/tape.h"

namespace locant {

/// Mean over axis 1, leaving out the first `skip` rows: (B, N, C) -> (B, C).
Var mean_pool(const Context& ctx, const Var& x, std::int64_t skip = 0);
/// Rows [begin, end) of axis 1: (B, N, C) -> (B, end - begin, C).
Var select_rows(const Context& ctx, const Var& x, std::int64_t begin, std::int64_t end);
/// Axis 1 of the parts in order; a part with B = 1 is repeated over the batch (class tokens). -> (B, sum N,
/// C).
Var concat_rows(const Context& ctx, const std::vector<Var>& parts);
/// The same numbers under another shape.
Var reshape(const Context& ctx, const Var& x, const Shape& shape);
/// (a + b) / 2.
Var average(const Context& ctx, const Var& a, const Var& b);

enum class PatchOrder { channel_row_column, row_column_channel };
/// Non-overlapping patches of images (B, C, H, W) -> (B, (H/ph)(W/pw), C ph pw), row-major; the remainder at
/// the right and bottom is dropped. channel_row_column is the order of a convolution's weight.
Var patchify(const Context& ctx, const Var& images, std::int64_t patch_rows, std::int64_t patch_columns,
             PatchOrder order);
/// Swin's merging: tokens (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 4 C), neighbours in the order (0,0),
/// (1,0), (0,1), (1,1) (row, column); odd sides are padded with zeros at the end.
Var merge_patches(const Context& ctx, const Var& tokens);

}  // namespace locant
