#include "ops/attention/attention.h"

#include <algorithm>

#include "core/profile.h"
#include "kernels/attention.h"
#include "ops/attention/inputs.h"
#include "ops/attention/lowering.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;

AttentionView result_view(const Inputs& in, const Tensor& out) {
  return {out.data(), out.dim(1) * out.dim(2), out.dim(2), in.Dv};
}

AttentionMutableView writable(const AttentionView& view) {
  return {const_cast<float*>(view.data), view.batch_stride, view.row_stride, view.head_stride};
}

// Key and value of padding slots that are zero: (H, D) and (H, Dv) in one.
Tensor zero_pad(const Inputs& in) {
  return in.options.zero_pad ? Tensor::zeros({in.H * std::max(in.D, in.Dv)}) : Tensor();
}

AttentionArgs lower(const Inputs& in, const LoweredTerms& terms, const AttentionDropout& dropout,
                    const Tensor& zeros, const Tensor& out, Tensor lse) {
  AttentionArgs args = lower_call(in, terms);
  args.out = writable(result_view(in, out));
  args.lse = lse.defined() ? lse.data() : nullptr;
  if (zeros.defined()) args.key_pad = args.value_pad = zeros.data();
  args.dropout = dropout;
  return args;
}

// Rows that no slot reaches must be zero; where there are none, the kernel overwrites everything.
Tensor gradient_buffer(const Shape& shape, bool covered) {
  return covered ? Tensor(shape) : Tensor::zeros(shape);
}

void backward(const Inputs& in, const AttentionDropout& dropout, Tensor out, Tensor lse, const Tensor& dout) {
  const ProfileScope scope("attention");
  LoweredTerms terms(in, LoweredTerms::Gradients::wanted);
  const Tensor zeros = zero_pad(in);
  AttentionGradArgs args;
  args.forward = lower(in, terms, dropout, zeros, out, lse);
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
  terms.accumulate();
  if (dpad.defined()) in.options.pad_bias.accumulate(std::move(dpad));
}

Var fused(const Context& ctx, const std::shared_ptr<const Inputs>& in) {
  ProfileScope scope("attention");
  scope.works(in->B * in->G * in->H * in->Nq * in->Nk * (in->D + in->Dv));
  const AttentionDropout dropout = attention_dropout(ctx, *in);
  Tensor out = gradient_buffer(in->result(), in->parts[0].covered);
  Tensor lse;
  const std::vector<Var> vars = in->vars();
  if (ctx.records(vars)) lse = Tensor({in->B, in->G, in->H, in->Nq});
  const LoweredTerms terms(*in, LoweredTerms::Gradients::none);
  const Tensor zeros = zero_pad(*in);
  attention_forward(lower(*in, terms, dropout, zeros, out, lse));
  return ctx.record(vars, out,
                    [in, dropout, out, lse](const Tensor& dout) { backward(*in, dropout, out, lse, dout); });
}

}  // namespace

Var attention(const Context& ctx, const Var& qkv, const AttentionOptions& options) {
  return fused(ctx, attention_inputs(qkv, options));
}

Var attention(const Context& ctx, const Var& q, const Var& k, const Var& v, const AttentionOptions& options) {
  return fused(ctx, attention_inputs(q, k, v, options));
}

}  // namespace locant
