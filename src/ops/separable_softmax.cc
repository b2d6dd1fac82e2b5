#include "ops/separable_softmax.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/profile.h"
#include "kernels/row_mix.h"
#include "ops/reduce_inl.h"
#include "ops/softmax.h"

namespace locant {
namespace {

constexpr const char* kSeparableSoftmaxOp = "separable_softmax";

struct SeparableSizes {
  std::int64_t B, H, D, query_rows, key_rows, query_columns, key_columns;
};

SeparableSizes sizes_of(const Var& row_scores, const Var& column_scores, const Var& v) {
  const Shape &rows = row_scores.shape(), &columns = column_scores.shape(), &values = v.shape();
  if (rows.rank() != 3 || columns.rank() != 3 || values.rank() != 3 || rows[0] != columns[0] ||
      rows.numel() < 1 || columns.numel() < 1 || values[2] < 1 || values[2] % rows[0] != 0 ||
      values[1] != rows[2] * columns[2])
    fail(kSeparableSoftmaxOp,
         "row scores {}, column scores {} and values {} do not fit; they must be (H, query rows, key rows), "
         "(H, query columns, key columns) and (B, key rows * key columns, H Dv), none but B 0",
         rows.str(), columns.str(), values.str());
  return {values[0], rows[0], values[2] / rows[0], rows[1], rows[2], columns[1], columns[2]};
}

// One head of one sample at a time, in the layouts that tokens have: P is a mixture of rows of D numbers by a
// small matrix, twice.
class Separable {
 public:
  Separable(const SeparableSizes& sizes, Tensor rows, Tensor columns)
      : s_(sizes), rows_(std::move(rows)), columns_(std::move(columns)) {}

  Tensor forward(const Tensor& v) const {
    Tensor out({s_.B, s_.query_rows * s_.query_columns, s_.H * s_.D});
    for_heads([&](std::int64_t b, std::int64_t h, float* mixed, float*) {
      mix_columns(h, values(v, b, h), mixed);
      float* o = out.data() + (b * out.dim(1) * s_.H + h) * s_.D;
      for (std::int64_t c = 0; c < s_.query_columns; ++c)
        row_mix().mix(rows_.data() + h * rows_size(), s_.key_rows, 1, s_.query_rows, s_.key_rows,
                      mixed + c * s_.D, s_.query_columns * s_.D, s_.D, o + c * token(),
                      s_.query_columns * token());
    });
    return out;
  }

  void backward(const Var& row_scores, const Var& column_scores, const Var& v, const Tensor& dout) const {
    // Of every sample and head, for the sums over samples: as small as the scores are.
    Tensor drows({s_.B, s_.H, s_.query_rows, s_.key_rows});
    Tensor dcolumns({s_.B, s_.H, s_.query_columns, s_.key_columns});
    Tensor dv(v.shape());
    for_heads([&](std::int64_t b, std::int64_t h, float* mixed, float* dmixed) {
      backward_head(b, h, v.value(), dout, mixed, dmixed, drows.data() + (b * s_.H + h) * rows_size(),
                    dcolumns.data() + (b * s_.H + h) * columns_size(), dv);
    });
    if (row_scores.requires_grad())
      row_scores.accumulate(softmax_backward(rows_, sum_samples(drows, rows_.shape())));
    if (column_scores.requires_grad())
      column_scores.accumulate(softmax_backward(columns_, sum_samples(dcolumns, columns_.shape())));
    v.accumulate(std::move(dv));
  }

 private:
  std::int64_t token() const { return s_.H * s_.D; }
  std::int64_t rows_size() const { return s_.query_rows * s_.key_rows; }
  std::int64_t columns_size() const { return s_.query_columns * s_.key_columns; }
  const float* values(const Tensor& v, std::int64_t b, std::int64_t h) const {
    return v.data() + (b * v.dim(1) * s_.H + h) * s_.D;
  }

  // body(b, h, mixed, dmixed), with room for (key rows, query columns, D) numbers twice.
  template <class Body>
  void for_heads(const Body& body) const {
    const std::int64_t size = s_.key_rows * s_.query_columns * s_.D;
    parallel_for(s_.B * s_.H, row_grain(size), [&](std::int64_t begin, std::int64_t end) {
      Tensor scratch({2, size});
      for (std::int64_t x = begin; x < end; ++x)
        body(x / s_.H, x % s_.H, scratch.data(), scratch.data() + size);
    });
  }

  // mixed[s, c] = sum over t of columns[h, c, t] v[s, t].
  void mix_columns(std::int64_t h, const float* v, float* mixed) const {
    for (std::int64_t s = 0; s < s_.key_rows; ++s)
      row_mix().mix(columns_.data() + h * columns_size(), s_.key_columns, 1, s_.query_columns, s_.key_columns,
                    v + s * s_.key_columns * token(), token(), s_.D, mixed + s * s_.query_columns * s_.D,
                    s_.D);
  }

  void backward_head(std::int64_t b, std::int64_t h, const Tensor& v, const Tensor& dout, float* mixed,
                     float* dmixed, float* drows, float* dcolumns, Tensor& dv) const {
    const std::int64_t line = s_.query_columns * s_.D, row = s_.key_columns * token();
    const float *v_bh = values(v, b, h), *dout_bh = values(dout, b, h);
    mix_columns(h, v_bh, mixed);
    row_mix().products(dout_bh, s_.query_columns * token(), token(), mixed, line, s_.D, s_.query_rows,
                       s_.key_rows, s_.query_columns, s_.D, drows);
    for (std::int64_t c = 0; c < s_.query_columns; ++c)  // rows transposed
      row_mix().mix(rows_.data() + h * rows_size(), 1, s_.key_rows, s_.key_rows, s_.query_rows,
                    dout_bh + c * token(), s_.query_columns * token(), s_.D, dmixed + c * s_.D, line);
    row_mix().products(dmixed, s_.D, line, v_bh, token(), row, s_.query_columns, s_.key_columns, s_.key_rows,
                       s_.D, dcolumns);
    float* dv_bh = dv.data() + (v_bh - v.data());
    for (std::int64_t s = 0; s < s_.key_rows; ++s)  // columns transposed
      row_mix().mix(columns_.data() + h * columns_size(), 1, s_.key_columns, s_.key_columns, s_.query_columns,
                    dmixed + s * line, s_.D, s_.D, dv_bh + s * row, token());
  }

  Tensor sum_samples(const Tensor& parts, const Shape& shape) const {
    Tensor sum = Tensor::zeros(shape);
    row_ops().sum_rows(parts.data(), nullptr, s_.B, shape.numel(), sum.data());
    return sum;
  }

  SeparableSizes s_;
  Tensor rows_, columns_;  // the two softmaxes
};

}  // namespace

Var separable_softmax(const Context& ctx, const Var& row_scores, const Var& column_scores, const Var& v) {
  const SeparableSizes sizes = sizes_of(row_scores, column_scores, v);
  const ProfileScope scope(kSeparableSoftmaxOp);
  const Separable op(sizes, softmax_forward(row_scores.value()), softmax_forward(column_scores.value()));
  Tensor out = op.forward(v.value());
  return ctx.record({row_scores, column_scores, v}, std::move(out),
                    [op, row_scores, column_scores, v](const Tensor& dout) {
                      op.backward(row_scores, column_scores, v, dout);
                    });
}

Var gated_sum(const Context& ctx, const Var& a, const Var& b, const Var& gate) {
  const Shape shape = a.shape();
  if (b.shape() != shape || shape.rank() != 3 || gate.shape().rank() != 1 || gate.dim(0) < 1 ||
      shape[2] % gate.dim(0) != 0)
    fail("gated_sum",
         "{} and {} are not mixed by a gate of shape {}; they must be (B, N, H D), twice, and (H)",
         shape.str(), b.shape().str(), gate.shape().str());
  const std::int64_t width = shape[2], rows = shape[0] * shape[1], D = width / gate.dim(0);
  Tensor weights({width});  // sigmoid(gate), a number per channel
  for (std::int64_t c = 0; c < width; ++c) weights[c] = 1.0f / (1.0f + std::exp(-gate.value()[c / D]));
  // y = x + weights (z - x) a row; z null: zeros.
  const auto mix_rows = [=](const float* x, const float* z, float* y) {
    parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin * width; r < end * width; r += width)
        for (std::int64_t c = 0; c < width; ++c)
          y[r + c] = x[r + c] + weights[c] * ((z != nullptr ? z[r + c] : 0.0f) - x[r + c]);
    });
  };
  Tensor out(shape);
  mix_rows(a.value().data(), b.value().data(), out.data());
  return ctx.record({a, b, gate}, std::move(out), [=](const Tensor& dout) {
    if (a.requires_grad()) {
      Tensor da(shape);
      mix_rows(dout.data(), nullptr, da.data());
      a.accumulate(std::move(da));
    }
    if (b.requires_grad()) {
      Tensor db(shape);
      parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
        row_ops().scale_rows(dout.data() + begin * width, weights.data(), nullptr, end - begin, width,
                             db.data() + begin * width);
      });
      b.accumulate(std::move(db));
    }
    if (!gate.requires_grad()) return;
    // d sigmoid = sigmoid (1 - sigmoid); sums per channel first, then over the channels of a head.
    const float *x = a.value().data(), *z = b.value().data();
    const Tensor sums = reduce_rows(rows, width, [&](std::int64_t begin, std::int64_t end, float* piece) {
      for (std::int64_t r = begin * width; r < end * width; r += width)
        for (std::int64_t c = 0; c < width; ++c) piece[c] += dout[r + c] * (z[r + c] - x[r + c]);
    });
    Tensor dgate = Tensor::zeros(gate.shape());
    for (std::int64_t c = 0; c < width; ++c) dgate[c / D] += sums[c];
    for (std::int64_t h = 0; h < gate.dim(0); ++h) dgate[h] *= weights[h * D] * (1.0f - weights[h * D]);
    gate.accumulate(std::move(dgate));
  });
}

}  // namespace locant
