#include "ops/attention/term_shapes.h"

#include "core/error.h"
#include "kernels/attention_check.h"
#include "ops/attention/lowering.h"

namespace locant {
namespace {

constexpr const char* kTermShapesOp = "attention";

const Shape& shape_of(const Var& table, const std::string& what) {
  require(table.defined(), kTermShapesOp, "{} has no table", what);
  return table.shape();
}

// A map against the slots of the call and a table of `rows`.
void check_map(const AttentionInputs& in, const OffsetMap* map, const Shape& table, std::int64_t rows,
               const std::string& what) {
  require(map != nullptr, kTermShapesOp,
          "{} has no OffsetMap that says which rows of its table of shape {} are read", what, table.str());
  require(static_cast<std::int64_t>(map->query_code.size()) == in.Nq &&
              static_cast<std::int64_t>(map->key_code.size()) == in.Nk,
          kTermShapesOp, "{} has codes for {} query and {} key slots; the call has {} and {}", what,
          map->query_code.size(), map->key_code.size(), in.Nq, in.Nk);
  require(map->map.empty() || static_cast<std::int64_t>(map->map.size()) == map->offsets, kTermShapesOp,
          "{} has a map of {} entries for {} offsets", what, map->map.size(), map->offsets);
  std::optional<std::int64_t> wanted = map->rows_wanted.get();
  if (!wanted) {
    wanted = rows_wanted(offset_view(*map, rows), in.Nq, in.Nk, what);
    map->rows_wanted.set(*wanted);
  }
  if (rows < 1 || *wanted > rows)
    fail(kTermShapesOp, "{} wants row {} of a table of shape {}, which has {} rows ({} offsets)", what,
         *wanted - 1, table.str(), rows, map->offsets);
}

// Vectors (rows, width) or (H, rows, width).
void check_vectors(const AttentionInputs& in, const Var& vectors, const OffsetMap* map, std::int64_t width,
                   const std::string& what) {
  const Shape& shape = shape_of(vectors, what);
  const bool shared = shape.rank() == 2, own = shape.rank() == 3 && shape[0] == in.H;
  if ((!shared && !own) || shape[-1] != width)
    fail(kTermShapesOp, "{} has vectors of shape {}; they must be (rows, {}) or ({} heads, rows, {})", what,
         shape.str(), width, in.H, width);
  check_map(in, map, shape, shape[-2], what);
}

void check(const AttentionInputs& in, const AttentionTerm::Dense& dense, const std::string& what) {
  dense_strides(in, shape_of(dense.bias, what), what);
}

void check(const AttentionInputs& in, const AttentionTerm::Gather& gather, const std::string& what) {
  const Shape& shape = shape_of(gather.table, what);
  if (shape.rank() != 2 || shape[1] != in.H)
    fail(kTermShapesOp, "{} has a table of shape {}; it must be (rows, {} heads)", what, shape.str(), in.H);
  check_map(in, gather.map.get(), shape, shape[0], what);
}

void check(const AttentionInputs& in, const AttentionTerm::Bucket& bucket, const std::string& what) {
  const Shape& shape = shape_of(bucket.numbers, what);
  const bool query = bucket.side == Side::query;
  const std::int64_t tokens = in.parts[query ? 0 : 1].tokens;
  if (shape.rank() != 4 || shape[0] != in.B || shape[1] != tokens || shape[2] != in.H)
    fail(kTermShapesOp,
         "{} has numbers of shape {}; on the {} side they must be (B, N, H, rows) = ({}, {}, {}, rows)", what,
         shape.str(), query ? "query" : "key", in.B, tokens, in.H);
  check_map(in, bucket.map.get(), shape, shape[3], what);
}

void check(const AttentionInputs& in, const AttentionTerm::Band& band, const std::string& what) {
  check_vectors(in, band.vectors, band.map.get(), in.D, what);
}

void check(const AttentionInputs& in, const AttentionTerm::Axis& axis, const std::string& what) {
  const std::int64_t tokens = in.parts[0].tokens;
  constexpr const char* kNames[3] = {"frames", "rows", "columns"};
  bool any = false;
  for (std::size_t a = 0; a < 3; ++a) {
    if (!axis.tables[a].defined()) continue;
    any = true;
    const Shape& shape = axis.tables[a].shape();
    if (shape.rank() != 4 || shape[0] != in.B || shape[1] != tokens || shape[2] != in.H || shape[3] < 1)
      fail(kTermShapesOp, "{} has {} of shape {}; they must be (B, Nq, H, key {}) = ({}, {}, {}, key {})",
           what, kNames[a], shape.str(), kNames[a], in.B, tokens, in.H, kNames[a]);
  }
  require(any, kTermShapesOp, "{} has no table", what);
}

}  // namespace

void check_term_shapes(const AttentionInputs& in) {
  const AttentionOptions& o = in.options;
  for (std::size_t t = 0; t < o.terms.size(); ++t) {
    const AttentionTerm& term = o.terms[t];
    const std::string what = fmt::format("term {} ({})", t, term.name());
    std::visit([&](const auto& kind) { check(in, kind, what); }, term.kind);
    if (term.head_scale.defined() && term.head_scale.shape() != Shape{in.H})
      fail(kTermShapesOp, "{} has a head_scale of shape {}; it must be ({} heads)", what,
           term.head_scale.shape().str(), in.H);
  }
  if (o.factor) {
    const auto* gather = std::get_if<AttentionTerm::Gather>(&o.factor->kind);
    require(gather != nullptr && !o.factor->head_scale.defined(), kTermShapesOp,
            "the factor must be a gather term without a head_scale, and is a {} term{}", o.factor->name(),
            o.factor->head_scale.defined() ? " with one" : "");
    check(in, *gather, "the factor");
  }
  if (o.value_term.vectors.defined())
    check_vectors(in, o.value_term.vectors, o.value_term.map.get(), in.Dv, "the value term");
}

}  // namespace locant
