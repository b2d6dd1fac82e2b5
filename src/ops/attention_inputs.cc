#include "ops/attention_inputs.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

constexpr const char* kOp = "attention";

// Whether a map reaches every one of `tokens` rows. Queries may reach a row once only.
bool check_rows(const std::vector<std::int32_t>& rows, std::int64_t slots, std::int64_t tokens, bool once,
                const char* name) {
  if (rows.empty()) {
    require(slots == tokens, kOp, "{} {} slots for {} tokens; without a row map both must be equal", slots,
            name, tokens);
    return true;
  }
  require(static_cast<std::int64_t>(rows.size()) == slots, kOp, "the {} map has {} rows for {} slots", name,
          rows.size(), slots);
  std::vector<bool> seen(static_cast<std::size_t>(tokens));
  std::int64_t reached = 0;
  for (const std::int32_t row : rows) {
    if (row < 0) continue;
    if (row >= tokens) fail(kOp, "the {} map asks for row {} of {} tokens", name, row, tokens);
    const bool again = seen[static_cast<std::size_t>(row)];
    if (again && once) fail(kOp, "the {} map asks for row {} twice", name, row);
    seen[static_cast<std::size_t>(row)] = true;
    reached += !again;
  }
  return reached == tokens;
}

void check_regions(const std::vector<std::int32_t>& region, std::int64_t slots, const char* name) {
  require(region.empty() || static_cast<std::int64_t>(region.size()) == slots, kOp,
          "{} {} regions for {} slots", region.size(), name, slots);
}

void check_term(const AttentionInputs& in, const AttentionTerm& term) {
  require(term.table.defined(), kOp, "a term has no table");
  const Shape& shape = term.table.shape();
  if (term.gather == nullptr) {
    dense_strides(in, shape);
    return;
  }
  const GatherMap& gather = *term.gather;
  if (shape.rank() != 2 || shape[1] != in.H)
    fail(kOp, "a gather table of shape {} is not (rows, {} heads)", shape.str(), in.H);
  require(static_cast<std::int64_t>(gather.query_code.size()) == in.Nq &&
              static_cast<std::int64_t>(gather.key_code.size()) == in.Nk,
          kOp, "{} query and {} key codes for {} and {} slots", gather.query_code.size(),
          gather.key_code.size(), in.Nq, in.Nk);
  require(gather.map.empty() || static_cast<std::int64_t>(gather.map.size()) == gather.offsets, kOp,
          "a gather map of {} entries for {} offsets", gather.map.size(), gather.offsets);
  const std::int64_t last =
      gather.map.empty() ? gather.offsets - 1 : *std::max_element(gather.map.begin(), gather.map.end());
  require(gather.offsets >= 1 && last < shape[0], kOp,
          "a gather term wants row {} of a table of {} ({} offsets)", last, shape[0], gather.offsets);
  if (in.Nq == 0 || in.Nk == 0) return;
  const auto [query_low, query_high] =
      std::minmax_element(gather.query_code.begin(), gather.query_code.end());
  const auto [key_low, key_high] = std::minmax_element(gather.key_code.begin(), gather.key_code.end());
  const std::int64_t low = std::int64_t{*query_low} - *key_high + gather.origin;
  const std::int64_t high = std::int64_t{*query_high} - *key_low + gather.origin;
  require(low >= 0 && high < gather.offsets, kOp,
          "the codes of a gather term give offsets {} to {}, outside [0, {})", low, high, gather.offsets);
}

// Fills in groups and slots, and checks everything that has a size.
std::shared_ptr<const AttentionInputs> checked(AttentionInputs&& in) {
  require(in.D >= 1 && in.Dv >= 1 && in.D <= 256 && in.Dv <= 256, kOp,
          "heads of width {} (values {}); both must be 1 to 256: is the number of heads, {}, right?", in.D,
          in.Dv, in.H);
  const AttentionOptions& o = in.options;
  in.scale = o.scale != 0.0f ? o.scale : 1.0f / std::sqrt(static_cast<float>(in.D));
  in.Nq = in.parts[0].tokens;
  in.Nk = in.parts[1].tokens;
  in.parts[0].covered = in.parts[1].covered = true;
  if (const RowMaps* maps = o.rows.get(); maps != nullptr) {
    in.G = maps->groups;
    in.Nq = maps->queries;
    in.Nk = maps->keys;
    require(in.G >= 1 && in.Nq >= 0 && in.Nk >= 0, kOp, "{} groups of {} queries and {} keys", in.G, in.Nq,
            in.Nk);
    in.parts[0].covered = check_rows(maps->query_rows, in.G * in.Nq, in.parts[0].tokens, true, "query");
    in.parts[1].covered = check_rows(maps->key_rows, in.G * in.Nk, in.parts[1].tokens, false, "key");
    check_regions(maps->query_region, in.G * in.Nq, "query");
    check_regions(maps->key_region, in.G * in.Nk, "key");
    require(maps->query_region.empty() == maps->key_region.empty(), kOp,
            "regions are needed for queries and keys or for neither");
  }
  in.parts[2].covered = in.parts[1].covered;
  require(o.key_lengths.empty() || static_cast<std::int64_t>(o.key_lengths.size()) == in.B, kOp,
          "{} key lengths for a batch of {}", o.key_lengths.size(), in.B);
  for (const std::int64_t length : o.key_lengths)
    if (length < 0 || length > in.Nk) fail(kOp, "key length {} is outside 0 to {}", length, in.Nk);
  require(o.terms.size() <= 4, kOp, "{} terms; at most four are possible: add some up beforehand",
          o.terms.size());
  for (const AttentionTerm& term : o.terms) check_term(in, term);
  if (o.pad_bias.defined() && (in.D != in.Dv || o.pad_bias.shape() != Shape{3 * in.H * in.D}))
    fail(kOp, "pad_bias of shape {} for {} heads of width {} (values {}); it must hold 3 H D numbers",
         o.pad_bias.shape().str(), in.H, in.D, in.Dv);
  return std::make_shared<const AttentionInputs>(std::move(in));
}

}  // namespace

const Var& AttentionInputs::wanting() const {
  for (const Part& part : parts)
    if (part.value.requires_grad()) return part.value;
  for (const AttentionTerm& term : options.terms)
    if (term.table.requires_grad()) return term.table;
  return options.pad_bias.requires_grad() ? options.pad_bias : parts[0].value;
}

std::array<std::int64_t, 4> dense_strides(const AttentionInputs& in, const Shape& table) {
  const std::array<std::int64_t, 5> wanted = {in.B, in.G, in.H, in.Nq, in.Nk};
  const int rank = table.rank();
  bool fits = rank >= 2 && rank <= 5 && table[-1] == in.Nk && table[-2] == in.Nq;
  std::array<std::int64_t, 4> strides = {0, 0, 0, in.Nk};
  std::int64_t step = in.Nq * in.Nk;
  for (int axis = 3; fits && axis <= rank; ++axis) {
    const std::int64_t extent = table[-axis], full = wanted[static_cast<std::size_t>(5 - axis)];
    fits = extent == full || extent == 1;
    strides[static_cast<std::size_t>(5 - axis)] = extent == 1 ? 0 : step;
    step *= extent;
  }
  if (!fits)
    fail("attention", "a dense term of shape {} does not fit (B, G, H, Nq, Nk) = ({}, {}, {}, {}, {})",
         table.str(), in.B, in.G, in.H, in.Nq, in.Nk);
  return strides;
}

std::shared_ptr<const AttentionInputs> attention_inputs(const Var& qkv, const AttentionOptions& options) {
  const Shape& shape = qkv.shape();
  if (shape.rank() != 3 || options.heads < 1 || shape[2] % (3 * options.heads) != 0)
    fail(kOp, "qkv of shape {} does not split into q, k, v of {} heads; it must be (B, N, 3 H D)",
         shape.str(), options.heads);
  AttentionInputs in;
  in.joint = true;
  in.options = options;
  in.B = shape[0];
  in.H = options.heads;
  in.D = in.Dv = shape[2] / (3 * options.heads);
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
    fail(kOp,
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
