#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_band.h"
#include "kernels/attention_check.h"
#include "kernels/attention_code_runs.h"

/// The parts of the fused kernel that know no instruction set: block sizes, prepared terms, the split over
/// threads, partial gradients. The code per instruction set (attention_inl.h) sees this header and nothing
/// else.
namespace locant::fused {

inline constexpr std::int64_t kTileRows = 6;  ///< rows of a register tile
inline constexpr float kLog2e = 1.44269504088896340736f;
inline constexpr float kLn2 = 0.693147180559945309417f;

/// Blocks of no plan are larger; what has room for these holds any block.
inline constexpr std::int64_t kMaxQueryBlock = 192, kMaxKeyBlock = 512;

/// Floats rounded up so that everything behind them stays on 64-byte lines.
constexpr std::int64_t line_up(std::int64_t floats) { return (floats + 15) / 16 * 16; }
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Vector width of an instruction set, in floats, and how many vectors a register tile is wide.
struct VectorShape {
  std::int64_t lanes = 1;
  std::int64_t tile_vectors = 1;
  std::int64_t panel() const { return lanes * tile_vectors; }
};

/// A gather term ready to read: its table per head in the order of key codes, so that runs of keys are runs
/// of memory: score(h, i, j) += values[h * padded + shift - query_code[i] + key_code[j]]. Head scale and log2
/// e are in the values.
struct GatherTable {
  std::shared_ptr<float> values;  ///< (H, padded)
  std::int64_t offsets = 0, padded = 0, shift = 0;
  std::vector<CodeRun> runs;
};

/// A bucket term's map in the order of the other side's codes: a slot with code c and slot j of the other
/// side read number indices[shift - c + other_code[j]] of the row; `width` where the map is negative. The
/// other side of a query's row is the keys, of a key's the queries.
struct BucketTable {
  std::vector<std::int32_t> indices;  ///< (offsets), and a vector of zeros, which readers may run into
  std::int64_t shift = 0, width = 0;
  std::vector<CodeRun> runs;  ///< of the other side

  /// A row of numbers in scratch: `width` of them, and at least one zero for pairs that read nothing.
  std::int64_t padded() const {
    for (const std::int64_t few : {32, 64})  // what lookups load whole
      if (width < few) return few;
    return line_up(width + 1);
  }
};

/// Floats of a key's numbers for a block of queries.
constexpr std::int64_t bucket_strip_row(std::int64_t query_block) { return line_up(query_block) + 16; }

/// A term that is added to the scores of a block when they have been made.
struct LooseTerm {
  const ScoreTerm* term = nullptr;
  GatherTable gather;        ///< of a gather term
  BucketTable bucket;        ///< of a bucket term
  std::int64_t scratch = 0;  ///< where its part of the scratch begins, Plan::term_scratch in all
};

/// Where a chunk of work adds the gradient of a loose term: strides of its axes in floats, 0 where shared.
/// A gather term's is (H, padded), head scale not yet applied.
struct LooseGrad {
  float* data = nullptr;
  std::int64_t batch_stride = 0, group_stride = 0, head_stride = 0, row_stride = 0;
};

/// Where a chunk adds the gradient of a table whose rows belong to token rows. Rows that one chunk alone adds
/// to are the caller's; what chunks share they keep privately.
struct RowGrad {
  float* data = nullptr;  ///< null: not wanted
  std::int64_t batch_stride = 0, row_stride = 0, head_stride = 0;
  bool by_slot = false;    ///< private: rows are those of the slots, g * slots + slot, not the tokens'
  std::int64_t width = 0;  ///< numbers a row
  /// (Nq, width), instead of `data`, of a head that other chunks work on too: as ChunkGrads::dq.
  std::array<float*, 2> parts = {};
};

/// Floats of scratch a query for an axis term: columns and a number for every row, a vector behind each.
constexpr std::int64_t axis_scratch(std::int64_t wide, std::int64_t high) {
  return line_up(wide + 16) + line_up(high + 16);
}

/// One allocation from the pool, cut into line-aligned parts.
class Scratch {
 public:
  /// Asks for `count` floats at *where, set by allocate().
  void reserve(float** where, std::int64_t count);
  void allocate();

 private:
  std::vector<std::pair<float**, std::int64_t>> parts_;
  std::int64_t total_ = 0;
  std::shared_ptr<float> memory_;
};

struct Plan {
  const AttentionArgs* args = nullptr;
  VectorShape shape;
  std::int64_t d_pad = 0, dv_pad = 0, nk_pad = 0;  ///< D, Dv, Nk in whole vectors
  std::int64_t query_block = 0, query_blocks = 0;  ///< forward: rows of a tile, tiles of a head
  std::int64_t key_block = 0, key_blocks = 0;      ///< keys scored at once; a multiple of the panel
  int chunks = 1;                                  ///< shares of the work, at most one a thread
  bool prefetch = false;  ///< heads are so small that the next one fits beside this one

  /// Sum of the terms that are the same for every batch and group, times log2 e, (H, Nq, nk_pad); columns
  /// beyond Nk are -inf. Null: none, or too large to be made.
  std::shared_ptr<float> tile;
  std::vector<const ScoreTerm*> tile_terms;
  std::vector<LooseTerm> loose;
  std::int64_t term_scratch = 0;  ///< floats that the loose terms need beside a block

  bool masks_pairs = false;  ///< a causal, box or dense mask
  BandPlan bands;

  /// Per group: 1 where slots of different regions meet; empty without a region mask.
  std::vector<std::uint8_t> mixed_regions;

  std::int64_t units() const { return args->B * args->G * args->H; }
};

Plan plan_forward(const AttentionArgs& args, VectorShape shape);

/// What one chunk of the backward adds to privately; reduced in the order of chunks.
struct ChunkGrads {
  std::shared_ptr<float> memory;
  float* dtile = nullptr;  ///< (H, Nq, nk_pad), no head scale
  std::array<LooseGrad, kMaxTerms> loose;
  std::array<std::array<RowGrad, 3>, kMaxTerms> rows;  ///< of loose bucket (one) and axis terms
  std::array<float*, kMaxTerms> dhead_scale =
      {};  ///< (H) of loose terms that are no gather; null: not wanted
  float *dkey_pad = nullptr, *dvalue_pad = nullptr;
  BandGrads bands;
  /// dq (Nq, d_pad) of a head that other chunks work on too: the first of the chunk's heads, and the last.
  std::array<float*, 2> dq = {};
  std::array<std::int64_t, 2> dq_unit = {-1, -1};
};

/// Work items are (head, key block), a head's in a row. Where key slots share rows, the groups of a (batch,
/// head) stay in one chunk, one after the other, and add.
struct BackwardPlan : Plan {
  const AttentionGradArgs* grads = nullptr;
  bool shared_keys = false;
  bool wants_dtile = false;
  std::vector<ChunkGrads> chunk_grads;

  std::int64_t items() const { return units() * key_blocks; }
  std::int64_t chunk_begin(std::int64_t chunk) const {
    const std::int64_t together = shared_keys ? args->G * key_blocks : 1;
    return items() / together * chunk / chunks * together;
  }
  /// Number b*G*H + g*H + h of the head that work item `item` belongs to.
  std::int64_t unit_of(std::int64_t item) const;
};

BackwardPlan plan_backward(const AttentionGradArgs& args, VectorShape shape);
/// Allocates and clears what chunk `chunk` adds to; called by the thread that works on it.
void start_chunk(BackwardPlan& plan, std::int64_t chunk);
/// Sums the chunks' partial gradients into the caller's buffers.
void reduce_chunks(BackwardPlan& plan);

using Reserve = std::function<void(float** where, std::int64_t count)>;

/// The parts of the above for terms whose tables belong to token rows, and for head scales
/// (attention_row_terms.cc). `split` tells which of the chunk's first and last head others work on too.
void prepare_row_term(const AttentionArgs& args, LooseTerm& loose);
std::int64_t row_term_scratch(const Plan& plan, const LooseTerm& loose);
void start_row_grads(const BackwardPlan& plan, std::size_t t, std::array<bool, 2> split,
                     const Reserve& reserve, ChunkGrads& grads);
void reduce_row_grads(const BackwardPlan& plan, std::size_t t);
void reduce_head_scale(const BackwardPlan& plan, std::size_t t);

/// The kernel compiled for one instruction set.
struct Kernel {
  VectorShape shape;
  void (*forward)(const Plan& plan, std::int64_t begin, std::int64_t end);  ///< items: (head, query block)
  void (*backward)(const BackwardPlan& plan, std::int64_t chunk);
  void (*pack_bands)(const Plan& plan, std::int64_t begin,
                     std::int64_t end);  ///< items: BandPlan::pack_items
};
/// Null when this build lacks it.
const Kernel* kernel_sse4();
const Kernel* kernel_avx2();
const Kernel* kernel_avx512();

}  // namespace locant::fused
