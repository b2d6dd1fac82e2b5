#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/attention.h"

/// The parts of the fused kernel that know no instruction set: block sizes, prepared terms, the split over
/// threads, partial gradients. The code per instruction set (attention_inl.h) sees this header and nothing
/// else.
namespace locant::fused {

inline constexpr std::int64_t kTileRows = 6;  ///< rows of a register tile
inline constexpr std::int64_t kMaxWidth = 256;
inline constexpr float kLog2e = 1.44269504088896340736f;
inline constexpr float kLn2 = 0.693147180559945309417f;

/// Floats rounded up so that everything behind them stays on 64-byte lines.
constexpr std::int64_t line_up(std::int64_t floats) { return (floats + 15) / 16 * 16; }
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Vector width of an instruction set, in floats, and how many vectors a register tile is wide.
struct VectorShape {
  std::int64_t lanes = 1;
  std::int64_t tile_vectors = 1;
  std::int64_t panel() const { return lanes * tile_vectors; }
};

/// Keys whose codes follow each other: key j + x has code `code + x`, for x < count.
struct KeyRun {
  std::int32_t j, code, count;
};

/// A gather term ready to read: its table per head in the order of key codes, so that runs of keys are runs
/// of memory: score(h, i, j) += values[h * padded + shift - query_code[i] + key_code[j]]. Head scale and log2
/// e are in the values.
struct GatherTable {
  std::shared_ptr<float> values;  ///< (H, padded)
  std::int64_t offsets = 0, padded = 0, shift = 0;
  std::vector<KeyRun> runs;
};

/// A term that is added to the scores of a block when they have been made.
struct LooseTerm {
  const ScoreTerm* term = nullptr;
  GatherTable gather;  ///< of a gather term
};

/// Where a chunk of work adds the gradient of a loose term: strides of its axes in floats, 0 where shared.
/// A gather term's is (H, padded), head scale not yet applied.
struct LooseGrad {
  float* data = nullptr;
  std::int64_t batch_stride = 0, group_stride = 0, head_stride = 0, row_stride = 0;
};

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

  /// Per group: 1 where slots of different regions meet; empty without a region mask.
  std::vector<std::uint8_t> mixed_regions;

  std::int64_t units() const { return args->B * args->G * args->H; }
};

Plan plan_forward(const AttentionArgs& args, VectorShape shape);

/// What one chunk of the backward adds to privately; reduced in the order of chunks.
struct ChunkGrads {
  std::shared_ptr<float> memory;
  float* dtile = nullptr;  ///< (H, Nq, nk_pad), no head scale
  std::array<LooseGrad, 4> loose;
  float *dkey_pad = nullptr, *dvalue_pad = nullptr;
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

/// The kernel compiled for one instruction set.
struct Kernel {
  VectorShape shape;
  void (*forward)(const Plan& plan, std::int64_t begin, std::int64_t end);  ///< items: (head, query block)
  void (*backward)(const BackwardPlan& plan, std::int64_t chunk);
};
/// Null when this build lacks it.
const Kernel* kernel_sse4();
const Kernel* kernel_avx2();
const Kernel* kernel_avx512();

}  // namespace locant::fused
