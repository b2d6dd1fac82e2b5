// Compiled once per instruction set: what terms do to the scores of a block, and the terms'
// gradients.
#if defined(LOCANT_KERNELS_SCORE_TERMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_SCORE_TERMS_INL_H_
#undef LOCANT_KERNELS_SCORE_TERMS_INL_H_
#else
#define LOCANT_KERNELS_SCORE_TERMS_INL_H_
#endif

#include "kernels/axis_term_inl.h"
#include "kernels/bucket_term_inl.h"
#include "kernels/score_block_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// scores = or += log2 e * head_scale * bias
template <bool kAdd>
inline void write_dense(const ScoreTerm& term, const Block& block) {
  const auto& dense = std::get<DenseTerm>(term.term);
  const Floats d;
  const float factor = kLog2e * head_scale(term, block.h);
  const Vec scale = hn::Set(d, factor);
  const float* bias = dense.bias + block.b * dense.batch_stride + block.g * dense.group_stride +
                      block.h * dense.head_stride + block.i0 * dense.row_stride + block.j0;
  for (std::int64_t r = 0; r < block.rows; ++r, bias += dense.row_stride) {
    float* to = block.scores + r * block.row;
    std::int64_t c = 0;
    for (; c + kLanes <= block.keys; c += kLanes) {
      const Vec x = hn::LoadU(d, bias + c);
      hn::StoreU(kAdd ? hn::MulAdd(scale, x, hn::LoadU(d, to + c)) : hn::Mul(scale, x), d, to + c);
    }
    for (; c < block.keys; ++c) to[c] = (kAdd ? to[c] : 0.0f) + factor * bias[c];
  }
}

/// scores = or += the term's prepared numbers, which a put may read a vector behind.
template <bool kAdd>
inline void write_gather(const LooseTerm& loose, const Block& block) {
  const Floats d;
  const auto& gather = std::get<GatherTerm>(loose.term->term);
  const float* values = loose.gather.values.get() + block.h * loose.gather.padded + loose.gather.shift;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const float* from = values - gather.offset.query_code[block.i0 + r];
    float* to = block.scores + r * block.row;
    for_runs(loose.gather.runs, block,
             [&](std::int64_t code, std::int64_t column, std::int64_t count) HWY_ATTR {
               write_run<kAdd>(to + column, count,
                               [&](std::int64_t c) HWY_ATTR { return hn::LoadU(d, from + code + c); });
             });
  }
}

/// scores = or += log2 e * head_scale * term
template <bool kAdd>
inline void write_term(const Plan& plan, const LooseTerm& loose, const Block& block) {
  if (std::holds_alternative<DenseTerm>(loose.term->term)) return write_dense<kAdd>(*loose.term, block);
  if (std::holds_alternative<AxisTerm>(loose.term->term)) return write_axis<kAdd>(plan, loose, block);
  if (std::holds_alternative<BucketTerm>(loose.term->term)) return write_bucket<kAdd>(plan, loose, block);
  write_gather<kAdd>(loose, block);
}

/// Scores that a product may start from: the term, and -inf from the last key to the end of its vector.
inline void put_term(const Plan& plan, const LooseTerm& loose, const Block& block) {
  const Floats d;
  write_term<false>(plan, loose, block);
  for (std::int64_t r = 0; r < block.rows; ++r)
    hn::StoreU(hn::Set(d, -HUGE_VALF), d, block.scores + r * block.row + block.keys);
}

/// dbias += head_scale * dS, and dhead_scale += sum dS * bias.
inline void add_dense_grad(const ScoreTerm& term, const LooseGrad& grad, float* dhead_scale,
                           const Block& block) {
  const auto& dense = std::get<DenseTerm>(term.term);
  const float factor = head_scale(term, block.h);
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const float* ds = block.scores + r * block.row;
    const std::int64_t i = block.i0 + r;
    if (grad.data != nullptr)
      add_scaled(ds, factor, block.keys,
                 grad.data + block.b * grad.batch_stride + block.g * grad.group_stride +
                     block.h * grad.head_stride + i * grad.row_stride + block.j0);
    if (dhead_scale == nullptr) continue;
    const float* bias = dense.bias + block.b * dense.batch_stride + block.g * dense.group_stride +
                        block.h * dense.head_stride + i * dense.row_stride + block.j0;
    float sum = 0.0f;
    for (std::int64_t c = 0; c < block.keys; ++c) sum += ds[c] * bias[c];
    dhead_scale[block.h] += sum;
  }
}

/// Adds the gradient of loose term t: the block holds dS.
inline void add_term_grad(const Plan& plan, const ChunkGrads& grads, std::size_t t, const Block& block) {
  const LooseTerm& loose = plan.loose[t];
  const LooseGrad& grad = grads.loose[t];
  if (std::holds_alternative<DenseTerm>(loose.term->term))
    return add_dense_grad(*loose.term, grad, grads.dhead_scale[t], block);
  if (std::holds_alternative<AxisTerm>(loose.term->term))
    return add_axis_grad(plan, *loose.term, grads.rows[t], grads.dhead_scale[t], block);
  if (std::holds_alternative<BucketTerm>(loose.term->term))
    return add_bucket_grad(plan, loose, grads.rows[t][0], grads.dhead_scale[t], block);
  if (grad.data == nullptr) return;
  const auto& gather = std::get<GatherTerm>(loose.term->term);
  float* to = grad.data + block.h * grad.head_stride;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const float* from = block.scores + r * block.row;
    float* values = to + loose.gather.shift - gather.offset.query_code[block.i0 + r];
    for_runs(loose.gather.runs, block,
             [&](std::int64_t code, std::int64_t column, std::int64_t count)
                 HWY_ATTR { add_scaled(from + column, 1.0f, count, values + code); });
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
