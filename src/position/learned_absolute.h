#pragma once

// Learned absolute position embedding: BERT (Devlin et al. 2019), ViT (Dosovitskiy et al. 2021).
//   x_i <- x_i + p_i, one learned row p_i of width C for each token i
// Enters: tokens. Shapes: table (1, prefix + rows * columns, C), the prefix rows (class token, ...) first,
// then the grid in row-major order. Used by ViT, DeiT, DINOv2. Cost: one addition per token and channel; on
// another grid the grid rows are resampled as an image of C channels while the prefix rows are kept (rules
// below), once per grid size in inference. Gradient: through addition and resampling, by tape.

#include <cstdint>
#include <memory>
#include <string_view>

#include "autograd/tape.h"
#include "ops/resize.h"

namespace locant {

/// How a table made for one grid serves another. Which is right depends on where the checkpoint comes from:
///   none               the grids must be equal
///   bicubic            DeiT, Hugging Face (align_corners false, a = -0.75)
///   bicubic_offset     Meta's DINOv2 without registers: the scale is M / (n + 0.1)
///   bicubic_antialias  timm, DINOv2 with registers (a = -0.5)
///   bicubic_corners    torchvision (align_corners true)
///   bilinear           JAX checkpoints as timm reads them
///   bilinear_antialias
struct PositionResize {
  bool allowed = true;
  ResizeRule rule = ResizeRule::bicubic;
  double offset = 0.0;
};

/// Throws Error that lists the rules.
PositionResize parse_position_resize(std::string_view name);

class LearnedAbsolute {
 public:
  /// The grid that the table was made for, and the rows before it.
  struct Layout {
    std::int64_t rows = 0, columns = 0;
    std::int64_t prefix = 0;
    PositionResize resize;
  };
  LearnedAbsolute() = default;
  /// Throws Error unless the table is (1, prefix + rows * columns, C).
  LearnedAbsolute(Var table, const Layout& layout);

  /// The table for a grid: (1, prefix + rows * columns, C). The parameter itself where the grid is its own; a
  /// resampled one is kept and given again while nothing is recorded. Safe to call from several threads.
  /// Throws Error when the grids differ and the rule is "none".
  Var table(const Context& ctx, std::int64_t rows, std::int64_t columns) const;
  /// x (B, prefix + rows * columns, C) with the grid's table added; shows the table as "resampled pos_embed".
  Var add_to(const Context& ctx, const Var& x, std::int64_t rows, std::int64_t columns) const;

 private:
  struct Cache;
  Var resampled(const Context& ctx, std::int64_t rows, std::int64_t columns) const;

  Var table_;
  Layout layout_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace locant
