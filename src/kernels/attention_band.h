#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_code_runs.h"

/// What the plan of the fused kernel knows about bands of vectors (BandTerm, ValueTerm) and about the factor.
/// Everything is laid out by position: numbers of offsets in such an order that, for one slot of the row
/// side, runs of slots of the column side are runs of memory.
namespace locant::fused {

struct Plan;
struct BackwardPlan;
struct ChunkGrads;

/// Positions of a panel of packed columns.
inline constexpr std::int64_t kBandPanel = 64;

/// position(row, column) = column code - row code + shift, in [0, positions). Rows are query slots and
/// columns key slots, or the other way round. Codes are those of the caller, or their negatives; those of a
/// grid have been drawn apart so that its rows start on registers.
struct BandCodes {
  std::vector<std::int32_t> row_code;
  std::vector<CodeRun> runs;  ///< of the column slots
  std::int64_t shift = 0, positions = 0;
  std::vector<std::int32_t> offset_of;  ///< (positions); negative: no pair has this position
  /// Where both sides are grids: slots of their rows, and what lies between the codes of a row and the next.
  std::int64_t row_length = 0, column_length = 0, step = 0;
};

/// Vectors of a band or of a value term, ready to multiply by. Packed vector x is that of position x or, with
/// `index`, row x of the table; `index` then gives the packed vector of each position (`packed` of them:
/// none).
struct BandTable {
  BandCodes codes;
  OffsetView map;
  Side side = Side::query;
  const float *vectors = nullptr, *head_scale = nullptr;
  float *dvectors = nullptr, *dhead_scale = nullptr;
  std::int64_t row_stride = 0, head_stride = 0;
  std::int64_t width = 0, padded = 0, packed = 0;  ///< floats of a vector, in whole registers; vectors
  std::vector<std::int32_t> index;
  float factor = 1.0f;       ///< the packed vectors are this times head_scale times the caller's
  float grad_factor = 1.0f;  ///< what is summed is the gradient divided by this and by head_scale
  std::int64_t heads = 1;    ///< distinct ones: 1 or H
  std::int64_t panels = 0;
  bool as_columns = false, as_rows = false;  ///< scores are made from them; they are summed up
  std::shared_ptr<float> columns;  ///< (heads, panels, width, kBandPanel); may be null, see BandPlan
  std::shared_ptr<float> rows;     ///< (heads, packed, padded)

  bool wants_gradient() const { return dvectors != nullptr || dhead_scale != nullptr; }
  std::int64_t slot(std::int64_t h) const { return heads == 1 ? 0 : h; }
  std::int64_t columns_size() const { return as_columns ? panels * width * kBandPanel : 0; }
  std::int64_t rows_size() const { return as_rows ? packed * padded : 0; }
  float scale_of(std::int64_t h) const { return head_scale != nullptr ? head_scale[h] : 1.0f; }
  /// The caller's vector that packed vector x of head h is made from; null: zeros.
  const float* vector(std::int64_t x, std::int64_t h) const;
};

/// Numbers that multiply the products of a head, by position: (heads, padded).
struct FactorTable {
  BandCodes codes;
  const GatherTerm* term = nullptr;
  std::int64_t heads = 1, padded = 0;
  std::shared_ptr<float> values;

  std::int64_t slot(std::int64_t h) const { return heads == 1 ? 0 : h; }
};

/// All of a call. Nothing of it is touched by calls that have none.
struct BandPlan {
  std::vector<BandTable> scores;    ///< at most four
  std::vector<BandTable> value;     ///< at most one
  std::vector<FactorTable> factor;  ///< at most one

  /// Each share of the work packs the vectors of a head when it comes to it, and has room for one: they are
  /// then near. Else all are packed beforehand, once for all batches and groups.
  bool per_head = false;

  bool has_key_side() const;
  /// What blocks of at most `most` queries are best a multiple of: whole rows of a grid, or register tiles.
  std::int64_t row_unit(std::int64_t most) const;
  /// Panels that Kernel::pack_bands has to fill beforehand.
  std::int64_t pack_items() const;
};

/// Where a chunk of the backward adds gradients: one part for each head that it meets, which are `count` from
/// `first` on, counted round H.
struct BandGrads {
  std::int64_t first = 0, count = 0, H = 1;
  std::vector<float*> scores;  ///< per band (slots, packed, padded); null: not wanted
  float* value = nullptr;      ///< (slots, packed, padded)
  float* factor = nullptr;     ///< (slots, padded)

  std::int64_t slot(std::int64_t heads, std::int64_t h) const { return heads == 1 ? 0 : (h - first + H) % H; }
  std::int64_t slots(std::int64_t heads) const { return heads == 1 ? 1 : count; }
  bool meets(std::int64_t heads, std::int64_t h) const { return count > 0 && slot(heads, h) < slots(heads); }
};

/// Lays out what the call's bands, value term and factor need; Kernel::pack_bands fills it.
BandPlan plan_bands(const Plan& plan, bool backward);
/// Chooses who packs, and where; plan.chunks must be known.
void place_bands(const Plan& plan, BandPlan& bands);
/// Asks for the chunk's parts by `reserve(where, floats)`; cleared memory.
void reserve_band_grads(const BackwardPlan& plan, std::int64_t chunk, BandGrads& grads,
                        const std::function<void(float**, std::int64_t)>& reserve);
/// Sums the chunks' parts into the caller's buffers, in the order of chunks.
void reduce_bands(const BackwardPlan& plan);

}  // namespace locant::fused
