#include "ops/attention/composed/terms.h"

#include "core/parallel.h"
#include "ops/attention/composed/pairs.h"
#include "ops/attention/composed/slots.h"

namespace locant {
namespace {

using Inputs = AttentionInputs;
using Dense = AttentionTerm::Dense;
using Gather = AttentionTerm::Gather;
using Bucket = AttentionTerm::Bucket;
using Band = AttentionTerm::Band;
using Axis = AttentionTerm::Axis;

// Head scales, or ones.
std::vector<float> scales(const Inputs& in, const AttentionTerm& term, bool scaled) {
  std::vector<float> out(static_cast<std::size_t>(in.H), 1.0f);
  if (scaled && term.head_scale.defined()) {
    const auto values = term.head_scale.value().values();
    out.assign(values.begin(), values.end());
  }
  return out;
}

// ---- numbers of every pair: dense terms, and gather terms once read

void add(const Inputs& in, const ComposedSlots&, const Dense& dense, const std::vector<float>& scale,
         Tensor& scores) {
  add_pairs(in, dense.bias.value(), scale, scores);
}

void add(const Inputs& in, const ComposedSlots&, const Gather& gather, const std::vector<float>& scale,
         Tensor& scores) {
  add_pairs(in, read_pairs(in, gather.table.value(), *gather.map, 0.0f), scale, scores);
}

void gradients(const Inputs& in, const ComposedSlots&, const Dense& dense, const std::vector<float>& scale,
               const Tensor& dscores, ComposedSlots&) {
  if (dense.bias.requires_grad())
    dense.bias.accumulate(pairs_gradient(in, dense.bias.shape(), scale, dscores));
}

void gradients(const Inputs& in, const ComposedSlots&, const Gather& gather, const std::vector<float>& scale,
               const Tensor& dscores, ComposedSlots&) {
  const Var& table = gather.table;
  if (!table.requires_grad()) return;
  const Tensor dpairs = pairs_gradient(in, {in.H, in.Nq, in.Nk}, scale, dscores);
  table.accumulate(read_pairs_gradient(in, dpairs, table.shape(), *gather.map));
}

// ---- numbers of a slot, one per index: bucket terms, and band terms once multiplied

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

// numbers (B, G, H, slots, rows) of the slots of one side
void add_numbers(const Inputs& in, const Tensor& numbers, Side side, const OffsetMap& map,
                 const std::vector<float>& scale, Tensor& scores) {
  const std::vector<std::int32_t> rows = pair_rows(in, map);
  const std::int64_t tile = numbers.dim(3) * numbers.dim(4);
  each_tile(in, [&](std::int64_t p, std::int64_t h) {
    const float* from = numbers.data() + p * tile;
    float* to = scores.data() + p * in.Nq * in.Nk;
    const float s = scale[static_cast<std::size_t>(h)];
    each_read(in, side, rows, numbers.dim(4),
              [&](std::int64_t pair, std::int64_t at) { to[pair] += s * from[at]; });
  });
}

Tensor number_gradients(const Inputs& in, const Slots& of, Side side, const OffsetMap& map,
                        const std::vector<float>& scale, const Tensor& dscores) {
  const std::vector<std::int32_t> rows = pair_rows(in, map);
  Tensor dnumbers = Tensor::zeros(of.shape());
  each_tile(in, [&](std::int64_t p, std::int64_t h) {
    const float* from = dscores.data() + p * in.Nq * in.Nk;
    float* to = dnumbers.data() + p * of.count * of.head_width;
    const float s = scale[static_cast<std::size_t>(h)];
    each_read(in, side, rows, of.head_width,
              [&](std::int64_t pair, std::int64_t at) { to[at] += s * from[pair]; });
  });
  return dnumbers;
}

void add(const Inputs& in, const ComposedSlots&, const Bucket& bucket, const std::vector<float>& scale,
         Tensor& scores) {
  const Slots of = token_slots(in, bucket.side, bucket.numbers.dim(3));
  add_numbers(in, gather_slots(of, bucket.numbers.value().data()), bucket.side, *bucket.map, scale, scores);
}

void gradients(const Inputs& in, const ComposedSlots&, const Bucket& bucket, const std::vector<float>& scale,
               const Tensor& dscores, ComposedSlots&) {
  if (!bucket.numbers.requires_grad()) return;
  const Slots of = token_slots(in, bucket.side, bucket.numbers.dim(3));
  Tensor dnumbers = Tensor::zeros(bucket.numbers.shape());
  scatter_slots(of, number_gradients(in, of, bucket.side, *bucket.map, scale, dscores), dnumbers.data());
  bucket.numbers.accumulate(std::move(dnumbers));
}

void add(const Inputs& in, const ComposedSlots& slots, const Band& band, const std::vector<float>& scale,
         Tensor& scores) {
  const Tensor& vectors = band.vectors.value();
  Tensor numbers = times_vectors(in, band.side == Side::query ? slots.q : slots.k, vectors, in.scale);
  clear_padding(token_slots(in, band.side, vectors.dim(-2)), numbers);
  add_numbers(in, numbers, band.side, *band.map, scale, scores);
}

void gradients(const Inputs& in, const ComposedSlots& slots, const Band& band,
               const std::vector<float>& scale, const Tensor& dscores, ComposedSlots& dslots) {
  const Var& vectors = band.vectors;
  const bool query = band.side == Side::query;
  const Slots of = token_slots(in, band.side, vectors.dim(-2));
  Tensor dnumbers = number_gradients(in, of, band.side, *band.map, scale, dscores);
  clear_padding(of, dnumbers);
  add_vectors(in, dnumbers, vectors.value(), in.scale, query ? dslots.q : dslots.k);
  if (vectors.requires_grad())
    vectors.accumulate(vectors_gradient(in, dnumbers, query ? slots.q : slots.k, in.scale, vectors.shape()));
}

// ---- numbers of a query, one per coordinate of the key

// visit(place of the pair in its tile, place in the axis' numbers of (b, g, h)).
template <class Visit>
void each_axis_read(const Inputs& in, const Axis& axes, std::size_t axis, const Visit& visit) {
  const std::int64_t extent = axes.tables[axis].dim(3);
  std::int64_t inner = 1;  // keys that follow each other with the same coordinate
  for (std::size_t a = axis + 1; a < 3; ++a) inner *= axes.tables[a].defined() ? axes.tables[a].dim(3) : 1;
  for (std::int64_t i = 0; i < in.Nq; ++i)
    for (std::int64_t j = axes.first_key; j < in.Nk;)
      for (std::int64_t c = 0; c < extent; ++c)
        for (std::int64_t x = 0; x < inner; ++x, ++j) visit(i * in.Nk + j, i * extent + c);
}

void add(const Inputs& in, const ComposedSlots&, const Axis& axes, const std::vector<float>& scale,
         Tensor& scores) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (!axes.tables[a].defined()) continue;
    const std::int64_t extent = axes.tables[a].dim(3);
    const Tensor numbers = gather_slots(token_slots(in, Side::query, extent), axes.tables[a].value().data());
    each_tile(in, [&](std::int64_t p, std::int64_t h) {
      const float* from = numbers.data() + p * in.Nq * extent;
      float* to = scores.data() + p * in.Nq * in.Nk;
      const float s = scale[static_cast<std::size_t>(h)];
      each_axis_read(in, axes, a, [&](std::int64_t pair, std::int64_t at) { to[pair] += s * from[at]; });
    });
  }
}

void gradients(const Inputs& in, const ComposedSlots&, const Axis& axes, const std::vector<float>& scale,
               const Tensor& dscores, ComposedSlots&) {
  for (std::size_t a = 0; a < 3; ++a) {
    if (!axes.tables[a].requires_grad()) continue;
    const std::int64_t extent = axes.tables[a].dim(3);
    const Slots of = token_slots(in, Side::query, extent);
    Tensor dnumbers = Tensor::zeros(of.shape());
    each_tile(in, [&](std::int64_t p, std::int64_t h) {
      const float* from = dscores.data() + p * in.Nq * in.Nk;
      float* to = dnumbers.data() + p * in.Nq * extent;
      const float s = scale[static_cast<std::size_t>(h)];
      each_axis_read(in, axes, a, [&](std::int64_t pair, std::int64_t at) { to[at] += s * from[pair]; });
    });
    Tensor dtable = Tensor::zeros(axes.tables[a].shape());
    scatter_slots(of, dnumbers, dtable.data());
    axes.tables[a].accumulate(std::move(dtable));
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
  std::visit([&](const auto& kind) { add(in, slots, kind, scale, scores); }, term.kind);
}

void composed_term_gradients(const Inputs& in, const ComposedSlots& slots, const AttentionTerm& term,
                             const Tensor& dscores, ComposedSlots& dslots) {
  const std::vector<float> scale = scales(in, term, true);
  if (term.head_scale.requires_grad()) head_scale_gradient(in, slots, term, dscores);
  std::visit([&](const auto& kind) { gradients(in, slots, kind, scale, dscores, dslots); }, term.kind);
}

}  // namespace locant
