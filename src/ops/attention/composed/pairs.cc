#include "ops/attention/composed/pairs.h"

#include "core/parallel.h"
#include "kernels/row_ops.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;

void add_row(float* to, const float* from, float scale, std::int64_t n) {
  if (scale == 1.0f) return row_ops().add(to, from, 1.0f, n, to);
  for (std::int64_t j = 0; j < n; ++j) to[j] += scale * from[j];
}

}  // namespace

std::vector<std::int32_t> pair_rows(const Inputs& in, const OffsetMap& map) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(in.Nq * in.Nk));
  parallel_for(in.Nq, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      for (std::int64_t j = 0; j < in.Nk; ++j) {
        const std::int64_t offset = std::int64_t{map.query_code[static_cast<std::size_t>(i)]} -
                                    map.key_code[static_cast<std::size_t>(j)] + map.origin;
        rows[static_cast<std::size_t>(i * in.Nk + j)] =
            map.map.empty() ? static_cast<std::int32_t>(offset) : map.map[static_cast<std::size_t>(offset)];
      }
  });
  return rows;
}

Tensor read_pairs(const Inputs& in, const Tensor& table, const OffsetMap& map, float nothing) {
  const std::vector<std::int32_t> rows = pair_rows(in, map);
  Tensor pairs({in.H, in.Nq, in.Nk});
  parallel_for(in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> column(static_cast<std::size_t>(table.dim(0)));  // of one head
    for (std::int64_t h = begin; h < end; ++h) {
      for (std::size_t r = 0; r < column.size(); ++r)
        column[r] = table[static_cast<std::int64_t>(r) * in.H + h];
      float* to = pairs.data() + h * in.Nq * in.Nk;
      for (const std::int32_t row : rows) *to++ = row >= 0 ? column[static_cast<std::size_t>(row)] : nothing;
    }
  });
  return pairs;
}

Tensor read_pairs_gradient(const Inputs& in, const Tensor& dpairs, const Shape& table, const OffsetMap& map) {
  const std::vector<std::int32_t> rows = pair_rows(in, map);
  Tensor dtable(table);
  parallel_for(in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h) {
      std::vector<float> column(static_cast<std::size_t>(table[0]));
      const float* from = dpairs.data() + h * in.Nq * in.Nk;
      for (const std::int32_t row : rows) {
        if (row >= 0) column[static_cast<std::size_t>(row)] += *from;
        ++from;
      }
      for (std::size_t r = 0; r < column.size(); ++r)
        dtable[static_cast<std::int64_t>(r) * in.H + h] = column[r];
    }
  });
  return dtable;
}

void add_pairs(const Inputs& in, const Tensor& pairs, const std::vector<float>& scale, Tensor& scores) {
  const auto [batch, group, head, row] = dense_strides(in, pairs.shape(), "a dense term");
  const std::array<std::int64_t, 4> stride = {batch, group, head, row};
  each_tile(in, [&](std::int64_t p, std::int64_t h) {
    const std::int64_t g = p / in.H % in.G, b = p / (in.H * in.G);
    const float* from = pairs.data() + b * stride[0] + g * stride[1] + h * stride[2];
    float* to = scores.data() + p * in.Nq * in.Nk;
    const float s = scale[static_cast<std::size_t>(h)];
    if (stride[3] == in.Nk) return add_row(to, from, s, in.Nq * in.Nk);
    for (std::int64_t i = 0; i < in.Nq; ++i) add_row(to + i * in.Nk, from + i * stride[3], s, in.Nk);
  });
}

// Sums of dscores over what shares an entry.
Tensor pairs_gradient(const Inputs& in, const Shape& shape, const std::vector<float>& scale,
                      const Tensor& dscores) {
  const std::array<std::int64_t, 4> stride = dense_strides(in, shape, "a dense term");
  Tensor dpairs = Tensor::zeros(shape);
  const std::int64_t H = stride[2] != 0 ? in.H : 1;  // heads with entries of their own go side by side
  parallel_for(H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = 0; p < in.B * in.G * in.H; ++p) {
      const std::int64_t h = p % in.H, g = p / in.H % in.G, b = p / (in.H * in.G);
      if (H > 1 && (h < begin || h >= end)) continue;
      float* to = dpairs.data() + b * stride[0] + g * stride[1] + h * stride[2];
      const float* from = dscores.data() + p * in.Nq * in.Nk;
      for (std::int64_t i = 0; i < in.Nq; ++i)
        add_row(to + i * stride[3], from + i * in.Nk, scale[static_cast<std::size_t>(h)], in.Nk);
    }
  });
  return dpairs;
}

void each_tile(const Inputs& in, const std::function<void(std::int64_t, std::int64_t)>& body) {
  parallel_for(in.B * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t bh = begin; bh < end; ++bh)
      for (std::int64_t g = 0; g < in.G; ++g) body((bh / in.H * in.G + g) * in.H + bh % in.H, bh % in.H);
  });
}

}  // namespace locant
