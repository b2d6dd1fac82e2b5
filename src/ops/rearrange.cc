#include "ops/rearrange.h"

#include <algorithm>
#include <span>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/layout.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// Extents before, at and behind one axis.
struct Around {
  std::int64_t outer = 1, extent = 1, inner = 1;
};

int checked_axis(const char* op, const Shape& shape, int axis) {
  const int at = axis < 0 ? axis + shape.rank() : axis;
  require(at >= 0 && at < shape.rank(), op, "axis {} of {}, which has {} axes", axis, shape.str(),
          shape.rank());
  return at;
}

Around around(const Shape& shape, int axis) {
  Around out;
  for (int a = 0; a < shape.rank(); ++a)
    (a < axis ? out.outer : a == axis ? out.extent : out.inner) *= shape[a];
  return out;
}

Shape with_extent(const Shape& shape, int axis, std::int64_t extent) {
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[static_cast<std::size_t>(axis)] = extent;
  return Shape(std::span<const std::int64_t>(extents));
}

// Which entries of `rows` read each row of a table: those of row r are order[first[r]] to order[first[r + 1]
// - 1], ascending.
struct Readers {
  std::vector<std::int64_t> first, order;
};

Readers readers_of(const std::vector<std::int32_t>& rows, std::int64_t height) {
  Readers out;
  out.first.assign(static_cast<std::size_t>(height + 1), 0);
  for (const std::int32_t row : rows)
    if (row >= 0) ++out.first[static_cast<std::size_t>(row) + 1];
  for (std::size_t r = 1; r < out.first.size(); ++r) out.first[r] += out.first[r - 1];
  out.order.resize(static_cast<std::size_t>(out.first.back()));
  std::vector<std::int64_t> next = out.first;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i] >= 0)
      out.order[static_cast<std::size_t>(next[static_cast<std::size_t>(rows[i])]++)] =
          static_cast<std::int64_t>(i);
  return out;
}

}  // namespace

Var slice_axis(const Context& ctx, const Var& x, int axis, std::int64_t begin, std::int64_t end) {
  const int at = checked_axis("slice_axis", x.shape(), axis);
  const Around a = around(x.shape(), at);
  require(begin >= 0 && begin <= end && end <= a.extent, "slice_axis", "entries {} to {} of axis {} of {}",
          begin, end, axis, x.shape().str());
  const ProfileScope scope("slice_axis");
  const std::int64_t count = (end - begin) * a.inner, whole = a.extent * a.inner, first = begin * a.inner;
  Tensor y(with_extent(x.shape(), at, end - begin));
  copy_blocks(a.outer, count, x.value().data() + first, whole, y.data(), count);
  return ctx.record({x}, std::move(y), [=](const Tensor& dy) {
    Tensor dx = Tensor::zeros(x.shape());
    copy_blocks(a.outer, count, dy.data(), count, dx.data() + first, whole);
    x.accumulate(std::move(dx));
  });
}

Var concat_axis(const Context& ctx, const std::vector<Var>& parts, int axis) {
  require(!parts.empty(), "concat_axis", "no parts");
  const Shape& first = parts[0].shape();
  const int at = checked_axis("concat_axis", first, axis);
  std::int64_t total = 0;
  for (const Var& part : parts) {
    if (part.shape().rank() != first.rank() || with_extent(part.shape(), at, 1) != with_extent(first, at, 1))
      fail("concat_axis", "{} and {} differ beyond axis {}", first.str(), part.shape().str(), axis);
    total += part.dim(at);
  }
  const ProfileScope scope("concat_axis");
  Tensor y(with_extent(first, at, total));
  const Around whole = around(y.shape(), at);
  const std::int64_t step = total * whole.inner;
  std::int64_t offset = 0;
  for (const Var& part : parts) {
    const std::int64_t count = part.dim(at) * whole.inner;
    copy_blocks(whole.outer, count, part.value().data(), count, y.data() + offset, step);
    offset += count;
  }
  return ctx.record(parts, std::move(y), [=](const Tensor& dy) {
    std::int64_t from = 0;
    for (const Var& part : parts) {
      const std::int64_t count = part.dim(at) * whole.inner;
      if (part.requires_grad()) {
        Tensor dpart(part.shape());
        copy_blocks(whole.outer, count, dy.data() + from, step, dpart.data(), count);
        part.accumulate(std::move(dpart));
      }
      from += count;
    }
  });
}

Var gather_rows(const Context& ctx, const Var& table, const std::vector<std::int32_t>& rows) {
  const Shape& shape = table.shape();
  require(shape.rank() >= 1, "gather_rows", "a table without axes");
  for (const std::int32_t row : rows)
    if (row >= shape[0]) fail("gather_rows", "row {} of a table {}", row, shape.str());
  const ProfileScope scope("gather_rows");
  const auto count = static_cast<std::int64_t>(rows.size());
  const std::int64_t width = around(shape, 0).inner;
  Tensor y(with_extent(shape, 0, count));
  parallel_for(count, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t row = rows[static_cast<std::size_t>(r)];
      if (row < 0)
        std::fill_n(y.data() + r * width, width, 0.0f);
      else
        std::copy_n(table.value().data() + row * width, width, y.data() + r * width);
    }
  });
  return ctx.record({table}, std::move(y), [=](const Tensor& dy) {
    const ProfileScope inner("gather_rows");
    Tensor dtable = Tensor::zeros(table.shape());
    const std::int64_t height = table.dim(0);
    const Readers readers = readers_of(rows, height);
    const std::int64_t work = width * std::max<std::int64_t>(1, count / std::max<std::int64_t>(height, 1));
    parallel_for(height, row_grain(work), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* to = dtable.data() + row * width;
        for (std::int64_t i = readers.first[static_cast<std::size_t>(row)];
             i < readers.first[static_cast<std::size_t>(row) + 1]; ++i)
          row_ops().add(to, dy.data() + readers.order[static_cast<std::size_t>(i)] * width, 1.0f, width, to);
      }
    });
    table.accumulate(std::move(dtable));
  });
}

Var tokens_to_images(const Context& ctx, const Var& tokens, std::int64_t rows, std::int64_t columns) {
  const Shape& shape = tokens.shape();
  constexpr std::int64_t kMost = std::int64_t{1} << 31;  // products of two cannot overflow
  require(shape.rank() == 3 && rows >= 0 && columns >= 0 && rows < kMost && columns < kMost &&
              shape[1] == rows * columns,
          "tokens_to_images", "{} is not (B, {} x {}, C)", shape.str(), rows, columns);
  return reshape(ctx, permute(ctx, tokens, {0, 2, 1}), {shape[0], shape[2], rows, columns});
}

Var images_to_tokens(const Context& ctx, const Var& images) {
  const Shape& shape = images.shape();
  require(shape.rank() == 4, "images_to_tokens", "{} is not (B, C, H, W)", shape.str());
  return permute(ctx, reshape(ctx, images, {shape[0], shape[1], shape[2] * shape[3]}), {0, 2, 1});
}

}  // namespace locant
