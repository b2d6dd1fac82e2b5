#include "kernels/attention.h"

#include <array>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/attention_check.h"
#include "kernels/attention_plan.h"
#include "kernels/attention_reference.h"
#include "simd/isa.h"

namespace locant {
namespace {

constexpr const char* kOp = "attention";

/// Null: the scalar reference.
const fused::Kernel* active_kernel() {
  switch (active_isa()) {
    case Isa::reference:
      return nullptr;
    case Isa::sse4:
      return fused::kernel_sse4();
    case Isa::avx2:
      return fused::kernel_avx2();
    case Isa::avx512:
      return fused::kernel_avx512();
  }
  return nullptr;
}

/// Pointers of a term, one for each of its tables.
std::array<const float*, 3> tables_of(const ScoreTerm& term) {
  if (const auto* gather = std::get_if<GatherTerm>(&term.term)) return {gather->table, nullptr, nullptr};
  if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) return {bucket->table, nullptr, nullptr};
  if (const auto* band = std::get_if<BandTerm>(&term.term)) return {band->vectors, nullptr, nullptr};
  if (const auto* axis = std::get_if<AxisTerm>(&term.term)) return axis->tables;
  return {std::get<DenseTerm>(term.term).bias, nullptr, nullptr};
}

std::array<float*, 3> dtables_of(const ScoreTerm& term) {
  if (const auto* gather = std::get_if<GatherTerm>(&term.term)) return {gather->dtable, nullptr, nullptr};
  if (const auto* bucket = std::get_if<BucketTerm>(&term.term)) return {bucket->dtable, nullptr, nullptr};
  if (const auto* band = std::get_if<BandTerm>(&term.term)) return {band->dvectors, nullptr, nullptr};
  if (const auto* axis = std::get_if<AxisTerm>(&term.term)) return axis->dtables;
  return {std::get<DenseTerm>(term.term).dbias, nullptr, nullptr};
}

AttentionNumbers<float> own_numbers(const AttentionArgs& a) {
  AttentionNumbers<float> x;
  x.q = a.q.data, x.k = a.k.data, x.v = a.v.data, x.out = a.out.data, x.lse = a.lse;
  x.key_pad = a.key_pad, x.value_pad = a.value_pad;
  for (std::size_t t = 0; t < a.terms.size(); ++t) {
    x.tables[t] = tables_of(a.terms[t]);
    x.head_scales[t] = a.terms[t].head_scale;
  }
  x.factor = a.factor != nullptr ? a.factor->table : nullptr;
  x.value_vectors = a.value_term != nullptr ? a.value_term->vectors : nullptr;
  return x;
}

AttentionGradNumbers<float> own_gradients(const AttentionGradArgs& args) {
  const AttentionArgs& a = args.forward;
  AttentionGradNumbers<float> dx;
  dx.dout = args.dout.data, dx.dq = args.dq.data, dx.dk = args.dk.data, dx.dv = args.dv.data;
  dx.dkey_pad = args.dkey_pad, dx.dvalue_pad = args.dvalue_pad;
  for (std::size_t t = 0; t < a.terms.size(); ++t) {
    dx.dtables[t] = dtables_of(a.terms[t]);
    dx.dhead_scales[t] = a.terms[t].dhead_scale;
  }
  dx.dfactor = a.factor != nullptr ? a.factor->dtable : nullptr;
  dx.dvalue_vectors = a.value_term != nullptr ? a.value_term->dvectors : nullptr;
  return dx;
}

void pack_bands(const fused::Kernel& kernel, const fused::Plan& plan) {
  const std::int64_t items = plan.bands.pack_items();
  if (items == 0) return;
  parallel_for(items, 8, [&](std::int64_t begin, std::int64_t end) { kernel.pack_bands(plan, begin, end); });
}

}  // namespace

void attention_forward(const AttentionArgs& args) {
  if (!check_attention(args)) return;
  const fused::Kernel* kernel = active_kernel();
  if (kernel == nullptr) {
    parallel_for(args.B * args.G * args.H, 1, [&](std::int64_t begin, std::int64_t end) {
      // Thousands of positive floats added one by one lose what the cancellation of dS needs.
      attention_forward_reference<float, double>(args, own_numbers(args), begin, end);
    });
    return;
  }
  const fused::Plan plan = fused::plan_forward(args, kernel->shape);
  const std::int64_t items = plan.units() * plan.query_blocks;
  pack_bands(*kernel, plan);
  parallel_for(plan.chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    kernel->forward(plan, items * begin / plan.chunks, items * end / plan.chunks);
  });
}

void attention_backward(const AttentionGradArgs& args) {
  if (!check_attention(args.forward)) return;
  if (args.forward.Nq > 0) {
    require(args.forward.lse != nullptr, kOp, "the backward needs the log-sum-exp that the forward kept");
    require(args.dout.data != nullptr && args.dq.data != nullptr, kOp, "dout or dq is missing");
  }
  require((args.dk.data != nullptr && args.dv.data != nullptr) || args.forward.Nk == 0, kOp,
          "dk or dv is missing");
  const fused::Kernel* kernel = active_kernel();
  if (kernel == nullptr) {
    attention_backward_reference(args, own_numbers(args.forward), own_gradients(args));
    return;
  }
  fused::BackwardPlan plan = fused::plan_backward(args, kernel->shape);
  pack_bands(*kernel, plan);
  parallel_for(plan.chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      fused::start_chunk(plan, chunk);
      kernel->backward(plan, chunk);
    }
  });
  fused::reduce_chunks(plan);
}

}  // namespace locant
