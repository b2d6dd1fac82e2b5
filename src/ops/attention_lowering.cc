#include "ops/attention_lowering.h"

namespace locant {
namespace {

struct VectorStrides {
  std::int64_t row, head;
};

// Vectors (rows, width) shared by the heads, or (H, rows, width).
VectorStrides vector_strides(const Shape& shape) {
  return {shape[-1], shape.rank() == 3 ? shape[1] * shape[2] : 0};
}

}  // namespace

LoweredTerms::LoweredTerms(const AttentionInputs& in, Gradients gradients)
    : in_(in), wanted_(gradients == Gradients::wanted) {
  const AttentionOptions& o = in.options;
  for (const AttentionTerm& term : o.terms) terms_.push_back(lower(term));
  if (o.factor.table.defined()) factor_ = lower_gather(o.factor);
  if (const Var& vectors = o.value_term.vectors; vectors.defined()) {
    const auto [row, head] = vector_strides(vectors.shape());
    value_term_ = {offset(*o.value_term.gather, vectors.dim(-2)), vectors.value().data(), gradient(vectors),
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
  const Var& table = term.table;
  switch (term.kind) {
    case AttentionTerm::Kind::dense: {
      const auto [batch, group, head, row] = dense_strides(in_, table.shape(), "a dense term");
      out.term = DenseTerm{table.value().data(), gradient(table), batch, group, head, row};
      break;
    }
    case AttentionTerm::Kind::gather:
      out.term = lower_gather(term);
      break;
    case AttentionTerm::Kind::bucket: {
      const std::int64_t rows = table.dim(3), width = in_.H * rows;
      out.term = BucketTerm{offset(*term.gather, rows),
                            term.side,
                            table.value().data(),
                            gradient(table),
                            table.dim(1) * width,
                            width,
                            rows};
      break;
    }
    case AttentionTerm::Kind::band: {
      const auto [row, head] = vector_strides(table.shape());
      out.term = BandTerm{
          offset(*term.gather, table.dim(-2)), term.side, table.value().data(), gradient(table), row, head};
      break;
    }
    case AttentionTerm::Kind::axis:
      out.term = lower_axis(term);
      break;
  }
  if (term.head_scale.defined()) {
    out.head_scale = term.head_scale.value().data();
    out.dhead_scale = gradient(term.head_scale);
  }
  return out;
}

OffsetMap LoweredTerms::offset(const GatherMap& map, std::int64_t rows) const {
  return {map.query_code.data(),
          map.key_code.data(),
          map.origin,
          map.map.empty() ? nullptr : map.map.data(),
          map.offsets,
          rows};
}

GatherTerm LoweredTerms::lower_gather(const AttentionTerm& term) {
  const Var& table = term.table;  // (rows, H)
  return {offset(*term.gather, table.dim(0)), table.value().data(), gradient(table), in_.H, 1};
}

AxisTerm LoweredTerms::lower_axis(const AttentionTerm& term) {
  AxisTerm out;
  out.first_key = term.first_key;
  for (std::size_t a = 0; a < 3; ++a) {
    const Var& table = term.axes[a];  // (B, N, H, extent)
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

}  // namespace locant
