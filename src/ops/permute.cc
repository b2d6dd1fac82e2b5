#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/rearrange.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// Axes of a result of permute: extents, and the floats between neighbours there in the source. Axes that stay
// behind each other are one.
struct Permutation {
  std::array<std::int64_t, Shape::kMaxRank> extents{}, steps{};
  std::size_t rank = 0;
};

Permutation permutation_of(const Shape& shape, const std::vector<int>& order) {
  std::array<std::int64_t, Shape::kMaxRank> steps{};
  std::int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; step *= shape[axis--])
    steps[static_cast<std::size_t>(axis)] = step;
  Permutation p;
  for (const int axis : order) {
    const std::int64_t extent = shape[axis], to_next = steps[static_cast<std::size_t>(axis)];
    if (extent == 1) continue;
    if (p.rank > 0 && p.steps[p.rank - 1] == extent * to_next) {
      p.extents[p.rank - 1] *= extent;
      p.steps[p.rank - 1] = to_next;
    } else {
      p.extents[p.rank] = extent;
      p.steps[p.rank++] = to_next;
    }
  }
  if (p.rank == 0) {  // one number
    p.extents[0] = p.steps[0] = 1;
    p.rank = 1;
  }
  return p;
}

// Places of the source and the result for index `i` into all axes but the last and `skipped`.
std::array<std::int64_t, 2> places(const Permutation& p, std::size_t skipped, std::int64_t i) {
  std::int64_t from = 0, to = 0, step = p.extents[p.rank - 1];
  for (std::size_t axis = p.rank - 1; axis-- > 0;) {
    if (axis != skipped) {
      from += i % p.extents[axis] * p.steps[axis];
      to += i % p.extents[axis] * step;
      i /= p.extents[axis];
    }
    step *= p.extents[axis];
  }
  return {from, to};
}

Tensor permuted(const Tensor& x, const std::vector<int>& order) {
  std::vector<std::int64_t> extents;
  for (const int axis : order) extents.push_back(x.dim(axis));
  const Shape result{std::span<const std::int64_t>(extents)};
  if (result.numel() == 0) return Tensor(result);
  const Permutation p = permutation_of(x.shape(), order);
  const std::int64_t width = p.extents[p.rank - 1], step = p.steps[p.rank - 1];
  if (step == 1 && width == result.numel()) return x.reshaped(result);  // only extents of 1 move
  Tensor y(result);
  if (step == 1) {
    parallel_for(y.numel() / width, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        std::copy_n(x.data() + places(p, p.rank, i)[0], width, y.data() + i * width);
    });
    return y;
  }
  // Transposes of the last axis with that which is dense in the source, in tiles: lines of both stay cached.
  constexpr std::int64_t kTile = 16;
  std::size_t dense = 0;
  while (p.steps[dense] != 1) ++dense;
  const std::int64_t height = p.extents[dense], strips = (height + kTile - 1) / kTile;
  std::int64_t line = width;  // of the result, between neighbours along `dense`
  for (std::size_t axis = dense + 1; axis + 1 < p.rank; ++axis) line *= p.extents[axis];
  const std::int64_t count = y.numel() / (width * height) * strips;
  parallel_for(count, row_grain(width * kTile), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      const auto at = places(p, dense, s / strips);
      const std::int64_t first = s % strips * kTile, last = std::min(first + kTile, height);
      for (std::int64_t left = 0; left < width; left += kTile) {
        const std::int64_t right = std::min(left + kTile, width);
        for (std::int64_t r = first; r < last; ++r) {
          const float* from = x.data() + at[0] + r;
          float* to = y.data() + at[1] + r * line;
          for (std::int64_t c = left; c < right; ++c) to[c] = from[c * step];
        }
      }
    }
  });
  return y;
}

}  // namespace

Var permute(const Context& ctx, const Var& x, const std::vector<int>& order) {
  const int rank = x.shape().rank();
  std::vector<int> inverse(order.size(), -1);
  for (std::size_t a = 0; a < order.size(); ++a)
    if (order[a] >= 0 && order[a] < rank) inverse[static_cast<std::size_t>(order[a])] = static_cast<int>(a);
  require(rank > 0 && static_cast<int>(order.size()) == rank &&
              std::find(inverse.begin(), inverse.end(), -1) == inverse.end(),
          "permute", "an order of {} axes is no permutation of those of {}", order.size(), x.shape().str());
  const ProfileScope scope("permute");
  return ctx.record({x}, permuted(x.value(), order), [x, inverse](const Tensor& dy) {
    const ProfileScope inner("permute");
    x.accumulate(permuted(dy, inverse));
  });
}

}  // namespace locant
