#include "ops/attention.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "kernels/attention.h"
#include "ops/attention_inputs.h"
#include "ops/softmax.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;

AttentionView view(const Inputs::Part& part) {
  return {part.value.value().data() + part.offset, part.tokens * part.width, part.width, part.head_width};
}

AttentionView result_view(const Inputs& in, const Tensor& out) {
  return {out.data(), out.dim(1) * out.dim(2), out.dim(2), in.Dv};
}

AttentionMutableView writable(const AttentionView& view) {
  return {const_cast<float*>(view.data), view.batch_stride, view.row_stride, view.head_stride};
}

// Terms as the kernel wants them; `dtables` (empty or one a term, undefined where none is wanted) get the
// gradients.
std::vector<ScoreTerm> lower_terms(const Inputs& in, std::vector<Tensor>& dtables) {
  std::vector<ScoreTerm> terms;
  for (std::size_t t = 0; t < in.options.terms.size(); ++t) {
    const AttentionTerm& term = in.options.terms[t];
    const float* table = term.table.value().data();
    float* dtable = t < dtables.size() && dtables[t].defined() ? dtables[t].data() : nullptr;
    if (term.gather == nullptr) {
      const auto [batch, group, head, row] = dense_strides(in, term.table.shape());
      terms.push_back({DenseTerm{table, dtable, batch, group, head, row}});
      continue;
    }
    const GatherMap& gather = *term.gather;
    const OffsetMap offset{gather.query_code.data(),
                           gather.key_code.data(),
                           gather.origin,
                           gather.map.empty() ? nullptr : gather.map.data(),
                           gather.offsets,
                           term.table.dim(0)};
    terms.push_back({GatherTerm{offset, table, dtable, in.H, 1}});
  }
  return terms;
}

AttentionArgs lower(const Inputs& in, const std::vector<ScoreTerm>& terms, const Tensor& out, Tensor* lse) {
  AttentionArgs args;
  args.B = in.B;
  args.G = in.G;
  args.H = in.H;
  args.Nq = in.Nq;
  args.Nk = in.Nk;
  args.D = in.D;
  args.Dv = in.Dv;
  args.q = view(in.parts[0]);
  args.k = view(in.parts[1]);
  args.v = view(in.parts[2]);
  args.out = writable(result_view(in, out));
  args.lse = lse != nullptr ? lse->data() : nullptr;
  args.scale = in.scale;
  args.query_rows = in.query_rows();
  args.key_rows = in.key_rows();
  if (in.options.pad_bias.defined()) {
    args.key_pad = in.options.pad_bias.value().data() + in.H * in.D;
    args.value_pad = args.key_pad + in.H * in.D;
  }
  args.terms = terms;
  args.mask.key_lengths = in.options.key_lengths.empty() ? nullptr : in.options.key_lengths.data();
  args.mask.query_region = in.query_region();
  args.mask.key_region = in.key_region();
  return args;
}

// Rows that no slot reaches must be zero; where there are none, the kernel overwrites everything.
Tensor gradient_buffer(const Shape& shape, bool covered) {
  return covered ? Tensor(shape) : Tensor::zeros(shape);
}

void backward(const Inputs& in, Tensor out, Tensor lse, const Tensor& dout) {
  const ProfileScope scope("attention");
  std::vector<Tensor> dtables(in.options.terms.size());
  for (std::size_t t = 0; t < dtables.size(); ++t)
    if (in.options.terms[t].table.requires_grad())
      dtables[t] = Tensor::zeros(in.options.terms[t].table.shape());
  const std::vector<ScoreTerm> terms = lower_terms(in, dtables);
  AttentionGradArgs args;
  args.forward = lower(in, terms, out, &lse);
  args.dout = result_view(in, dout);
  std::array<Tensor, 3> dparts;
  std::array<AttentionMutableView, 3> views;
  const bool all = in.parts[0].covered && in.parts[1].covered;
  for (std::size_t p = 0; p < 3; ++p) {
    const Inputs::Part& part = in.parts[p];
    dparts[p] =
        in.joint && p > 0 ? dparts[0] : gradient_buffer(part.value.shape(), in.joint ? all : part.covered);
    views[p] = {dparts[p].data() + part.offset, part.tokens * part.width, part.width, part.head_width};
  }
  args.dq = views[0];
  args.dk = views[1];
  args.dv = views[2];
  Tensor dpad;
  if (in.options.pad_bias.requires_grad()) {
    dpad = Tensor::zeros(in.options.pad_bias.shape());
    args.dkey_pad = dpad.data() + in.H * in.D;
    args.dvalue_pad = args.dkey_pad + in.H * in.D;
  }
  attention_backward(args);
  for (std::size_t p = 0; p < (in.joint ? 1U : 3U); ++p) in.parts[p].value.accumulate(std::move(dparts[p]));
  for (std::size_t t = 0; t < dtables.size(); ++t)
    if (dtables[t].defined()) in.options.terms[t].table.accumulate(std::move(dtables[t]));
  if (dpad.defined()) in.options.pad_bias.accumulate(std::move(dpad));
}

Var fused(const Context& ctx, const std::shared_ptr<const Inputs>& in) {
  const ProfileScope scope("attention");
  Tensor out = gradient_buffer(in->result(), in->parts[0].covered);
  Tensor lse;
  if (ctx.tape != nullptr && in->wanting().requires_grad()) lse = Tensor({in->B, in->G, in->H, in->Nq});
  std::vector<Tensor> none;
  attention_forward(lower(*in, lower_terms(*in, none), out, lse.defined() ? &lse : nullptr));
  return ctx.record({in->wanting()}, out,
                    [in, out, lse](const Tensor& dout) { backward(*in, out, lse, dout); });
}

}  // namespace

AttentionTerm dense_term(const Var& bias) { return {.table = bias}; }

AttentionTerm gather_term(const Var& table, std::shared_ptr<const GatherMap> gather) {
  return {.kind = AttentionTerm::Kind::gather, .table = table, .gather = std::move(gather)};
}

AttentionTerm bucket_term(Side side, const Var& numbers, std::shared_ptr<const GatherMap> gather) {
  return {.kind = AttentionTerm::Kind::bucket, .side = side, .table = numbers, .gather = std::move(gather)};
}

AttentionTerm band_term(Side side, const Var& vectors, std::shared_ptr<const GatherMap> gather) {
  return {.kind = AttentionTerm::Kind::band, .side = side, .table = vectors, .gather = std::move(gather)};
}

AttentionTerm axis_term(const Var& rows, const Var& columns, std::int64_t first_key, const Var& frames) {
  return {.kind = AttentionTerm::Kind::axis, .axes = {frames, rows, columns}, .first_key = first_key};
}

Var attention(const Context& ctx, const Var& qkv, const AttentionOptions& options) {
  return fused(ctx, attention_inputs(qkv, options));
}

Var attention(const Context& ctx, const Var& q, const Var& k, const Var& v, const AttentionOptions& options) {
  return fused(ctx, attention_inputs(q, k, v, options));
}

Tensor attention_row(const Tensor& qkv, std::int64_t heads, float scale, std::int64_t row) {
  AttentionOptions options;
  options.heads = heads;
  options.scale = scale;
  const auto in = attention_inputs(Var(qkv), options);
  const std::int64_t N = in->Nk, width = qkv.dim(2), D = in->D;
  require(row >= 0 && row < N, "attention", "row {} is not one of {}", row, N);
  Tensor probabilities({in->B, heads, N});
  parallel_for(in->B * heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t bh = begin; bh < end; ++bh) {
      const float* sample = qkv.data() + bh / heads * N * width + bh % heads * D;
      const float* q = sample + row * width;
      for (std::int64_t j = 0; j < N; ++j) {
        const float* k = sample + j * width + heads * D;
        double dot = 0;
        for (std::int64_t d = 0; d < D; ++d) dot += static_cast<double>(q[d]) * static_cast<double>(k[d]);
        probabilities[bh * N + j] = static_cast<float>(dot * static_cast<double>(in->scale));
      }
    }
  });
  return softmax_forward(probabilities);
}

}  // namespace locant
