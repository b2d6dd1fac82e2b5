#include "ops/arithmetic_broadcast.h"

#include <algorithm>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// Places in a and b where row `i` (all joined axes but the last) of the result begins.
std::array<std::int64_t, 2> places(const Broadcast& plan, std::int64_t i) {
  std::int64_t at_a = 0, at_b = 0;
  for (int axis = plan.rank - 1; axis-- > 0;) {
    const auto at = static_cast<std::size_t>(axis);
    at_a += i % plan.extents[at] * plan.a[at];
    at_b += i % plan.extents[at] * plan.b[at];
    i /= plan.extents[at];
  }
  return {at_a, at_b};
}

// y = f(a, b). Loops apart for operands that repeat along the row: the compiler vectorises each.
template <class F>
Tensor combine(const Broadcast& plan, const float* a, const float* b, const F& f) {
  Tensor y(plan.shape);
  if (y.numel() == 0) return y;
  const auto last = static_cast<std::size_t>(plan.rank - 1);
  const std::int64_t width = plan.extents[last];
  const bool one_a = plan.a[last] == 0, one_b = plan.b[last] == 0;
  const auto row = [&](const float* x, const float* z, std::int64_t n, float* to) {
    if (one_a && one_b) {
      std::fill_n(to, n, f(x[0], z[0]));
    } else if (one_a) {
      for (std::int64_t c = 0; c < n; ++c) to[c] = f(x[0], z[c]);
    } else if (one_b) {
      for (std::int64_t c = 0; c < n; ++c) to[c] = f(x[c], z[0]);
    } else {
      for (std::int64_t c = 0; c < n; ++c) to[c] = f(x[c], z[c]);
    }
  };
  if (plan.rank == 1) {
    parallel_for(width, kElementGrain, [&](std::int64_t begin, std::int64_t end) {
      row(a + (one_a ? 0 : begin), b + (one_b ? 0 : begin), end - begin, y.data() + begin);
    });
    return y;
  }
  parallel_for(y.numel() / width, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto at = places(plan, i);
      row(a + at[0], b + at[1], width, y.data() + i * width);
    }
  });
  return y;
}

constexpr std::int64_t kColumns = 4096;

// Sum of x, times `by` unless null.
float sum_of(const float* x, const float* by, std::int64_t n) {
  if (by == nullptr) return static_cast<float>(sum_run(0, n, [=](std::int64_t i) { return x[i]; }));
  return static_cast<float>(sum_run(0, n, [=](std::int64_t i) { return x[i] * by[i]; }));
}

// sums += rows [begin, end) of x (n, inner), times those of `by` unless null, in columns [left, right).
void sum_block(const float* x, const float* by, std::int64_t inner, std::int64_t begin, std::int64_t end,
               std::int64_t left, std::int64_t right, float* sums) {
  if (right - left == inner) {
    x += begin * inner;
    return row_ops().sum_rows(x, by == nullptr ? nullptr : by + begin * inner, end - begin, inner, sums);
  }
  for (std::int64_t r = begin; r < end; ++r)
    row_ops().sum_rows(x + r * inner + left, by == nullptr ? nullptr : by + r * inner + left, 1, right - left,
                       sums + left);
}

// x (outer, n, inner) -> (outer, inner): sums over n of x, times `by` of the same extents unless null.
Tensor sum_middle(const float* x, const float* by, std::int64_t outer, std::int64_t n, std::int64_t inner) {
  const std::int64_t strips = (inner + kColumns - 1) / kColumns;
  if (outer == 1 && strips == 1)  // only rows to share out
    return reduce_rows(n, inner, [&](std::int64_t begin, std::int64_t end, float* to) {
      if (inner == 1)
        to[0] = sum_of(x + begin, by == nullptr ? nullptr : by + begin, end - begin);
      else
        sum_block(x, by, inner, begin, end, 0, inner, to);
    });
  Tensor sums = Tensor::zeros({outer * inner});
  parallel_for(
      outer * strips, row_grain(n * std::min(inner, kColumns)), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t s = begin; s < end; ++s) {
          const std::int64_t o = s / strips, left = s % strips * kColumns;
          const float *from = x + o * n * inner, *factor = by == nullptr ? nullptr : by + o * n * inner;
          if (inner == 1)
            sums[o] = sum_of(from, factor, n);
          else
            sum_block(from, factor, inner, 0, n, left, std::min(left + kColumns, inner),
                      sums.data() + o * inner);
        }
      });
  return sums;
}

// Sums x (times y unless undefined, which then has x's shape, and some axis vanishes) to `shape`: the axes
// that vanish, one group of neighbours at a time from the last.
Tensor summed(Tensor x, Tensor y, const Shape& shape) {
  std::vector<std::int64_t> extents(x.shape().extents().begin(), x.shape().extents().end());
  const int missing = x.shape().rank() - shape.rank();
  const auto vanishes = [&](std::size_t axis) {
    const int at = static_cast<int>(axis) - missing;
    return extents[axis] != 1 && (at < 0 || shape[at] == 1);
  };
  for (std::size_t last = extents.size(); last-- > 0;) {
    if (!vanishes(last)) continue;
    std::size_t first = last;
    while (first > 0 && (extents[first - 1] == 1 || vanishes(first - 1))) --first;
    std::int64_t outer = 1, n = 1, inner = 1;
    for (std::size_t axis = 0; axis < extents.size(); ++axis)
      (axis < first ? outer : axis <= last ? n : inner) *= extents[axis];
    for (std::size_t axis = first; axis <= last; ++axis) extents[axis] = 1;
    x = sum_middle(x.data(), y.defined() ? y.data() : nullptr, outer, n, inner);
    y = Tensor();
  }
  return x.reshaped(shape);
}

}  // namespace

Broadcast broadcast(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<std::int64_t> extents(static_cast<std::size_t>(rank), 1);
  std::array<std::int64_t, Shape::kMaxRank> steps_a{}, steps_b{};
  std::int64_t step_a = 1, step_b = 1;
  for (int axis = 1; axis <= rank; ++axis) {
    const std::int64_t extent_a = axis <= a.rank() ? a[-axis] : 1, extent_b = axis <= b.rank() ? b[-axis] : 1;
    if (extent_a != extent_b && extent_a != 1 && extent_b != 1)
      fail(op, "{} and {} do not broadcast: extents must be equal, 1 or absent", a.str(), b.str());
    const auto at = static_cast<std::size_t>(rank - axis);
    extents[at] = extent_a == 1 ? extent_b : extent_a;
    steps_a[at] = extent_a == 1 ? 0 : step_a;
    steps_b[at] = extent_b == 1 ? 0 : step_b;
    step_a *= extent_a;
    step_b *= extent_b;
  }
  Broadcast out;
  out.shape = Shape(std::span<const std::int64_t>(extents));
  for (std::size_t at = 0; at < extents.size(); ++at) {
    if (extents[at] == 1) continue;
    const auto joined = static_cast<std::size_t>(out.rank);
    const bool joins = out.rank > 0 && out.a[joined - 1] == extents[at] * steps_a[at] &&
                       out.b[joined - 1] == extents[at] * steps_b[at];
    if (joins) {
      out.extents[joined - 1] *= extents[at];
      out.a[joined - 1] = steps_a[at];
      out.b[joined - 1] = steps_b[at];
    } else {
      out.extents[joined] = extents[at];
      out.a[joined] = steps_a[at];
      out.b[joined] = steps_b[at];
      ++out.rank;
    }
  }
  if (out.rank == 0) {
    out.rank = 1;
    out.extents[0] = 1;
  }
  return out;
}

Tensor broadcast_product(const Broadcast& plan, const Tensor& a, const Tensor& b) {
  return combine(plan, a.data(), b.data(), [](float x, float y) { return x * y; });
}

Tensor broadcast_sum(const Broadcast& plan, const Tensor& a, const Tensor& b) {
  return combine(plan, a.data(), b.data(), [](float x, float y) { return x + y; });
}

Tensor broadcast_copy(const Broadcast& plan, const Tensor& a) {
  Broadcast alone = plan;
  alone.b = {};  // reads nothing but the first number
  return combine(alone, a.data(), a.data(), [](float x, float) { return x; });
}

Tensor sum_to(const Tensor& x, const Shape& shape) { return summed(x, Tensor(), shape); }

Tensor product_sums(const Tensor& x, const Tensor& y, const Shape& shape) {
  if (y.shape() == x.shape() && shape.numel() != x.numel()) return summed(x, y, shape);
  return summed(broadcast_product(broadcast("product_sums", x.shape(), y.shape()), x, y), Tensor(), shape);
}

}  // namespace locant
