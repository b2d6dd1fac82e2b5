#include "ops/pool2d.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// What entry i of a result axis covers of the picture: [begin, end).
struct Span {
  std::int64_t begin, end;
  std::int64_t counted;  ///< by which an average divides; with the padding where that counts
};

struct Spans {
  std::int64_t inputs = 0;
  std::vector<Span> spans;

  std::int64_t outputs() const { return static_cast<std::int64_t>(spans.size()); }
  const Span& operator[](std::int64_t i) const { return spans[static_cast<std::size_t>(i)]; }
};

void check_images(const char* op, const Shape& x) {
  if (x.rank() != 4) fail(op, "x of shape {} is not (B, C, H, W)", x.str());
  if (x[2] < 1 || x[3] < 1) fail(op, "x of shape {} has no pixels", x.str());
}

Spans pooled(const char* op, std::int64_t inputs, std::int64_t kernel, std::int64_t stride, std::int64_t pad,
             bool count_padding) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;  // sums of these cannot overflow
  require(kernel >= 1 && kernel <= kMost && stride >= 1 && pad >= 0 && pad <= kernel / 2, op,
          "kernel {}, stride {}, padding {}; padding may be half the kernel at most", kernel, stride, pad);
  require(kernel <= inputs + 2 * pad, op, "a kernel of {} does not fit {} pixels with padding {}", kernel,
          inputs, pad);
  Spans out;
  out.inputs = inputs;
  const std::int64_t room = inputs + 2 * pad - kernel;
  for (std::int64_t i = 0; i <= room / stride; ++i) {
    const std::int64_t first = i * stride - pad;
    const std::int64_t begin = std::max<std::int64_t>(first, 0), end = std::min(first + kernel, inputs);
    out.spans.push_back({begin, end, count_padding ? kernel : end - begin});
  }
  return out;
}

struct Grid {
  std::int64_t planes;
  Spans rows, columns;

  std::int64_t pixels() const { return rows.inputs * columns.inputs; }
  std::int64_t cells() const { return rows.outputs() * columns.outputs(); }
};

Grid pooled_grid(const char* op, const Shape& x, const Pool2dOptions& o) {
  check_images(op, x);
  return {x[0] * x[1], pooled(op, x[2], o.kernel_rows, o.stride_rows, o.pad_rows, o.count_padding),
          pooled(op, x[3], o.kernel_columns, o.stride_columns, o.pad_columns, o.count_padding)};
}

Shape result_shape(const Shape& x, const Grid& grid) {
  return {x[0], x[1], grid.rows.outputs(), grid.columns.outputs()};
}

float share_of(const Span& row, const Span& column) {
  return static_cast<float>(1.0 / (static_cast<double>(row.counted) * static_cast<double>(column.counted)));
}

// Rows of the picture are summed first, then columns of that line.
void average_plane(const Grid& grid, const float* x, std::vector<double>& line, float* y) {
  const std::int64_t W = grid.columns.inputs;
  for (const Span& row : grid.rows.spans) {
    std::fill(line.begin(), line.end(), 0.0);
    for (std::int64_t i = row.begin; i < row.end; ++i)
      for (std::int64_t j = 0; j < W; ++j)
        line[static_cast<std::size_t>(j)] += static_cast<double>(x[i * W + j]);
    for (const Span& column : grid.columns.spans) {
      double sum = 0;
      for (std::int64_t j = column.begin; j < column.end; ++j) sum += line[static_cast<std::size_t>(j)];
      *y++ = static_cast<float>(sum) * share_of(row, column);
    }
  }
}

void average_plane_gradient(const Grid& grid, const float* dy, std::vector<float>& line, float* dx) {
  const std::int64_t W = grid.columns.inputs;
  for (const Span& row : grid.rows.spans) {
    std::fill(line.begin(), line.end(), 0.0f);
    for (const Span& column : grid.columns.spans) {
      const float g = share_of(row, column) * *dy++;
      for (std::int64_t j = column.begin; j < column.end; ++j) line[static_cast<std::size_t>(j)] += g;
    }
    for (std::int64_t i = row.begin; i < row.end; ++i)
      for (std::int64_t j = 0; j < W; ++j) dx[i * W + j] += line[static_cast<std::size_t>(j)];
  }
}

Var averages(const Context& ctx, const char* op, const Var& x, Grid grid) {
  const ProfileScope scope(op);
  Tensor y(result_shape(x.shape(), grid));
  parallel_for(grid.planes, row_grain(grid.pixels()), [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> line(static_cast<std::size_t>(grid.columns.inputs));
    for (std::int64_t p = begin; p < end; ++p)
      average_plane(grid, x.value().data() + p * grid.pixels(), line, y.data() + p * grid.cells());
  });
  return ctx.record({x}, std::move(y), [op, x, grid = std::move(grid)](const Tensor& dy) {
    const ProfileScope inner(op);
    Tensor dx = Tensor::zeros(x.shape());
    parallel_for(grid.planes, row_grain(grid.pixels()), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> line(static_cast<std::size_t>(grid.columns.inputs));
      for (std::int64_t p = begin; p < end; ++p)
        average_plane_gradient(grid, dy.data() + p * grid.cells(), line, dx.data() + p * grid.pixels());
    });
    x.accumulate(std::move(dx));
  });
}

// winners: places in the plane, unless null.
void max_plane(const Grid& grid, const float* x, float* y, std::int64_t* winners) {
  const std::int64_t W = grid.columns.inputs;
  for (const Span& row : grid.rows.spans)
    for (const Span& column : grid.columns.spans) {
      std::int64_t best = row.begin * W + column.begin;
      for (std::int64_t i = row.begin; i < row.end; ++i)
        for (std::int64_t j = column.begin; j < column.end; ++j)
          if (x[i * W + j] > x[best] || std::isnan(x[i * W + j])) best = i * W + j;  // NaN stays
      *y++ = x[best];
      if (winners != nullptr) *winners++ = best;
    }
}

}  // namespace

Var max_pool2d(const Context& ctx, const Var& x, const Pool2dOptions& options) {
  constexpr const char* kOp = "max_pool2d";
  const Grid grid = pooled_grid(kOp, x.shape(), options);
  const ProfileScope scope(kOp);
  const std::int64_t planes = grid.planes, pixels = grid.pixels(), cells = grid.cells();
  Tensor y(result_shape(x.shape(), grid));
  const auto winners = std::make_shared<std::vector<std::int64_t>>();
  if (ctx.tape != nullptr && x.requires_grad()) winners->resize(static_cast<std::size_t>(y.numel()));
  parallel_for(planes, row_grain(pixels), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      max_plane(grid, x.value().data() + p * pixels, y.data() + p * cells,
                winners->empty() ? nullptr : winners->data() + p * cells);
  });
  return ctx.record({x}, std::move(y), [x, winners, planes, pixels, cells](const Tensor& dy) {
    const ProfileScope inner(kOp);
    Tensor dx = Tensor::zeros(x.shape());
    parallel_for(planes, row_grain(pixels), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * cells; i < end * cells; ++i)
        dx[i / cells * pixels + (*winners)[static_cast<std::size_t>(i)]] += dy[i];
    });
    x.accumulate(std::move(dx));
  });
}

Var average_pool2d(const Context& ctx, const Var& x, const Pool2dOptions& options) {
  return averages(ctx, "average_pool2d", x, pooled_grid("average_pool2d", x.shape(), options));
}

Var adaptive_average_pool2d(const Context& ctx, const Var& x, std::int64_t rows, std::int64_t columns) {
  constexpr const char* kOp = "adaptive_average_pool2d";
  check_images(kOp, x.shape());
  constexpr std::int64_t kMost = 1 << 20;
  require(rows >= 1 && columns >= 1 && rows <= kMost && columns <= kMost, kOp,
          "{} x {} cells are not possible; ask for 1 to {}", rows, columns, kMost);
  const auto adaptive = [](std::int64_t inputs, std::int64_t outputs) {
    Spans out;
    out.inputs = inputs;
    for (std::int64_t i = 0; i < outputs; ++i) {
      const std::int64_t begin = i * inputs / outputs, end = ((i + 1) * inputs + outputs - 1) / outputs;
      out.spans.push_back({begin, end, end - begin});
    }
    return out;
  };
  return averages(ctx, kOp, x, {x.dim(0) * x.dim(1), adaptive(x.dim(2), rows), adaptive(x.dim(3), columns)});
}

}  // namespace locant
