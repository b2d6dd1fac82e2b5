// Compiled once per instruction set: dropout of a block of probabilities (kernels/attention_dropout.h).
#if defined(LOCANT_KERNELS_ATTENTION_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_DROPOUT_INL_H_
#undef LOCANT_KERNELS_ATTENTION_DROPOUT_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_DROPOUT_INL_H_
#endif

#include "kernels/attention_dropout.h"
#include "kernels/score_block_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

using Words = hn::RebindToUnsigned<Floats>;
using WordVec = hn::Vec<Words>;

/// dropout_mix of each lane.
HWY_INLINE WordVec mix_lanes(WordVec x) {
  const Words d;
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(d, 0x85EBCA6BU));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(d, 0xC2B2AE35U));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

/// rows *= K: what is dropped becomes zero, the rest grows by 1 / (1 - p).
inline void drop_block(const AttentionArgs& a, const Block& block) {
  const Floats d;
  const Words words;
  constexpr std::uint32_t kStep = 0x9E3779B9U;  // of dropout_draw
  const auto threshold = hn::Set(words, dropout_threshold(a.dropout.p));
  const Vec keep = hn::Set(d, static_cast<float>(1.0 / (1.0 - static_cast<double>(a.dropout.p))));
  const auto step = hn::Set(words, kStep * static_cast<std::uint32_t>(kLanes));
  const auto start = hn::Mul(hn::Iota(words, static_cast<std::uint32_t>(block.j0)), hn::Set(words, kStep));
  const std::int64_t unit = (block.b * a.G + block.g) * a.H + block.h;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const auto key = hn::Set(words, dropout_row_key(a.dropout.seed, unit, block.i0 + r));
    float* row = block.scores + r * block.row;
    auto counter = start;
    for (std::int64_t c = 0; c < block.keys; c += kLanes, counter = hn::Add(counter, step)) {
      const auto draw = mix_lanes(hn::Xor(key, counter));
      const auto kept = hn::RebindMask(d, hn::Eq(hn::Max(draw, threshold), draw));
      hn::Store(hn::IfThenElseZero(kept, hn::Mul(keep, hn::Load(d, row + c))), d, row + c);
    }
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
