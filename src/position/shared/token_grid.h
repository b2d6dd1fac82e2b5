#pragma once

// What the encodings that act on tokens as a picture share.

#include <cstdint>

#include "core/error.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/grid.h"

namespace locant {

/// Throws Error under the name of `op` unless tokens are (B, prefix + h w, C).
inline void check_tokens_of_grid(const char* op, const Var& tokens, Grid grid, std::int64_t prefix) {
  const Shape& shape = tokens.shape();
  if (shape.rank() != 3 || grid.frames != 1 || grid.rows < 1 || grid.columns < 1 || prefix < 0 ||
      shape[1] != prefix + grid.tokens())
    fail(op, "tokens of shape {} are no grid of {} x {} behind {} others", shape.str(), grid.rows,
         grid.columns, prefix);
}

/// tokens (B, prefix + h w, C): map(images (B, C, h, w)) as tokens again, behind the same prefix. Throws
/// Error under the name of `op` when the tokens do not fit the grid.
template <class Map>
Var on_grid(const Context& ctx, const char* op, const Var& tokens, Grid grid, std::int64_t prefix,
            const Map& map) {
  check_tokens_of_grid(op, tokens, grid, prefix);
  const Var patches = prefix == 0 ? tokens : select_rows(ctx, tokens, prefix, tokens.dim(1));
  const Var out = images_to_tokens(ctx, map(tokens_to_images(ctx, patches, grid.rows, grid.columns)));
  return prefix == 0 ? out : concat_rows(ctx, {select_rows(ctx, tokens, 0, prefix), out});
}

/// The same by a packed depthwise convolution, of inference.
inline Var packed_on_grid(const char* op, const PackedDepthwise& conv, const Var& tokens, Grid grid,
                          std::int64_t prefix, Activation act = Activation::none) {
  check_tokens_of_grid(op, tokens, grid, prefix);
  return Var(conv.forward(tokens.value(), grid.rows, grid.columns, prefix, act));
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

}  // namespace locant
