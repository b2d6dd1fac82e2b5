#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/profile.h"
#include "ops/attention.h"
#include "ops/attention_inputs.h"
#include "ops/matmul.h"
#include "ops/reduce_inl.h"
#include "ops/softmax.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;

// Slots of one part with the heads apart: tokens -> (B, G, H, slots, head width).
struct Slots {
  const Inputs& in;
  const Inputs::Part& part;
  const std::int32_t* rows;
  std::int64_t count;  ///< slots a group
  const float* pad;    ///< (H, head width) of padding slots; null: zeros

  std::int64_t row(std::int64_t g, std::int64_t i) const {
    return rows != nullptr ? rows[g * count + i] : g * count + i;
  }
  Shape shape() const { return {in.B, in.G, in.H, count, part.head_width}; }

  // body(slot number of (b, g, h, i), b, token row or -1, h), a (b, h) pair in one thread.
  template <class Body>
  void visit(const Body& body) const {
    parallel_for(in.B * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t bh = begin; bh < end; ++bh)
        for (std::int64_t g = 0; g < in.G; ++g)
          for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t b = bh / in.H, h = bh % in.H;
            body(((b * in.G + g) * in.H + h) * count + i, b, row(g, i), h);
          }
    });
  }
};

Slots slots_of(const Inputs& in, std::size_t p) {
  const bool query = p == 0;
  const Var& bias = in.options.pad_bias;
  const float* pad =
      bias.defined() && !query ? bias.value().data() + static_cast<std::int64_t>(p) * in.H * in.D : nullptr;
  return {in, in.parts[p], query ? in.query_rows() : in.key_rows(), query ? in.Nq : in.Nk, pad};
}

// The result as a part: (B, query tokens, H Dv).
Inputs::Part result_part(const Inputs& in) {
  Inputs::Part part = in.parts[0];
  part.width = in.H * in.Dv;
  part.offset = 0;
  part.head_width = in.Dv;
  return part;
}

// The rows of `from` (B, tokens, width), at `offset`, in the order of the slots.
Tensor gather(const Slots& s, const float* from, std::int64_t width, std::int64_t offset) {
  Tensor to(s.shape());
  const std::int64_t D = s.part.head_width;
  s.visit([&](std::int64_t slot, std::int64_t b, std::int64_t row, std::int64_t h) {
    if (row >= 0)
      std::copy_n(from + (b * s.part.tokens + row) * width + offset + h * D, D, to.data() + slot * D);
    else if (s.pad != nullptr)
      std::copy_n(s.pad + h * D, D, to.data() + slot * D);
    else
      std::fill_n(to.data() + slot * D, D, 0.0f);
  });
  return to;
}

// Adds slots (B, G, H, slots, D) back to their rows of `to`.
void scatter(const Slots& s, const Tensor& from, float* to, std::int64_t width, std::int64_t offset) {
  const std::int64_t D = s.part.head_width;
  s.visit([&](std::int64_t slot, std::int64_t b, std::int64_t row, std::int64_t h) {
    if (row < 0) return;
    float* out = to + (b * s.part.tokens + row) * width + offset + h * D;
    for (std::int64_t d = 0; d < D; ++d) out[d] += from[slot * D + d];
  });
}

// Adds the gradients of padding slots to dpad (H, D).
void scatter_padding(const Slots& s, const Tensor& from, float* dpad) {
  const std::int64_t D = s.part.head_width;
  for (std::int64_t bg = 0; bg < s.in.B * s.in.G; ++bg)
    for (std::int64_t h = 0; h < s.in.H; ++h)
      for (std::int64_t i = 0; i < s.count; ++i)
        if (s.row(bg % s.in.G, i) < 0)
          for (std::int64_t d = 0; d < D; ++d)
            dpad[h * D + d] += from[((bg * s.in.H + h) * s.count + i) * D + d];
}

// Products over the (B, G, H) pairs of slots: c = alpha op(a) op(b).
Tensor product(const Inputs& in, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b,
               float alpha) {
  const std::int64_t M = a.dim(transpose_a ? -1 : -2), K = a.dim(transpose_a ? -2 : -1),
                     N = b.dim(transpose_b ? -2 : -1);
  Tensor c({in.B, in.G, in.H, M, N});
  matmul_batched(
      {transpose_a, transpose_b, M, N, K, alpha, a.data(), a.dim(-1), b.data(), b.dim(-1), 0.0f, c.data(), N},
      in.B * in.G * in.H, a.dim(-2) * a.dim(-1), b.dim(-2) * b.dim(-1), M * N);
  return c;
}

std::int64_t table_row(const GatherMap& gather, std::int64_t i, std::int64_t j) {
  const auto offset = static_cast<std::size_t>(gather.query_code[static_cast<std::size_t>(i)] -
                                               gather.key_code[static_cast<std::size_t>(j)] + gather.origin);
  return gather.map.empty() ? static_cast<std::int64_t>(offset) : gather.map[offset];
}

// A gather term as a dense bias (H, Nq, Nk).
Tensor gathered_bias(const Inputs& in, const AttentionTerm& term) {
  Tensor bias = Tensor::zeros({in.H, in.Nq, in.Nk});
  for (std::int64_t i = 0; i < in.Nq; ++i)
    for (std::int64_t j = 0; j < in.Nk; ++j)
      if (const std::int64_t row = table_row(*term.gather, i, j); row >= 0)
        for (std::int64_t h = 0; h < in.H; ++h)
          bias[(h * in.Nq + i) * in.Nk + j] = term.table.value()[row * in.H + h];
  return bias;
}

// scores (B, G, H, Nq, Nk) += what lies at the strides of its first three axes.
void add_tiles(const Inputs& in, Tensor& scores, const Tensor& tiles, std::int64_t batch, std::int64_t group,
               std::int64_t head) {
  const std::int64_t tile = in.Nq * in.Nk;
  parallel_for(in.B * in.G * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t h = p % in.H, g = p / in.H % in.G, b = p / (in.H * in.G);
      float* to = scores.data() + p * tile;
      row_ops().add(to, tiles.data() + b * batch + g * group + h * head, 1.0f, tile, to);
    }
  });
}

void add_terms(const Inputs& in, Tensor& scores) {
  for (const AttentionTerm& term : in.options.terms) {
    const Tensor bias = term.gather != nullptr ? gathered_bias(in, term) : term.table.value();
    const std::array<std::int64_t, 4> strides = dense_strides(in, bias.shape());
    add_tiles(in, scores, bias, strides[0], strides[1], strides[2]);
  }
}

bool visible(const Inputs& in, std::int64_t b, std::int64_t g, std::int64_t i, std::int64_t j) {
  if (!in.options.key_lengths.empty() && j >= in.options.key_lengths[static_cast<std::size_t>(b)])
    return false;
  const std::int64_t key = g * in.Nk + j;
  if (in.query_region() != nullptr && in.query_region()[g * in.Nq + i] != in.key_region()[key]) return false;
  return in.key_rows() == nullptr || in.key_rows()[key] >= 0 || in.options.pad_bias.defined();
}

// 0 or -inf per query and key, shared by the heads, and by the samples where no lengths tell them apart.
void add_mask(const Inputs& in, Tensor& scores) {
  const bool lengths = !in.options.key_lengths.empty();
  if (!lengths && in.query_region() == nullptr && in.key_rows() == nullptr) return;
  const std::int64_t B = lengths ? in.B : 1, tile = in.Nq * in.Nk;
  Tensor mask({B, in.G, in.Nq, in.Nk});
  parallel_for(B * in.G, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      for (std::int64_t i = 0; i < in.Nq; ++i)
        for (std::int64_t j = 0; j < in.Nk; ++j)
          mask[p * tile + i * in.Nk + j] =
              visible(in, p / in.G, p % in.G, i, j) ? 0.0f : -std::numeric_limits<float>::infinity();
  });
  add_tiles(in, scores, mask, lengths ? in.G * tile : 0, tile, 0);
}

// Gradient of a term's table: sums of dscores over what shares an entry.
Tensor term_gradient(const Inputs& in, const AttentionTerm& term, const Tensor& dscores) {
  const Shape dense = term.gather != nullptr ? Shape{in.H, in.Nq, in.Nk} : term.table.shape();
  const auto [batch, group, head, row] = dense_strides(in, dense);
  Tensor dbias = Tensor::zeros(dense);
  for (std::int64_t p = 0; p < in.B * in.G * in.H; ++p) {
    const std::int64_t h = p % in.H, g = p / in.H % in.G, b = p / (in.H * in.G);
    float* to = dbias.data() + b * batch + g * group + h * head;
    row_ops().add(to, dscores.data() + p * in.Nq * in.Nk, 1.0f, in.Nq * in.Nk, to);
  }
  if (term.gather == nullptr) return dbias;
  Tensor dtable = Tensor::zeros(term.table.shape());
  for (std::int64_t i = 0; i < in.Nq; ++i)
    for (std::int64_t j = 0; j < in.Nk; ++j)
      if (const std::int64_t at = table_row(*term.gather, i, j); at >= 0)
        for (std::int64_t h = 0; h < in.H; ++h) dtable[at * in.H + h] += dbias[(h * in.Nq + i) * in.Nk + j];
  return dtable;
}

struct Kept {
  Tensor q, k, v, probabilities;
};

void backward(const Inputs& in, const Kept& kept, const Tensor& dout) {
  const ProfileScope scope("attention_composed");
  const Inputs::Part result = result_part(in);
  const Tensor dslots = gather({in, result, in.query_rows(), in.Nq, nullptr}, dout.data(), result.width, 0);
  std::array<Tensor, 3> dparts;
  dparts[2] = product(in, kept.probabilities, true, dslots, false, 1.0f);
  const Tensor dscores = softmax_backward(kept.probabilities, product(in, dslots, false, kept.v, true, 1.0f));
  dparts[0] = product(in, dscores, false, kept.k, false, in.scale);
  dparts[1] = product(in, dscores, true, kept.q, false, in.scale);
  Tensor dx, dpad;
  if (in.options.pad_bias.requires_grad()) dpad = Tensor::zeros(in.options.pad_bias.shape());
  for (std::size_t p = 0; p < 3; ++p) {
    const Inputs::Part& part = in.parts[p];
    if (!in.joint || p == 0) dx = Tensor::zeros(part.value.shape());
    scatter(slots_of(in, p), dparts[p], dx.data(), part.width, part.offset);
    if (dpad.defined() && p > 0)
      scatter_padding(slots_of(in, p), dparts[p], dpad.data() + static_cast<std::int64_t>(p) * in.H * in.D);
    if (!in.joint || p == 2) part.value.accumulate(std::move(dx));
  }
  for (const AttentionTerm& term : in.options.terms)
    if (term.table.requires_grad()) term.table.accumulate(term_gradient(in, term, dscores));
  if (dpad.defined()) in.options.pad_bias.accumulate(std::move(dpad));
}

Var composed(const Context& ctx, const std::shared_ptr<const Inputs>& in) {
  const ProfileScope scope("attention_composed");
  Kept kept;
  Tensor* slots[3] = {&kept.q, &kept.k, &kept.v};
  for (std::size_t p = 0; p < 3; ++p)
    *slots[p] =
        gather(slots_of(*in, p), in->parts[p].value.value().data(), in->parts[p].width, in->parts[p].offset);
  Tensor scores = product(*in, kept.q, false, kept.k, true, in->scale);
  add_terms(*in, scores);
  add_mask(*in, scores);
  kept.probabilities = softmax_forward(scores);
  scores = Tensor();
  const Tensor slots_out = product(*in, kept.probabilities, false, kept.v, false, 1.0f);
  const Inputs::Part result = result_part(*in);
  Tensor out = Tensor::zeros(in->result());
  scatter({*in, result, in->query_rows(), in->Nq, nullptr}, slots_out, out.data(), result.width, 0);
  return ctx.record({in->wanting()}, std::move(out),
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

}  // namespace locant
