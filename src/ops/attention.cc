#include "ops/attention.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "kernels/attention.h"
#include "ops/attention_inputs.h"
#include "ops/attention_lowering.h"
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

void put_masks(const Inputs& in, AttentionMask& mask) {
  const AttentionOptions& o = in.options;
  mask.key_lengths = o.key_lengths.empty() ? nullptr : o.key_lengths.data();
  mask.query_region = in.query_region();
  mask.key_region = in.key_region();
  mask.causal = o.visibility.causal;
  mask.causal_offset = o.visibility.causal_offset;
  mask.causal_span = o.visibility.causal_span;
  mask.query_box = in.query_box();
  if (mask.query_box != nullptr) {
    mask.box_columns = o.rows->box_columns;
    mask.box_first_key = o.rows->box_first_key;
  }
  if (o.visibility.dense == nullptr) return;
  const auto [batch, group, head, row] = dense_strides(in, o.visibility.dense_shape, "the dense mask");
  mask.dense = o.visibility.dense->data();
  mask.dense_batch_stride = batch;
  mask.dense_group_stride = group;
  mask.dense_head_stride = head;
  mask.dense_row_stride = row;
}

// Key and value of padding slots that are zero: (H, D) and (H, Dv) in one.
Tensor zero_pad(const Inputs& in) {
  return in.options.zero_pad ? Tensor::zeros({in.H * std::max(in.D, in.Dv)}) : Tensor();
}

AttentionArgs lower(const Inputs& in, const LoweredTerms& terms, const AttentionDropout& dropout,
                    const Tensor& zeros, const Tensor& out, Tensor* lse) {
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
  } else if (zeros.defined()) {
    args.key_pad = args.value_pad = zeros.data();
  }
  terms.put(args);
  args.dropout = dropout;
  put_masks(in, args.mask);
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
  args.forward = lower(in, terms, dropout, zeros, out, &lse);
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
  const ProfileScope scope("attention");
  const AttentionDropout dropout = attention_dropout(ctx, *in);
  Tensor out = gradient_buffer(in->result(), in->parts[0].covered);
  Tensor lse;
  if (ctx.tape != nullptr && in->wanting().requires_grad()) lse = Tensor({in->B, in->G, in->H, in->Nq});
  const LoweredTerms terms(*in, LoweredTerms::Gradients::none);
  const Tensor zeros = zero_pad(*in);
  attention_forward(lower(*in, terms, dropout, zeros, out, lse.defined() ? &lse : nullptr));
  return ctx.record({in->wanting()}, out,
                    [in, dropout, out, lse](const Tensor& dout) { backward(*in, dropout, out, lse, dout); });
}

}  // namespace

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
