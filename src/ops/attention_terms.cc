#include "ops/attention_terms.h"

#include <algorithm>

#include "core/error.h"

namespace locant {
namespace {

constexpr const char* kOp = "attention";

const char* kind_name(AttentionTerm::Kind kind) {
  switch (kind) {
    case AttentionTerm::Kind::dense:
      return "dense";
    case AttentionTerm::Kind::gather:
      return "gather";
    case AttentionTerm::Kind::bucket:
      return "bucket";
    case AttentionTerm::Kind::band:
      return "band";
    case AttentionTerm::Kind::axis:
      return "axis";
  }
  fail(kOp, "no kind of term has the number {}", static_cast<int>(kind));
}

const Shape& shape_of(const Var& table, const std::string& what) {
  require(table.defined(), kOp, "{} has no table", what);
  return table.shape();
}

// Codes, offsets and map against the slots of the call and a table of `rows`.
void check_map(const AttentionInputs& in, const GatherMap* map, const Shape& table, std::int64_t rows,
               const std::string& what) {
  require(map != nullptr, kOp, "{} has no GatherMap that says which rows of its table of shape {} are read",
          what, table.str());
  require(static_cast<std::int64_t>(map->query_code.size()) == in.Nq &&
              static_cast<std::int64_t>(map->key_code.size()) == in.Nk,
          kOp, "{} has codes for {} query and {} key slots; the call has {} and {}", what,
          map->query_code.size(), map->key_code.size(), in.Nq, in.Nk);
  require(map->map.empty() || static_cast<std::int64_t>(map->map.size()) == map->offsets, kOp,
          "{} has a map of {} entries for {} offsets", what, map->map.size(), map->offsets);
  require(map->offsets >= 1, kOp, "{} has {} offsets; it needs one at least", what, map->offsets);
  const std::int64_t last =
      map->map.empty() ? map->offsets - 1 : *std::max_element(map->map.begin(), map->map.end());
  if (rows < 1 || last >= rows)
    fail(kOp, "{} wants row {} of a table of shape {}, which has {} rows ({} offsets)", what, last,
         table.str(), rows, map->offsets);
  if (in.Nq == 0 || in.Nk == 0) return;
  const auto [query_low, query_high] = std::minmax_element(map->query_code.begin(), map->query_code.end());
  const auto [key_low, key_high] = std::minmax_element(map->key_code.begin(), map->key_code.end());
  const std::int64_t low = std::int64_t{*query_low} - *key_high + map->origin;
  const std::int64_t high = std::int64_t{*query_high} - *key_low + map->origin;
  require(low >= 0 && high < map->offsets, kOp, "{} has codes that give offsets {} to {}, outside [0, {})",
          what, low, high, map->offsets);
}

void check_gather(const AttentionInputs& in, const AttentionTerm& term, const std::string& what) {
  const Shape& shape = shape_of(term.table, what);
  if (shape.rank() != 2 || shape[1] != in.H)
    fail(kOp, "{} has a table of shape {}; it must be (rows, {} heads)", what, shape.str(), in.H);
  check_map(in, term.gather.get(), shape, shape[0], what);
}

void check_bucket(const AttentionInputs& in, const AttentionTerm& term, const std::string& what) {
  const Shape& shape = shape_of(term.table, what);
  const bool query = term.side == Side::query;
  const std::int64_t tokens = in.parts[query ? 0 : 1].tokens;
  if (shape.rank() != 4 || shape[0] != in.B || shape[1] != tokens || shape[2] != in.H)
    fail(kOp, "{} has numbers of shape {}; on the {} side they must be (B, N, H, rows) = ({}, {}, {}, rows)",
         what, shape.str(), query ? "query" : "key", in.B, tokens, in.H);
  check_map(in, term.gather.get(), shape, shape[3], what);
}

// Vectors (rows, width) or (H, rows, width).
void check_vectors(const AttentionInputs& in, const Var& vectors, const GatherMap* map, std::int64_t width,
                   const std::string& what) {
  const Shape& shape = shape_of(vectors, what);
  const bool shared = shape.rank() == 2, own = shape.rank() == 3 && shape[0] == in.H;
  if ((!shared && !own) || shape[-1] != width)
    fail(kOp, "{} has vectors of shape {}; they must be (rows, {}) or ({} heads, rows, {})", what,
         shape.str(), width, in.H, width);
  check_map(in, map, shape, shape[-2], what);
}

void check_axis(const AttentionInputs& in, const AttentionTerm& term, const std::string& what) {
  const std::int64_t tokens = in.parts[0].tokens;
  constexpr const char* kNames[3] = {"frames", "rows", "columns"};
  std::int64_t extents[3] = {1, 1, 1};
  bool any = false;
  for (std::size_t a = 0; a < 3; ++a) {
    if (!term.axes[a].defined()) continue;
    any = true;
    const Shape& shape = term.axes[a].shape();
    if (shape.rank() != 4 || shape[0] != in.B || shape[1] != tokens || shape[2] != in.H || shape[3] < 1)
      fail(kOp, "{} has {} of shape {}; they must be (B, Nq, H, key {}) = ({}, {}, {}, key {})", what,
           kNames[a], shape.str(), kNames[a], in.B, tokens, in.H, kNames[a]);
    extents[a] = shape[3];
    // One by one, so that the product below cannot overflow.
    require(extents[a] <= in.Nk, kOp, "{} has {} key {} for {} key slots", what, extents[a], kNames[a],
            in.Nk);
  }
  require(any, kOp, "{} has no table", what);
  const std::int64_t plane = extents[1] * extents[2];
  if (term.first_key < 0 || term.first_key > in.Nk || plane > in.Nk ||
      term.first_key + extents[0] * plane != in.Nk)
    fail(kOp, "{} covers {} x {} x {} keys from slot {} on; together they must be the {} key slots", what,
         extents[0], extents[1], extents[2], term.first_key, in.Nk);
}

void check_term(const AttentionInputs& in, const AttentionTerm& term, const std::string& what) {
  switch (term.kind) {
    case AttentionTerm::Kind::dense:
      dense_strides(in, shape_of(term.table, what), what);
      break;
    case AttentionTerm::Kind::gather:
      check_gather(in, term, what);
      break;
    case AttentionTerm::Kind::bucket:
      check_bucket(in, term, what);
      break;
    case AttentionTerm::Kind::band:
      check_vectors(in, term.table, term.gather.get(), in.D, what);
      break;
    case AttentionTerm::Kind::axis:
      check_axis(in, term, what);
      break;
  }
  if (term.head_scale.defined() && term.head_scale.shape() != Shape{in.H})
    fail(kOp, "{} has a head_scale of shape {}; it must be ({} heads)", what, term.head_scale.shape().str(),
         in.H);
}

}  // namespace

void check_attention_terms(const AttentionInputs& in) {
  const AttentionOptions& o = in.options;
  require(o.terms.size() <= 4, kOp, "{} terms; at most four are possible: add some up beforehand",
          o.terms.size());
  for (std::size_t t = 0; t < o.terms.size(); ++t)
    check_term(in, o.terms[t], fmt::format("term {} ({})", t, kind_name(o.terms[t].kind)));
  if (o.factor.table.defined()) {
    require(o.factor.kind == AttentionTerm::Kind::gather && !o.factor.head_scale.defined(), kOp,
            "the factor must be a gather term without a head_scale, and is a {} term{}",
            kind_name(o.factor.kind), o.factor.head_scale.defined() ? " with one" : "");
    check_gather(in, o.factor, "the factor");
  }
  if (o.value_term.vectors.defined())
    check_vectors(in, o.value_term.vectors, o.value_term.gather.get(), in.Dv, "the value term");
}

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

}  // namespace locant
