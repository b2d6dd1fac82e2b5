#include "ops/attention_composed_terms.h"

#include "core/parallel.h"
#include "ops/attention_pairs.h"
#include "ops/attention_slots.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;
using Kind = AttentionTerm::Kind;

// Head scales, or ones.
std::vector<float> scales(const Inputs& in, const AttentionTerm& term, bool scaled) {
  std::vector<float> out(static_cast<std::size_t>(in.H), 1.0f);
  if (scaled && term.head_scale.defined()) {
    const auto values = term.head_scale.value().values();
    out.assign(values.begin(), values.end());
  }
  return out;
}

// ---- numbers of a slot, one per index: bucket terms, and band terms once multiplied

Slots term_slots(const Inputs& in, const AttentionTerm& term, std::int64_t width) {
  return token_slots(in, term.side, width);
}

// (B, G, H, slots, rows)
Tensor slot_numbers(const Inputs& in, const ComposedSlots& slots, const AttentionTerm& term) {
  const Tensor& table = term.table.value();
  if (term.kind == Kind::bucket) return gather_slots(term_slots(in, term, table.dim(3)), table.data());
  Tensor numbers = times_vectors(in, term.side == Side::query ? slots.q : slots.k, table, in.scale);
  clear_padding(term_slots(in, term, table.dim(-2)), numbers);
  return numbers;
}

// visit(place of the pair in its tile, place in the numbers of (b, g, h)) for the pairs of a tile that read.
template <class Visit>
void each_read(const Inputs& in, Side side, const std::vector<std::int32_t>& rows, std::int64_t width,
               const Visit& visit) {
  for (std::int64_t i = 0; i < in.Nq; ++i)
    for (std::int64_t j = 0; j < in.Nk; ++j) {
      const std::int64_t pair = i * in.Nk + j;
      const std::int32_t row = rows[static_cast<std::size_t>(pair)];
      if (row >= 0) visit(pair, (side == Side::query ? i : j) * width + row);
    }
}

void add_numbers(const Inputs& in, const Tensor& numbers, const AttentionTerm& term,
                 const std::vector<float>& scale, Tensor& scores) {
  const std::vector<std::int32_t> rows = pair_rows(in, *term.gather);
  const std::int64_t tile = numbers.dim(3) * numbers.dim(4);
  each_tile(in, [&](std::int64_t p, std::int64_t h) {
    const float* from = numbers.data() + p * tile;
    float* to = scores.data() + p * in.Nq * in.Nk;
    const float s = scale[static_cast<std::size_t>(h)];
    each_read(in, term.side, rows, numbers.dim(4),
              [&](std::int64_t pair, std::int64_t at) { to[pair] += s * from[at]; });
  });
}

void number_gradients(const Inputs& in, const ComposedSlots& slots, const AttentionTerm& term,
                      const std::vector<float>& scale, const Tensor& dscores, ComposedSlots& dslots) {
  const Var& table = term.table;
  const bool query = term.side == Side::query;
  const std::int64_t width = term.kind == Kind::bucket ? table.dim(3) : table.dim(-2);
  const Slots of = term_slots(in, term, width);
  const std::vector<std::int32_t> rows = pair_rows(in, *term.gather);
  Tensor dnumbers = Tensor::zeros(of.shape());
  each_tile(in, [&](std::int64_t p, std::int64_t h) {
    const float* from = dscores.data() + p * in.Nq * in.Nk;
    float* to = dnumbers.data() + p * of.count * width;
    const float s = scale[static_cast<std::size_t>(h)];
    each_read(in, term.side, rows, width,
              [&](std::int64_t pair, std::int64_t at) { to[at] += s * from[pair]; });
  });
  if (term.kind == Kind::bucket) {
    if (!table.requires_grad()) return;
    Tensor dtable = Tensor::zeros(table.shape());
    scatter_slots(of, dnumbers, dtable.data());
    return table.accumulate(std::move(dtable));
  }
  clear_padding(of, dnumbers);
  add_vectors(in, dnumbers, table.value(), in.scale, query ? dslots.q : dslots.k);
  if (table.requires_grad())
    table.accumulate(vectors_gradient(in, dnumbers, query ? slots.q : slots.k, in.scale, table.shape()));
}

// ---- numbers of a query, one per coordinate of the key

// visit(place of the pair in its tile, place in the axis' numbers of (b, g, h)).
template <class Visit>
void each_axis_read(const Inputs& in, const AttentionTerm& term, std::size_t axis, const Visit& visit) {
  const std::int64_t extent = term.axes[axis].dim(3);
  std::int64_t inner = 1;  // keys that follow each other with the same coordinate
  for (std::size_t a = axis + 1; a < 3; ++a) inner *= term.axes[a].defined() ? term.axes[a].dim(3) : 1;
  for (std::int64_t i = 0; i < in.Nq; ++i)
    for (std::int64_t j = term.first_key; j < in.Nk;)
      for (std::int64_t c = 0; c < extent; ++c)
        for (std::int64_t x = 0; x < inner; ++x, ++j) visit(i * in.Nk + j, i * extent + c);
}

void add_axes(const Inputs& in, const AttentionTerm& term, const std::vector<float>& scale, Tensor& scores) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (!term.axes[a].defined()) continue;
    const std::int64_t extent = term.axes[a].dim(3);
    const Tensor numbers = gather_slots(token_slots(in, Side::query, extent), term.axes[a].value().data());
    each_tile(in, [&](std::int64_t p, std::int64_t h) {
      const float* from = numbers.data() + p * in.Nq * extent;
      float* to = scores.data() + p * in.Nq * in.Nk;
      const float s = scale[static_cast<std::size_t>(h)];
      each_axis_read(in, term, a, [&](std::int64_t pair, std::int64_t at) { to[pair] += s * from[at]; });
    });
  }
}

void axis_gradients(const Inputs& in, const AttentionTerm& term, const std::vector<float>& scale,
                    const Tensor& dscores) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (!term.axes[a].requires_grad()) continue;
    const std::int64_t extent = term.axes[a].dim(3);
    const Slots of = token_slots(in, Side::query, extent);
    Tensor dnumbers = Tensor::zeros(of.shape());
    each_tile(in, [&](std::int64_t p, std::int64_t h) {
      const float* from = dscores.data() + p * in.Nq * in.Nk;
      float* to = dnumbers.data() + p * in.Nq * extent;
      const float s = scale[static_cast<std::size_t>(h)];
      each_axis_read(in, term, a, [&](std::int64_t pair, std::int64_t at) { to[at] += s * from[pair]; });
    });
    Tensor dtable = Tensor::zeros(term.axes[a].shape());
    scatter_slots(of, dnumbers, dtable.data());
    term.axes[a].accumulate(std::move(dtable));
  }
}

void head_scale_gradient(const Inputs& in, const ComposedSlots& slots, const AttentionTerm& term,
                         const Tensor& dscores) {
  Tensor plain = Tensor::zeros(dscores.shape());
  add_composed_term(in, slots, term, false, plain);
  const std::int64_t tile = in.Nq * in.Nk;
  Tensor dscale({in.H});
  parallel_for(in.H, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h) {
      double sum = 0;
      for (std::int64_t bg = 0; bg < in.B * in.G; ++bg)
        for (std::int64_t n = (bg * in.H + h) * tile; n < (bg * in.H + h + 1) * tile; ++n)
          sum += static_cast<double>(plain[n]) * static_cast<double>(dscores[n]);
      dscale[h] = static_cast<float>(sum);
    }
  });
  term.head_scale.accumulate(std::move(dscale));
}

}  // namespace

void add_composed_term(const Inputs& in, const ComposedSlots& slots, const AttentionTerm& term, bool scaled,
                       Tensor& scores) {
  const std::vector<float> scale = scales(in, term, scaled);
  if (term.kind == Kind::dense)
    add_pairs(in, term.table.value(), scale, scores);
  else if (term.kind == Kind::gather)
    add_pairs(in, read_pairs(in, term.table.value(), *term.gather, 0.0f), scale, scores);
  else if (term.kind == Kind::axis)
    add_axes(in, term, scale, scores);
  else
    add_numbers(in, slot_numbers(in, slots, term), term, scale, scores);
}

void composed_term_gradients(const Inputs& in, const ComposedSlots& slots, const AttentionTerm& term,
                             const Tensor& dscores, ComposedSlots& dslots) {
  const std::vector<float> scale = scales(in, term, true);
  if (term.head_scale.requires_grad()) head_scale_gradient(in, slots, term, dscores);
  if (term.kind == Kind::axis) return axis_gradients(in, term, scale, dscores);
  if (term.kind == Kind::bucket || term.kind == Kind::band)
    return number_gradients(in, slots, term, scale, dscores, dslots);
  if (!term.table.requires_grad()) return;
  if (term.kind == Kind::dense)
    return term.table.accumulate(pairs_gradient(in, term.table.shape(), scale, dscores));
  const Tensor dpairs = pairs_gradient(in, {in.H, in.Nq, in.Nk}, scale, dscores);
  term.table.accumulate(read_pairs_gradient(in, dpairs, term.table.shape(), *term.gather));
}

}  // namespace locant
