#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/layout.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

struct Patches {
  std::int64_t B, C, H, W, ph, pw;
  PatchOrder order;

  std::int64_t rows() const { return H / ph; }
  std::int64_t columns() const { return W / pw; }
  std::int64_t width() const { return C * ph * pw; }
};

// Moves every pixel that a patch covers: image (B, C, H, W) <-> patches (B, rows columns, width).
template <bool kToPatches, class Image, class Patch>
void move_patches(const Patches& p, Image* images, Patch* patches) {
  const std::int64_t columns = p.columns(), rows = p.rows();
  parallel_for(p.B * rows, row_grain(columns * p.width()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line)
      for (std::int64_t c = 0; c < p.C; ++c)
        for (std::int64_t y = 0; y < p.ph; ++y) {
          Image* pixel = images + ((line / rows * p.C + c) * p.H + line % rows * p.ph + y) * p.W;
          Patch* patch = patches + line * columns * p.width();
          const bool channel_first = p.order == PatchOrder::channel_row_column;
          const std::int64_t start = channel_first ? (c * p.ph + y) * p.pw : y * p.pw * p.C + c;
          const std::int64_t step = channel_first ? 1 : p.C;
          for (std::int64_t column = 0; column < columns; ++column, patch += p.width(), pixel += p.pw)
            for (std::int64_t x = 0; x < p.pw; ++x) {
              if constexpr (kToPatches) patch[start + x * step] = pixel[x];
              if constexpr (!kToPatches) pixel[x] = patch[start + x * step];
            }
        }
  });
}

// Swin's merging of tokens (B, H, W, C); see layout.h.
struct Merge {
  std::int64_t B, H, W, C;

  std::int64_t rows() const { return (H + 1) / 2; }
  std::int64_t columns() const { return (W + 1) / 2; }
};

// body(token row or -1, merged row, neighbour) for merged rows [begin, end).
template <class Body>
void for_neighbours(const Merge& m, std::int64_t begin, std::int64_t end, const Body& body) {
  for (std::int64_t r = begin; r < end; ++r) {
    const std::int64_t column = r % m.columns(), row = r / m.columns() % m.rows(),
                       b = r / (m.columns() * m.rows());
    for (std::int64_t k = 0; k < 4; ++k) {  // the row offset runs fastest
      const std::int64_t y = 2 * row + k % 2, x = 2 * column + k / 2;
      body(y < m.H && x < m.W ? (b * m.H + y) * m.W + x : -1, r, k);
    }
  }
}

}  // namespace

Var patchify(const Context& ctx, const Var& images, std::int64_t patch_rows, std::int64_t patch_columns,
             PatchOrder order) {
  const Shape& shape = images.shape();
  if (shape.rank() != 4 || patch_rows < 1 || patch_columns < 1 || shape[2] < patch_rows ||
      shape[3] < patch_columns)
    fail("patchify",
         "images of shape {} have no patches of {} x {}; they must be (B, C, H, W) and at least one patch "
         "large",
         shape.str(), patch_rows, patch_columns);
  const Patches p{shape[0], shape[1], shape[2], shape[3], patch_rows, patch_columns, order};
  const ProfileScope scope("patchify");
  Tensor y({p.B, p.rows() * p.columns(), p.width()});
  move_patches<true>(p, images.value().data(), y.data());
  return ctx.record({images}, std::move(y), [images, p](const Tensor& dy) {
    Tensor dimages = Tensor::zeros(images.shape());
    move_patches<false>(p, dimages.data(), dy.data());
    images.accumulate(std::move(dimages));
  });
}

Var merge_patches(const Context& ctx, const Var& tokens) {
  const Shape& shape = tokens.shape();
  if (shape.rank() != 4) fail("merge_patches", "tokens of shape {} are not (B, H, W, C)", shape.str());
  const Merge m{shape[0], shape[1], shape[2], shape[3]};
  const ProfileScope scope("merge_patches");
  Tensor y({m.B, m.rows(), m.columns(), 4 * m.C});
  const std::int64_t rows = m.B * m.rows() * m.columns();
  parallel_for(rows, row_grain(4 * m.C), [&](std::int64_t begin, std::int64_t end) {
    const float* from = tokens.value().data();
    for_neighbours(m, begin, end, [&](std::int64_t token, std::int64_t r, std::int64_t k) {
      float* to = y.data() + (4 * r + k) * m.C;
      if (token >= 0)
        std::copy_n(from + token * m.C, m.C, to);
      else
        std::fill_n(to, m.C, 0.0f);
    });
  });
  return ctx.record({tokens}, std::move(y), [tokens, m, rows](const Tensor& dy) {
    Tensor dtokens(tokens.shape());
    parallel_for(rows, row_grain(4 * m.C), [&](std::int64_t begin, std::int64_t end) {
      for_neighbours(m, begin, end, [&](std::int64_t token, std::int64_t r, std::int64_t k) {
        if (token >= 0) std::copy_n(dy.data() + (4 * r + k) * m.C, m.C, dtokens.data() + token * m.C);
      });
    });
    tokens.accumulate(std::move(dtokens));
  });
}

}  // namespace locant
