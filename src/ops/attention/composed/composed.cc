#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/attention/attention.h"
#include "ops/attention/composed/masks.h"
#include "ops/attention/composed/pairs.h"
#include "ops/attention/composed/slots.h"
#include "ops/attention/composed/terms.h"
#include "ops/attention/inputs.h"
#include "ops/attention/lowering.h"
#include "ops/softmax.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;

Tensor gathered_part(const Inputs& in, std::size_t p) {
  return gather_slots(part_slots(in, p), in.parts[p].value.value().data());
}

// ---- factor: scale q.k times a number per head and pair

// numbers (B, G, H, Nq, Nk) *= factor (H, Nq, Nk)
void multiply_tiles(const Inputs& in, const Tensor& factor, Tensor& numbers) {
  const std::int64_t tile = in.Nq * in.Nk;
  parallel_for(in.B * in.G * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const float* by = factor.data() + p % in.H * tile;
      float* to = numbers.data() + p * tile;
      for (std::int64_t n = 0; n < tile; ++n) to[n] *= by[n];
    }
  });
}

// factor (H, Nq, Nk), 1 where it reads nothing; undefined without one.
Tensor factor_pairs(const Inputs& in) {
  const AttentionTerm::Gather* factor = in.factor();
  if (factor == nullptr) return {};
  return read_pairs(in, factor->table.value(), *factor->map, 1.0f);
}

void factor_gradient(const Inputs& in, const ComposedSlots& slots, const Tensor& dscores) {
  const AttentionTerm::Gather& factor = *in.factor();
  if (!factor.table.requires_grad()) return;
  Tensor products;
  slot_product(in, slots.q, false, slots.k, true, in.scale, products);
  const std::int64_t tile = in.Nq * in.Nk;
  Tensor dpairs = Tensor::zeros({in.H, in.Nq, in.Nk});
  parallel_for(in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h)
      for (std::int64_t bg = 0; bg < in.B * in.G; ++bg) {
        const std::int64_t from = (bg * in.H + h) * tile;
        for (std::int64_t n = 0; n < tile; ++n)
          dpairs[h * tile + n] += products[from + n] * dscores[from + n];
      }
  });
  factor.table.accumulate(read_pairs_gradient(in, dpairs, factor.table.shape(), *factor.map));
}

// ---- value term: probabilities summed per index, times the vectors

Tensor index_sums(const Inputs& in, const Tensor& probabilities) {
  const AttentionValueTerm& term = in.options.value_term;
  const std::vector<std::int32_t> rows = pair_rows(in, *term.map);
  const std::int64_t width = term.vectors.dim(-2);
  Tensor sums = Tensor::zeros({in.B, in.G, in.H, in.Nq, width});
  parallel_for(in.B * in.G * in.H * in.Nq, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int32_t* row = rows.data() + n % in.Nq * in.Nk;
      for (std::int64_t j = 0; j < in.Nk; ++j)
        if (row[j] >= 0) sums[n * width + row[j]] += probabilities[n * in.Nk + j];
    }
  });
  return sums;
}

// dprobabilities += what the value term adds to them; gradient of its vectors.
void value_term_gradients(const Inputs& in, const Tensor& probabilities, const Tensor& dout,
                          Tensor& dprobabilities) {
  const AttentionValueTerm& term = in.options.value_term;
  if (!term.vectors.defined()) return;
  const std::vector<std::int32_t> rows = pair_rows(in, *term.map);
  const std::int64_t width = term.vectors.dim(-2);
  const Tensor dsums = times_vectors(in, dout, term.vectors.value(), 1.0f);
  parallel_for(in.B * in.G * in.H * in.Nq, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int32_t* row = rows.data() + n % in.Nq * in.Nk;
      for (std::int64_t j = 0; j < in.Nk; ++j)
        if (row[j] >= 0) dprobabilities[n * in.Nk + j] += dsums[n * width + row[j]];
    }
  });
  if (term.vectors.requires_grad())
    term.vectors.accumulate(
        vectors_gradient(in, index_sums(in, probabilities), dout, 1.0f, term.vectors.shape()));
}

// ---- the whole

struct Kept {
  ComposedSlots slots;
  Tensor probabilities, dropped;  ///< one tensor without dropout
  AttentionDropout dropout;
};

void scatter_parts(const Inputs& in, const ComposedSlots& dslots) {
  const std::array<const Tensor*, 3> from = {&dslots.q, &dslots.k, &dslots.v};
  Tensor dx, dpad;
  if (in.options.pad_bias.requires_grad()) dpad = Tensor::zeros(in.options.pad_bias.shape());
  for (std::size_t p = 0; p < 3; ++p) {
    const Inputs::Part& part = in.parts[p];
    if (!in.joint || p == 0) dx = Tensor::zeros(part.value.shape());
    scatter_slots(part_slots(in, p), *from[p], dx.data());
    if (dpad.defined() && p > 0)
      scatter_padding(part_slots(in, p), *from[p], dpad.data() + static_cast<std::int64_t>(p) * in.H * in.D);
    if (!in.joint || p == 2) part.value.accumulate(std::move(dx));
  }
  if (dpad.defined()) in.options.pad_bias.accumulate(std::move(dpad));
}

void backward(const Inputs& in, const Kept& kept, const Tensor& dout) {
  const ProfileScope scope("attention_composed");
  const ComposedSlots& slots = kept.slots;
  const Tensor dresult = gather_slots(result_slots(in), dout.data());
  ComposedSlots dslots;
  slot_product(in, kept.dropped, true, dresult, false, 1.0f, dslots.v);
  Tensor dprobabilities;
  slot_product(in, dresult, false, slots.v, true, 1.0f, dprobabilities);
  value_term_gradients(in, kept.dropped, dresult, dprobabilities);
  apply_composed_dropout(in, kept.dropout, dprobabilities);
  const Tensor dscores = softmax_backward(kept.probabilities, dprobabilities);
  Tensor dproducts = dscores;
  if (const Tensor factor = factor_pairs(in); factor.defined()) {
    factor_gradient(in, slots, dscores);
    dproducts = dscores.clone();
    multiply_tiles(in, factor, dproducts);
  }
  slot_product(in, dproducts, false, slots.k, false, in.scale, dslots.q);
  slot_product(in, dproducts, true, slots.q, false, in.scale, dslots.k);
  for (const AttentionTerm& term : in.options.terms)
    composed_term_gradients(in, slots, term, dscores, dslots);
  scatter_parts(in, dslots);
}

Var composed(const Context& ctx, const std::shared_ptr<const Inputs>& in) {
  const ProfileScope scope("attention_composed");
  check_lowered(*in);
  Kept kept;
  kept.dropout = attention_dropout(ctx, *in);
  kept.slots = {gathered_part(*in, 0), gathered_part(*in, 1), gathered_part(*in, 2)};
  Tensor scores;
  slot_product(*in, kept.slots.q, false, kept.slots.k, true, in->scale, scores);
  if (const Tensor factor = factor_pairs(*in); factor.defined()) multiply_tiles(*in, factor, scores);
  for (const AttentionTerm& term : in->options.terms) add_composed_term(*in, kept.slots, term, true, scores);
  add_composed_masks(*in, scores);
  kept.probabilities = kept.dropped = softmax_forward(scores);
  scores = Tensor();
  if (kept.dropout.p > 0.0f) {
    kept.dropped = kept.probabilities.clone();
    apply_composed_dropout(*in, kept.dropout, kept.dropped);
  }
  Tensor result;
  slot_product(*in, kept.dropped, false, kept.slots.v, false, 1.0f, result);
  if (const Var& vectors = in->options.value_term.vectors; vectors.defined())
    add_vectors(*in, index_sums(*in, kept.dropped), vectors.value(), 1.0f, result);
  Tensor out = Tensor::zeros(in->result());
  scatter_slots(result_slots(*in), result, out.data());
  return ctx.record(in->vars(), std::move(out),
                    [in, kept](const Tensor& dout) { backward(*in, kept, dout); });
}

}  // namespace

Var attention_composed(const Context& ctx, const Var& q, const Var& k, const Var& v,
                       const AttentionOptions& options) {
  return composed(ctx, attention_inputs(q, k, v, options));
}

Var attention_composed(const Context& ctx, const Var& qkv, const AttentionOptions& options) {
  return composed(ctx, attention_inputs(qkv, options));
}

Tensor attention_term_scores(const Var& q, const Var& k, const Var& v, const AttentionOptions& options,
                             std::size_t t) {
  const auto in = attention_inputs(q, k, v, options);
  check_lowered(*in);
  require(t < options.terms.size(), "attention", "no term {} among {}", t, options.terms.size());
  Tensor scores = Tensor::zeros({in->B, in->G, in->H, in->Nq, in->Nk});
  add_composed_term(*in, {gathered_part(*in, 0), gathered_part(*in, 1), {}}, options.terms[t], true, scores);
  return scores;
}

}  // namespace locant
