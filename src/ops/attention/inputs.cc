#include "ops/attention/inputs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "ops/attention/term_shapes.h"

namespace locant {
namespace {

constexpr const char* kInputsOp = "attention";

// Whether a map reaches every one of `tokens` rows. Queries may reach a row once only.
bool check_rows(const std::vector<std::int32_t>& rows, std::int64_t slots, std::int64_t tokens, bool once,
                const Remembered& checked, const char* name) {
  if (rows.empty()) {
    require(slots == tokens, kInputsOp, "{} {} slots for {} tokens; without a row map both must be equal",
            slots, name, tokens);
    return true;
  }
  require(static_cast<std::int64_t>(rows.size()) == slots, kInputsOp, "the {} map has {} rows for {} slots",
          name, rows.size(), slots);
  if (const auto known = checked.get(); known && *known / 2 == tokens) return *known % 2 != 0;
  std::vector<bool> seen(static_cast<std::size_t>(tokens));
  std::int64_t reached = 0;
  for (const std::int32_t row : rows) {
    if (row < 0) continue;
    if (row >= tokens) fail(kInputsOp, "the {} map asks for row {} of {} tokens", name, row, tokens);
    const bool again = seen[static_cast<std::size_t>(row)];
    if (again && once) fail(kInputsOp, "the {} map asks for row {} twice", name, row);
    seen[static_cast<std::size_t>(row)] = true;
    reached += !again;
  }
  const bool all = reached == tokens;
  checked.set(tokens * 2 + (all ? 1 : 0));
  return all;
}

void check_regions(const std::vector<std::int32_t>& region, std::int64_t slots, const char* name) {
  require(region.empty() || static_cast<std::int64_t>(region.size()) == slots, kInputsOp,
          "{} {} regions for {} slots", region.size(), name, slots);
}

void check_boxes(const RowMaps& maps, const AttentionInputs& in) {
  if (maps.query_box.empty()) return;
  require(static_cast<std::int64_t>(maps.query_box.size()) == in.G * in.Nq * 4, kInputsOp,
          "query_box has {} numbers; four for each of {} groups of {} queries are {}", maps.query_box.size(),
          in.G, in.Nq, in.G * in.Nq * 4);
}

void check_maps(AttentionInputs& in) {
  in.Nq = in.parts[0].tokens;
  in.Nk = in.parts[1].tokens;
  in.parts[0].covered = in.parts[1].covered = true;
  if (const RowMaps* maps = in.options.rows.get(); maps != nullptr) {
    in.G = maps->groups;
    in.Nq = maps->queries;
    in.Nk = maps->keys;
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    require(in.G >= 1 && in.Nq >= 0 && in.Nk >= 0 && std::max({in.G, in.Nq, in.Nk}) <= kMost, kInputsOp,
            "{} groups of {} queries and {} keys", in.G, in.Nq, in.Nk);
    in.parts[0].covered =
        check_rows(maps->query_rows, in.G * in.Nq, in.parts[0].tokens, true, maps->checked_queries, "query");
    in.parts[1].covered =
        check_rows(maps->key_rows, in.G * in.Nk, in.parts[1].tokens, false, maps->checked_keys, "key");
    check_regions(maps->query_region, in.G * in.Nq, "query");
    check_regions(maps->key_region, in.G * in.Nk, "key");
    require(maps->query_region.empty() == maps->key_region.empty(), kInputsOp,
            "regions are needed for queries and keys or for neither");
    check_boxes(*maps, in);
  }
  in.parts[2].covered = in.parts[1].covered;
}

void check_visibility(const AttentionInputs& in) {
  const std::vector<std::int64_t>& lengths = in.options.key_lengths;
  require(lengths.empty() || static_cast<std::int64_t>(lengths.size()) == in.B, kInputsOp,
          "{} key lengths for a batch of {}", lengths.size(), in.B);
  for (const std::int64_t length : lengths)
    if (length < 0 || length > in.Nk) fail(kInputsOp, "key length {} is outside 0 to {}", length, in.Nk);
  const AttentionVisibility& v = in.options.visibility;
  require(v.causal || (v.causal_offset == 0 && v.causal_span == 0), kInputsOp,
          "a causal offset of {} and span of {} without causal = true", v.causal_offset, v.causal_span);
  if (v.dense == nullptr) return;
  dense_strides(in, v.dense_shape, "the dense mask");
  if (static_cast<std::int64_t>(v.dense->size()) != v.dense_shape.numel())
    fail(kInputsOp, "the dense mask holds {} bytes for its shape {}", v.dense->size(), v.dense_shape.str());
}

void check_pads(const AttentionInputs& in) {
  const AttentionOptions& o = in.options;
  if (!o.pad_bias.defined()) return;
  if (in.D != in.Dv || o.pad_bias.shape() != Shape{3 * in.H * in.D})
    fail(kInputsOp, "pad_bias of shape {} for {} heads of width {} (values {}); it must hold 3 H D numbers",
         o.pad_bias.shape().str(), in.H, in.D, in.Dv);
  require(!o.zero_pad, kInputsOp,
          "padding slots get their keys from pad_bias or are zero (zero_pad), not both");
}

// Fills in groups and slots, and checks everything that has a shape.
std::shared_ptr<const AttentionInputs> checked(AttentionInputs&& in) {
  const AttentionOptions& o = in.options;
  in.scale = attention_scale(o.scale, in.D);
  require(o.dropout >= 0.0f && o.dropout < 1.0f, kInputsOp, "dropout of {} is not in [0, 1)", o.dropout);
  check_maps(in);
  check_visibility(in);
  check_term_shapes(in);
  check_pads(in);
  return std::make_shared<const AttentionInputs>(std::move(in));
}

}  // namespace

float attention_scale(std::optional<float> scale, std::int64_t D) {
  return scale.value_or(1.0f / std::sqrt(static_cast<float>(D)));
}

std::vector<Var> AttentionInputs::vars() const {
  std::vector<Var> out = {parts[0].value, parts[1].value, parts[2].value};
  for (const AttentionTerm& term : options.terms)
    for (const Var* var : term.vars()) out.push_back(*var);
  if (factor() != nullptr) out.push_back(factor()->table);
  out.push_back(options.value_term.vectors);
  out.push_back(options.pad_bias);
  return out;
}

AttentionDropout attention_dropout(const Context& ctx, const AttentionInputs& in) {
  const float p = in.options.dropout;
  if (!ctx.train || p == 0.0f) return {};
  require(ctx.rng != nullptr, kInputsOp, "dropout of {} while training needs a generator: set ctx.rng", p);
  return {p, ctx.rng->next()};
}

std::array<std::int64_t, 4> dense_strides(const AttentionInputs& in, const Shape& table,
                                          const std::string& what) {
  const std::array<std::int64_t, 5> wanted = {in.B, in.G, in.H, in.Nq, in.Nk};
  const int rank = table.rank();
  bool fits = rank >= 2 && rank <= 5 && table[-1] == in.Nk;
  std::array<std::int64_t, 4> strides = {};
  std::int64_t step = in.Nk;
  for (int axis = 2; fits && axis <= rank; ++axis) {
    const std::int64_t extent = table[-axis], full = wanted[static_cast<std::size_t>(5 - axis)];
    fits = extent == full || extent == 1;
    strides[static_cast<std::size_t>(5 - axis)] = extent == 1 ? 0 : step;
    step *= extent;
  }
  if (!fits)
    fail(kInputsOp, "{} of shape {} does not fit (B, G, H, Nq, Nk) = ({}, {}, {}, {}, {})", what, table.str(),
         in.B, in.G, in.H, in.Nq, in.Nk);
  return strides;
}

std::shared_ptr<const AttentionInputs> attention_inputs(const Var& qkv, const AttentionOptions& options) {
  const Shape& shape = qkv.shape();
  if (shape.rank() != 3 || options.heads < 1 || shape[2] % 3 != 0 || shape[2] / 3 % options.heads != 0)
    fail(kInputsOp, "qkv of shape {} does not split into q, k, v of {} heads; it must be (B, N, 3 H D)",
         shape.str(), options.heads);
  AttentionInputs in;
  in.joint = true;
  in.options = options;
  in.B = shape[0];
  in.H = options.heads;
  in.D = in.Dv = shape[2] / 3 / options.heads;
  for (int p = 0; p < 3; ++p)
    in.parts[static_cast<std::size_t>(p)] = {qkv, shape[1], shape[2], p * in.H * in.D, in.D, false};
  return checked(std::move(in));
}

std::shared_ptr<const AttentionInputs> attention_inputs(const Var& q, const Var& k, const Var& v,
                                                        const AttentionOptions& options) {
  const Shape &qs = q.shape(), &ks = k.shape(), &vs = v.shape();
  const std::int64_t H = options.heads;
  const bool ranks = qs.rank() == 3 && ks.rank() == 3 && vs.rank() == 3;
  if (!ranks || H < 1 || qs[0] != ks[0] || qs[0] != vs[0] || ks[1] != vs[1] || qs[2] != ks[2] ||
      qs[2] % H != 0 || vs[2] % H != 0)
    fail(kInputsOp,
         "q {}, k {} and v {} do not fit {} heads; they must be (B, Nq, H D), (B, Nk, H D) and (B, Nk, H Dv)",
         qs.str(), ks.str(), vs.str(), H);
  AttentionInputs in;
  in.options = options;
  in.B = qs[0];
  in.H = H;
  in.D = qs[2] / H;
  in.Dv = vs[2] / H;
  in.parts[0] = {q, qs[1], qs[2], 0, in.D, false};
  in.parts[1] = {k, ks[1], ks[2], 0, in.D, false};
  in.parts[2] = {v, vs[1], vs[2], 0, in.Dv, false};
  return checked(std::move(in));
}

}  // namespace locant
