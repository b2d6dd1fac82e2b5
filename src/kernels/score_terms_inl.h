// Compiled once per instruction set: what terms and masks do to the scores of a block, and the terms'
// gradients.
#if defined(LOCANT_KERNELS_SCORE_TERMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_SCORE_TERMS_INL_H_
#undef LOCANT_KERNELS_SCORE_TERMS_INL_H_
#else
#define LOCANT_KERNELS_SCORE_TERMS_INL_H_
#endif

#include "kernels/attention_tile_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// A block of scores, base 2: row r is query slot i0 + r, column c key slot j0 + c.
struct Block {
  std::int64_t b = 0, g = 0, h = 0;
  std::int64_t i0 = 0, rows = 0, j0 = 0, keys = 0;
  float* scores = nullptr;
  std::int64_t row = 0;  ///< floats from one row to the next
};

/// to[0..count) += factor * from[0..count)
HWY_INLINE void add_scaled(const float* from, float factor, std::int64_t count, float* to) {
  const Floats d;
  const Vec scale = hn::Set(d, factor);
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes)
    hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, from + c), hn::LoadU(d, to + c)), d, to + c);
  for (; c < count; ++c) to[c] += factor * from[c];
}

/// Calls body(values, column, count) for each part of the term's key runs that lies in columns [j0, j0 +
/// keys).
template <class Body>
HWY_INLINE void for_runs(const GatherTable& table, const Block& block, const Body& body) {
  const auto ends_before = [](const KeyRun& run, std::int64_t j) { return run.j + run.count <= j; };
  auto run = std::lower_bound(table.runs.begin(), table.runs.end(), block.j0, ends_before);
  for (; run != table.runs.end() && run->j < block.j0 + block.keys; ++run) {
    const std::int64_t begin = std::max<std::int64_t>(run->j, block.j0);
    const std::int64_t end = std::min<std::int64_t>(run->j + run->count, block.j0 + block.keys);
    body(run->code + (begin - run->j), begin - block.j0, end - begin);
  }
}

/// scores += log2 e * head_scale * term
inline void add_term(const LooseTerm& loose, const Block& block) {
  if (const auto* dense = std::get_if<DenseTerm>(&loose.term->term)) {
    const float factor =
        kLog2e * (loose.term->head_scale != nullptr ? loose.term->head_scale[block.h] : 1.0f);
    const float* bias = dense->bias + block.b * dense->batch_stride + block.g * dense->group_stride +
                        block.h * dense->head_stride + block.i0 * dense->row_stride + block.j0;
    for (std::int64_t r = 0; r < block.rows; ++r)
      add_scaled(bias + r * dense->row_stride, factor, block.keys, block.scores + r * block.row);
    return;
  }
  const auto& gather = std::get<GatherTerm>(loose.term->term);
  const float* values = loose.gather.values.get() + block.h * loose.gather.padded + loose.gather.shift;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const float* from = values - gather.offset.query_code[block.i0 + r];
    float* to = block.scores + r * block.row;
    for_runs(loose.gather, block, [&](std::int64_t code, std::int64_t column, std::int64_t count) HWY_ATTR {
      add_scaled(from + code, 1.0f, count, to + column);
    });
  }
}

/// Adds the gradient of the term: the block holds dS.
inline void add_term_grad(const LooseTerm& loose, const LooseGrad& grad, const Block& block) {
  if (grad.data == nullptr) return;
  float* to =
      grad.data + block.b * grad.batch_stride + block.g * grad.group_stride + block.h * grad.head_stride;
  if (std::holds_alternative<DenseTerm>(loose.term->term)) {
    const float factor = loose.term->head_scale != nullptr ? loose.term->head_scale[block.h] : 1.0f;
    for (std::int64_t r = 0; r < block.rows; ++r)
      add_scaled(block.scores + r * block.row, factor, block.keys,
                 to + (block.i0 + r) * grad.row_stride + block.j0);
    return;
  }
  const auto& gather = std::get<GatherTerm>(loose.term->term);
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const float* from = block.scores + r * block.row;
    float* values = to + loose.gather.shift - gather.offset.query_code[block.i0 + r];
    for_runs(loose.gather, block, [&](std::int64_t code, std::int64_t column, std::int64_t count) HWY_ATTR {
      add_scaled(from + column, 1.0f, count, values + code);
    });
  }
}

/// -inf where the regions differ; `query` and `key` are the group's regions.
inline void mask_regions(const std::int32_t* query, const std::int32_t* key, const Block& block) {
  const Floats d;
  const Ints di;
  const Vec hidden = hn::Set(d, -HUGE_VALF);
  key += block.j0;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int32_t region = query[block.i0 + r];
    const auto wanted = hn::Set(di, region);
    float* to = block.scores + r * block.row;
    std::int64_t c = 0;
    for (; c + kLanes <= block.keys; c += kLanes) {
      const auto same = hn::RebindMask(d, hn::Eq(wanted, hn::LoadU(di, key + c)));
      hn::Store(hn::IfThenElse(same, hn::Load(d, to + c), hidden), d, to + c);
    }
    for (; c < block.keys; ++c)
      if (key[c] != region) to[c] = -HUGE_VALF;
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
