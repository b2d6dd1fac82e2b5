#include "kernels/attention.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/attention_plan.h"
#include "kernels/attention_reference.h"
#include "simd/isa.h"

namespace locant {
namespace {

constexpr const char* kOp = "attention";

void check_sizes(const AttentionArgs& a) {
  require(a.B >= 0 && a.G >= 0 && a.H >= 0 && a.Nq >= 0 && a.Nk >= 0, kOp,
          "sizes must not be negative: B {}, G {}, H {}, Nq {}, Nk {}", a.B, a.G, a.H, a.Nq, a.Nk);
  require(a.D >= 1 && a.D <= fused::kMaxWidth && a.Dv >= 1 && a.Dv <= fused::kMaxWidth, kOp,
          "head widths must be 1 to {}: D {}, Dv {}", fused::kMaxWidth, a.D, a.Dv);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  require(a.Nq <= kMost && a.Nk <= kMost, kOp, "at most {} slots a group: Nq {}, Nk {}", kMost, a.Nq, a.Nk);
  require(a.terms.size() <= 4, kOp, "at most 4 score terms, got {}; add some up beforehand", a.terms.size());
}

void check_buffers(const AttentionArgs& a) {
  require((a.q.data != nullptr && a.out.data != nullptr) || a.Nq == 0, kOp, "q or out is missing (Nq {})",
          a.Nq);
  require((a.k.data != nullptr && a.v.data != nullptr) || a.Nk == 0, kOp, "k or v is missing (Nk {})", a.Nk);
  require((a.key_pad == nullptr) == (a.value_pad == nullptr), kOp,
          "key_pad and value_pad go together: one is missing");
  require((a.mask.query_region == nullptr) == (a.mask.key_region == nullptr), kOp,
          "query_region and key_region go together: one is missing");
}

void check_gather(const AttentionArgs& a, const GatherTerm& term, std::size_t t) {
  require(term.table != nullptr && term.query_code != nullptr && term.key_code != nullptr, kOp,
          "term {}: table or codes are missing", t);
  require(term.offsets >= 1 && term.table_rows >= 1, kOp, "term {}: {} offsets and {} table rows", t,
          term.offsets, term.table_rows);
  if (a.Nq > 0 && a.Nk > 0) {
    const auto [query_low, query_high] = std::minmax_element(term.query_code, term.query_code + a.Nq);
    const auto [key_low, key_high] = std::minmax_element(term.key_code, term.key_code + a.Nk);
    const std::int64_t low = std::int64_t{*query_low} - *key_high + term.origin;
    const std::int64_t high = std::int64_t{*query_high} - *key_low + term.origin;
    require(low >= 0 && high < term.offsets, kOp, "term {}: codes give offsets {} to {}, outside [0, {})", t,
            low, high, term.offsets);
  }
  const std::int64_t most =
      term.map != nullptr ? *std::max_element(term.map, term.map + term.offsets) : term.offsets - 1;
  require(most < term.table_rows, kOp, "term {}: table row {} is wanted, the table has {}", t, most,
          term.table_rows);
}

/// False when there is nothing to do.
bool check(const AttentionArgs& a) {
  check_sizes(a);
  if (a.B == 0 || a.G == 0 || a.H == 0 || (a.Nq == 0 && a.Nk == 0)) return false;
  check_buffers(a);
  for (std::size_t t = 0; t < a.terms.size(); ++t) {
    if (const auto* gather = std::get_if<GatherTerm>(&a.terms[t].term)) {
      check_gather(a, *gather, t);
    } else {
      require(std::get<DenseTerm>(a.terms[t].term).bias != nullptr, kOp, "term {}: bias is missing", t);
    }
  }
  return true;
}

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

AttentionNumbers<float> own_numbers(const AttentionArgs& a) {
  AttentionNumbers<float> x{a.q.data, a.k.data, a.v.data, a.out.data, a.lse, a.key_pad, a.value_pad, {}};
  for (std::size_t t = 0; t < a.terms.size(); ++t) {
    const auto* gather = std::get_if<GatherTerm>(&a.terms[t].term);
    x.tables[t] = gather != nullptr ? gather->table : std::get<DenseTerm>(a.terms[t].term).bias;
  }
  return x;
}

AttentionGradNumbers<float> own_gradients(const AttentionGradArgs& args) {
  AttentionGradNumbers<float> dx{
      args.dout.data, args.dq.data, args.dk.data, args.dv.data, args.dkey_pad, args.dvalue_pad, {}};
  const AttentionArgs& a = args.forward;
  for (std::size_t t = 0; t < a.terms.size(); ++t) {
    const auto* gather = std::get_if<GatherTerm>(&a.terms[t].term);
    dx.dtables[t] = gather != nullptr ? gather->dtable : std::get<DenseTerm>(a.terms[t].term).dbias;
  }
  return dx;
}

}  // namespace

void attention_forward(const AttentionArgs& args) {
  if (!check(args)) return;
  const fused::Kernel* kernel = active_kernel();
  if (kernel == nullptr) {
    parallel_for(args.B * args.G * args.H, 1, [&](std::int64_t begin, std::int64_t end) {
      attention_forward_reference(args, own_numbers(args), begin, end);
    });
    return;
  }
  const fused::Plan plan = fused::plan_forward(args, kernel->shape);
  const std::int64_t items = plan.units() * plan.query_blocks;
  parallel_for(plan.chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    kernel->forward(plan, items * begin / plan.chunks, items * end / plan.chunks);
  });
}

void attention_backward(const AttentionGradArgs& args) {
  if (!check(args.forward)) return;
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
  parallel_for(plan.chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      fused::start_chunk(plan, chunk);
      kernel->backward(plan, chunk);
    }
  });
  fused::reduce_chunks(plan);
}

}  // namespace locant
