#include "ops/attention/lowering.h"

#include "kernels/attention_check.h"

namespace locant {
namespace {

struct VectorStrides {
  std::int64_t row, head;
};

// Vectors (rows, width) shared by the heads, or (H, rows, width).
VectorStrides vector_strides(const Shape& shape) {
  return {shape[-1], shape.rank() == 3 ? shape[1] * shape[2] : 0};
}

AttentionView view(const AttentionInputs::Part& part) {
  return {part.value.value().data() + part.offset, part.tokens * part.width, part.width, part.head_width};
}

void put_masks(const AttentionInputs& in, AttentionMask& mask) {
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

}  // namespace

OffsetView offset_view(const OffsetMap& map, std::int64_t rows) {
  return {map.query_code.data(),
          map.key_code.data(),
          map.origin,
          map.map.empty() ? nullptr : map.map.data(),
          map.offsets,
          rows,
          map.rows_wanted.get().has_value()};
}

LoweredTerms::LoweredTerms(const AttentionInputs& in, Gradients gradients)
    : in_(in), wanted_(gradients == Gradients::wanted) {
  const AttentionOptions& o = in.options;
  for (const AttentionTerm& term : o.terms) terms_.push_back(lower(term));
  if (in.factor() != nullptr) factor_ = lower(*in.factor());
  if (const Var& vectors = o.value_term.vectors; vectors.defined()) {
    const auto [row, head] = vector_strides(vectors.shape());
    value_term_ = {offset_view(*o.value_term.map, vectors.dim(-2)), vectors.value().data(), gradient(vectors),
                   row, head};
  }
}

void LoweredTerms::put(AttentionArgs& args) const {
  args.terms = terms_;
  args.factor = factor_.table != nullptr ? &factor_ : nullptr;
  args.value_term = value_term_.vectors != nullptr ? &value_term_ : nullptr;
}

void LoweredTerms::accumulate() {
  for (auto& [var, gradient] : gradients_) var.accumulate(std::move(gradient));
  gradients_.clear();
}

ScoreTerm LoweredTerms::lower(const AttentionTerm& term) {
  ScoreTerm out;
  std::visit([&](const auto& kind) { out.term = lower(kind); }, term.kind);
  if (term.head_scale.defined()) {
    out.head_scale = term.head_scale.value().data();
    out.dhead_scale = gradient(term.head_scale);
  }
  return out;
}

DenseTerm LoweredTerms::lower(const AttentionTerm::Dense& dense) {
  const auto [batch, group, head, row] = dense_strides(in_, dense.bias.shape(), "a dense term");
  return {dense.bias.value().data(), gradient(dense.bias), batch, group, head, row};
}

GatherTerm LoweredTerms::lower(const AttentionTerm::Gather& gather) {
  const Var& table = gather.table;  // (rows, H)
  return {offset_view(*gather.map, table.dim(0)), table.value().data(), gradient(table), in_.H, 1};
}

BucketTerm LoweredTerms::lower(const AttentionTerm::Bucket& bucket) {
  const Var& numbers = bucket.numbers;  // (B, N, H, rows)
  const std::int64_t rows = numbers.dim(3), width = in_.H * rows;
  return {offset_view(*bucket.map, rows),
          bucket.side,
          numbers.value().data(),
          gradient(numbers),
          numbers.dim(1) * width,
          width,
          rows};
}

BandTerm LoweredTerms::lower(const AttentionTerm::Band& band) {
  const Var& vectors = band.vectors;
  const auto [row, head] = vector_strides(vectors.shape());
  return {offset_view(*band.map, vectors.dim(-2)),
          band.side,
          vectors.value().data(),
          gradient(vectors),
          row,
          head};
}

AxisTerm LoweredTerms::lower(const AttentionTerm::Axis& axis) {
  AxisTerm out;
  out.first_key = axis.first_key;
  for (std::size_t a = 0; a < 3; ++a) {
    const Var& table = axis.tables[a];  // (B, N, H, extent)
    if (!table.defined()) continue;
    out.extents[a] = table.dim(3);
    out.tables[a] = table.value().data();
    out.dtables[a] = gradient(table);
    out.head_stride[a] = table.dim(3);
    out.row_stride[a] = in_.H * table.dim(3);
    out.batch_stride[a] = table.dim(1) * out.row_stride[a];
  }
  return out;
}

float* LoweredTerms::gradient(const Var& var) {
  if (!wanted_ || !var.requires_grad()) return nullptr;
  gradients_.emplace_back(var, Tensor::zeros(var.shape()));
  return gradients_.back().second.data();
}

AttentionArgs lower_call(const AttentionInputs& in, const LoweredTerms& terms) {
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
  args.scale = in.scale;
  args.query_rows = in.query_rows();
  args.key_rows = in.key_rows();
  if (in.options.pad_bias.defined()) {
    args.key_pad = in.options.pad_bias.value().data() + in.H * in.D;
    args.value_pad = args.key_pad + in.H * in.D;
  }
  terms.put(args);
  put_masks(in, args.mask);
  return args;
}

void check_lowered(const AttentionInputs& in) {
  const LoweredTerms terms(in, LoweredTerms::Gradients::none);
  check_attention_numbers(lower_call(in, terms));
}

}  // namespace locant
