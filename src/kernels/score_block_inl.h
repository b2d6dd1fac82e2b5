// Compiled once per instruction set: a block of scores, and how terms write to its rows.
#if defined(LOCANT_KERNELS_SCORE_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_SCORE_BLOCK_INL_H_
#undef LOCANT_KERNELS_SCORE_BLOCK_INL_H_
#else
#define LOCANT_KERNELS_SCORE_BLOCK_INL_H_
#endif

#include "kernels/attention_tile_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// A block of scores, base 2: row r is query slot i0 + r, column c key slot j0 + c.
struct Block {
  std::int64_t b = 0, g = 0, h = 0;
  std::int64_t i0 = 0, rows = 0, j0 = 0, keys = 0;
  float* scores = nullptr;
  std::int64_t row = 0;    ///< floats from one row to the next; a vector may be written behind the last key
  float* spare = nullptr;  ///< Plan::term_scratch floats
  bool first = true;       ///< the first of the blocks with these queries: terms pack what they need of them
  int part = -1;           ///< backward: which of the chunk's two shared heads this is (ChunkGrads::dq)
};

/// Token rows of slots of the block's group; negative: a padding slot.
HWY_INLINE std::int64_t query_row(const AttentionArgs& a, const Block& block, std::int64_t i) {
  return a.query_rows != nullptr ? a.query_rows[block.g * a.Nq + i] : block.g * a.Nq + i;
}
HWY_INLINE std::int64_t key_row(const AttentionArgs& a, const Block& block, std::int64_t j) {
  return a.key_rows != nullptr ? a.key_rows[block.g * a.Nk + j] : block.g * a.Nk + j;
}

HWY_INLINE float head_scale(const ScoreTerm& term, std::int64_t h) {
  return term.head_scale != nullptr ? term.head_scale[h] : 1.0f;
}

/// Where the gradient of token row `row`, query (or key) slot `slot` of `slots`, is added to; null: not
/// wanted.
HWY_INLINE float* grad_row(const RowGrad& grad, const Block& block, std::int64_t slots, std::int64_t slot,
                           std::int64_t row) {
  if (grad.data == nullptr) return nullptr;
  if (block.part >= 0 && grad.parts[static_cast<std::size_t>(block.part)] != nullptr)
    return grad.parts[static_cast<std::size_t>(block.part)] + slot * grad.width;
  return grad.data + block.b * grad.batch_stride + block.h * grad.head_stride +
         (grad.by_slot ? block.g * slots + slot : row) * grad.row_stride;
}

/// to[0..count) = or += make(c), a vector from column c on. A put may write a vector behind the last column.
template <bool kAdd, class Make>
HWY_INLINE void write_run(float* to, std::int64_t count, const Make& make) {
  const Floats d;
  for (std::int64_t c = 0; c < count; c += kLanes) {
    Vec x = make(c);
    if (kAdd) {
      if (count - c < kLanes) x = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(count - c)), x);
      x = hn::Add(hn::LoadU(d, to + c), x);
    }
    hn::StoreU(x, d, to + c);
  }
}

/// to[0..count) += factor * from[0..count)
HWY_INLINE void add_scaled(const float* from, float factor, std::int64_t count, float* to) {
  const Floats d;
  const Vec scale = hn::Set(d, factor);
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes)
    hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, from + c), hn::LoadU(d, to + c)), d, to + c);
  for (; c < count; ++c) to[c] += factor * from[c];
}

/// The first `count` < kLanes floats, zeros behind them; reads no further.
HWY_INLINE Vec load_part(const float* from, std::int64_t count) {
  const Floats d;
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, from);
#else
  HWY_ALIGN float lanes[kLanes] = {};
  for (std::int64_t x = 0; x < count; ++x) lanes[x] = from[x];
  return hn::Load(d, lanes);
#endif
}

/// to[0..count) = factor * from[0..count), and zeros to the end of the last vector.
HWY_INLINE void copy_scaled(const float* from, float factor, std::int64_t count, float* to) {
  const Floats d;
  const Vec scale = hn::Set(d, factor);
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) hn::StoreU(hn::Mul(scale, hn::LoadU(d, from + c)), d, to + c);
  if (c < count) hn::StoreU(hn::Mul(scale, load_part(from + c, count - c)), d, to + c);
}

/// Calls body(code, column, count) for each part of the runs that lies in slots [slot, slot + slots), columns
/// counted from `slot`; `run` is first_run(runs, slot).
template <class Body>
HWY_INLINE void for_runs(const CodeRun* run, const std::vector<CodeRun>& runs, std::int64_t slot,
                         std::int64_t slots, const Body& body) {
  const CodeRun* last = runs.data() + runs.size();
  for (; run != last && run->slot < slot + slots; ++run) {
    const std::int64_t begin = std::max<std::int64_t>(run->slot, slot);
    const std::int64_t end = std::min<std::int64_t>(run->slot + run->count, slot + slots);
    body(run->code + (begin - run->slot), begin - slot, end - begin);
  }
}
template <class Body>
HWY_INLINE void for_runs(const std::vector<CodeRun>& runs, const Block& block, const Body& body) {
  for_runs(first_run(runs, block.j0), runs, block.j0, block.keys, body);
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
