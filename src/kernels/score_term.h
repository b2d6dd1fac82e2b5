#pragma once

#include <array>
#include <cstdint>
#include <variant>

namespace locant {

/// Which number of a table a pair of slots reads:
///   offset(i, j) = query_code[i] - key_code[j] + origin, in [0, offsets);   index = map[offset], or offset.
/// With code = row * (2W - 1) + column the offset runs over all (2H-1)(2W-1) displacements: no index per pair
/// exists. Special tokens get codes outside the grid's range and map entries of their own. A negative map
/// entry reads nothing and has no gradient. Codes belong to slots, and are the same for every group.
struct OffsetView {
  const std::int32_t* query_code = nullptr;  ///< (Nq)
  const std::int32_t* key_code = nullptr;    ///< (Nk)
  std::int32_t origin = 0;
  const std::int32_t* map = nullptr;  ///< (offsets), or null: the identity
  std::int64_t offsets = 0;           ///< number of offsets; without a map also the number of table rows
  std::int64_t table_rows = 0;        ///< index runs over [0, table_rows)
  bool checked = false;               ///< the caller knows that all this fits: it is not read through again
};

/// Which side a table of numbers or vectors meets.
enum class Side { query, key };

/// A number per head and index: score += table[index * row_stride + h * head_stride]. Swin, BEiT, LeViT, T5,
/// ALiBi, 1-D to 3-D grids; where codes are positions this is a plain diagonal.
struct GatherTerm {
  OffsetView offset = {};
  const float* table = nullptr;
  float* dtable = nullptr;  ///< backward: += gradient, laid out as the table; may be null
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
};

/// Numbers that belong to a token row, one per index: score += table[b * batch_stride + row * row_stride +
/// h * head_stride + index], where `row` is the token row of the query slot, or of the key slot. Contextual
/// iRPE, Shaw and DeBERTa with few buckets: the numbers are q_i.T[index] or k_j.T[index], made beforehand.
/// A key slot without a row reads nothing.
struct BucketTerm {
  OffsetView offset = {};
  Side side = Side::query;
  const float* table = nullptr;
  float* dtable = nullptr;  ///< += gradient, laid out as the table; may be null
  std::int64_t batch_stride = 0, row_stride = 0, head_stride = 0;
};

/// A vector per index, met by the query or the key tile by tile: score += scale q_i.vectors[index] or scale
/// k_j.vectors[index], vectors at index * row_stride + h * head_stride, D floats each. `scale` is that of the
/// call. Transformer-XL, Music Transformer, Conformer, Huang 4, Axial-DeepLab, a joint 2-D table: what would
/// be Nq x (Nq + Nk) numbers if it were made beforehand. A key slot without a row reads nothing.
struct BandTerm {
  OffsetView offset = {};
  Side side = Side::query;
  const float* vectors = nullptr;
  float* dvectors = nullptr;  ///< += gradient, laid out as the vectors; may be null
  std::int64_t row_stride = 0, head_stride = 0;
};

/// Numbers that belong to a query's token row, one per row and per column of the key grid (and per frame):
///   score += sum over axes a of tables[a][b * batch_stride[a] + row * row_stride[a] + h * head_stride[a] +
///   coordinate_a(j - first_key)],
/// keys from first_key on in row-major order of extents, the last axis fastest. Axes that are not used have
/// extent 1 and a null table. Keys before first_key get nothing. SAM, ViTDet, MViTv2, BoTNet, HaloNet.
struct AxisTerm {
  std::array<std::int64_t, 3> extents = {1, 1, 1};  ///< frames, rows, columns
  std::array<const float*, 3> tables = {};
  std::array<float*, 3> dtables = {};  ///< += gradient, laid out as the tables; may be null
  std::array<std::int64_t, 3> batch_stride = {}, row_stride = {}, head_stride = {};
  std::int64_t first_key = 0;
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
  std::variant<GatherTerm, BucketTerm, BandTerm, AxisTerm, DenseTerm> term = {};
  const float* head_scale = nullptr;
  float* dhead_scale = nullptr;  ///< (H) backward: += gradient; may be null
};

/// A vector per index, added to the values: out_i += sum_j P_ij vectors[index], vectors at index * row_stride
/// + h * head_stride, Dv floats each. The kernel sums probabilities per index and multiplies once. Shaw
/// values, iRPE on v, Axial-DeepLab.
struct ValueTerm {
  OffsetView offset = {};
  const float* vectors = nullptr;
  float* dvectors = nullptr;  ///< += gradient, laid out as the vectors; may be null
  std::int64_t row_stride = 0, head_stride = 0;
};

}  // namespace locant
