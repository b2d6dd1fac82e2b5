#include "ops/attention/composed/masks.h"

#include <limits>

#include "core/parallel.h"
#include "kernels/attention_dropout.h"
#include "kernels/row_ops.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;

bool in_box(const RowMaps& maps, const std::int32_t* box, std::int64_t j) {
  const std::int64_t cell = j - maps.box_first_key;
  if (cell < 0) return true;
  const std::int64_t row = cell / maps.box_columns, column = cell % maps.box_columns;
  return box[0] <= row && row < box[1] && box[2] <= column && column < box[3];
}

// All masks but the dense one.
bool visible(const Inputs& in, std::int64_t b, std::int64_t g, std::int64_t i, std::int64_t j) {
  const AttentionOptions& o = in.options;
  if (!o.key_lengths.empty() && j >= o.key_lengths[static_cast<std::size_t>(b)]) return false;
  if (o.visibility.causal) {
    const std::int64_t behind = i + o.visibility.causal_offset - j;
    if (behind < 0 || (o.visibility.causal_span > 0 && behind >= o.visibility.causal_span)) return false;
  }
  const std::int64_t query = g * in.Nq + i, key = g * in.Nk + j;
  if (in.query_region() != nullptr && in.query_region()[query] != in.key_region()[key]) return false;
  if (in.query_box() != nullptr && !in_box(*o.rows, in.query_box() + query * 4, j)) return false;
  return in.key_rows() == nullptr || in.key_rows()[key] >= 0 || in.pads_are_keys();
}

bool masks_groups(const Inputs& in) {
  return in.query_region() != nullptr || in.query_box() != nullptr || in.key_rows() != nullptr;
}

}  // namespace

// One tile of 0 and -inf for all pairs (b, g, h) that see the same.
void add_composed_masks(const Inputs& in, Tensor& scores) {
  const AttentionVisibility& v = in.options.visibility;
  const bool lengths = !in.options.key_lengths.empty(), groups = masks_groups(in);
  if (!lengths && !groups && !v.causal && v.dense == nullptr) return;
  const std::uint8_t* dense = v.dense != nullptr ? v.dense->data() : nullptr;
  std::array<std::int64_t, 4> stride = {};
  if (dense != nullptr) stride = dense_strides(in, v.dense_shape, "the dense mask");
  const std::int64_t B = lengths || stride[0] != 0 ? in.B : 1, G = groups || stride[1] != 0 ? in.G : 1,
                     H = stride[2] != 0 ? in.H : 1, tile = in.Nq * in.Nk;
  Tensor mask({B, G, H, in.Nq, in.Nk});
  parallel_for(B * G * H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t b = p / (G * H), g = p / H % G, h = p % H;
      for (std::int64_t i = 0; i < in.Nq; ++i)
        for (std::int64_t j = 0; j < in.Nk; ++j) {
          const bool seen = visible(in, b, g, i, j) &&
                            (dense == nullptr ||
                             dense[b * stride[0] + g * stride[1] + h * stride[2] + i * stride[3] + j] != 0);
          mask[p * tile + i * in.Nk + j] = seen ? 0.0f : -std::numeric_limits<float>::infinity();
        }
    }
  });
  parallel_for(in.B * in.G * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t b = p / (in.G * in.H) % B, g = p / in.H % in.G % G, h = p % in.H % H;
      float* to = scores.data() + p * tile;
      row_ops().add(to, mask.data() + ((b * G + g) * H + h) * tile, 1.0f, tile, to);
    }
  });
}

void apply_composed_dropout(const Inputs& in, const AttentionDropout& dropout, Tensor& numbers) {
  if (dropout.p == 0.0f) return;
  const std::uint32_t threshold = dropout_threshold(dropout.p);
  const float kept = static_cast<float>(1.0 / (1.0 - static_cast<double>(dropout.p)));
  parallel_for(in.B * in.G * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      for (std::int64_t i = 0; i < in.Nq; ++i) {
        const std::uint32_t key = dropout_row_key(dropout.seed, p, i);
        float* row = numbers.data() + (p * in.Nq + i) * in.Nk;
        for (std::int64_t j = 0; j < in.Nk; ++j)
          row[j] = dropout_draw(key, j) >= threshold ? kept * row[j] : 0.0f;
      }
  });
}

}  // namespace locant
