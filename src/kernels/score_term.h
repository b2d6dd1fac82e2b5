#pragma once

#include <cstdint>
#include <variant>

namespace locant {

/// A table entry per offset between query and key (Swin, BEiT, LeViT, 1-D to 3-D grids):
///   score(h, i, j) += table[index * row_stride + h * head_stride],
///   index = map[offset] if there is a map, else offset;   offset = query_code[i] - key_code[j] + origin.
/// With code = row * (2W - 1) + column the offset runs over all (2H-1)(2W-1) displacements: no index per pair
/// exists. Special tokens get codes outside the grid's range and map entries of their own. A negative map
/// entry adds nothing and has no gradient.
struct GatherTerm {
  const float* table = nullptr;
  float* dtable = nullptr;  ///< backward: += gradient, laid out as the table; may be null
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
  const std::int32_t* query_code = nullptr;  ///< (Nq)
  const std::int32_t* key_code = nullptr;    ///< (Nk)
  std::int32_t origin = 0;
  const std::int32_t* map = nullptr;  ///< (offsets), or null: the identity
  std::int64_t offsets = 0;           ///< number of offsets; without a map also the number of table rows
  std::int64_t table_rows = 0;        ///< rows of the table (for private gradients and checks)
};

/// A number per query and key: score(h, i, j) += bias[b*batch_stride + g*group_stride + h*head_stride +
/// i*row_stride + j]. Strides of 0 share it over that axis.
struct DenseTerm {
  const float* bias = nullptr;
  float* dbias = nullptr;  ///< backward: += gradient, same strides; may be null
  std::int64_t batch_stride = 0;
  std::int64_t group_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t row_stride = 0;
};

/// What may be added to the scores of a tile. `head_scale` (H) multiplies the term per head; null: 1.
struct ScoreTerm {
  std::variant<GatherTerm, DenseTerm> term = {};
  const float* head_scale = nullptr;
};

}  // namespace locant
