#pragma once

// What the encodings that act on tokens as a picture share.

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/encoding.h"

namespace locant {

/// tokens (B, prefix + h w, C): map(images (B, C, h, w)) as tokens again, behind the same prefix. Throws
/// Error under the name of `op` when the tokens do not fit the grid.
template <class Map>
Var on_grid(const Context& ctx, const char* op, const Var& tokens, Grid grid, std::int64_t prefix,
            const Map& map) {
  const Shape& shape = tokens.shape();
  if (shape.rank() != 3 || grid.frames != 1 || grid.rows < 1 || grid.columns < 1 || prefix < 0 ||
      shape[1] != prefix + grid.tokens())
    fail(op, "tokens of shape {} are no grid of {} x {} behind {} others", shape.str(), grid.rows,
         grid.columns, prefix);
  const Var patches = prefix == 0 ? tokens : select_rows(ctx, tokens, prefix, shape[1]);
  const Var out = images_to_tokens(ctx, map(tokens_to_images(ctx, patches, grid.rows, grid.columns)));
  return prefix == 0 ? out : concat_rows(ctx, {select_rows(ctx, tokens, 0, prefix), out});
}

/// Throws Error unless the weight is (out, in, k, k), in = 1 for a depthwise one; k odd where `odd`.
inline void check_kernel(const char* op, const char* name, const Var& weight, std::int64_t out,
                         std::int64_t in, bool odd) {
  const Shape& shape = weight.shape();
  if (shape.rank() != 4 || shape[0] != out || shape[1] != in || shape[2] != shape[3] || shape[2] < 1 ||
      (odd && shape[2] % 2 == 0))
    fail(op, "{} of shape {}; ({}, {}, k, k) was expected{}", name, shape.str(), out, in,
         odd ? ", k odd" : "");
}

/// One stride and padding for both axes.
inline Conv2dOptions square_conv(std::int64_t stride, std::int64_t pad, std::int64_t groups = 1) {
  return {stride, stride, pad, pad, groups};
}

/// How many places of a kernel k x k around each token lie inside the grid: what zeros around tell of a
/// position. (rows, columns).
inline Tensor neighbour_counts(Grid grid, std::int64_t k) {
  const auto inside = [k](std::int64_t n, std::int64_t at) {
    return std::min(at + k / 2, n - 1) - std::max<std::int64_t>(at - k / 2, 0) + 1;
  };
  Tensor out({grid.rows, grid.columns});
  for (std::int64_t n = 0; n < out.numel(); ++n)
    out[n] = static_cast<float>(inside(grid.rows, n / grid.columns) * inside(grid.columns, n % grid.columns));
  return out;
}

/// The number of the window wh x ww that each token lies in, row-major; -1 beyond the last whole one. (rows,
/// columns).
inline Tensor window_numbers(Grid grid, std::int64_t wh, std::int64_t ww) {
  Tensor out({grid.rows, grid.columns});
  for (std::int64_t n = 0; n < out.numel(); ++n) {
    const std::int64_t r = n / grid.columns / wh, c = n % grid.columns / ww;
    const bool whole = r < grid.rows / wh && c < grid.columns / ww;
    out[n] = whole ? static_cast<float>(r * (grid.columns / ww) + c) : -1.0f;
  }
  return out;
}

/// Numbers of a batch norm over channels.
struct GridNorm {
  Var weight, bias;  ///< (C)
  Var mean, var;     ///< (C), running; shared with the layer that holds them
  float eps = 1e-5f;
  bool defined() const { return weight.defined(); }
  Var operator()(const Context& ctx, const Var& images) const {
    Tensor running_mean = mean.value(), running_var = var.value();  // the same storage: written in place
    return batch_norm(ctx, images, weight, bias, running_mean, running_var, {.eps = eps});
  }
};

}  // namespace locant
