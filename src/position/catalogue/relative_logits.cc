#include "position/relative_logits.h"

#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/local_reference.h"

namespace locant {
namespace relative_logits_encoding {
namespace {

constexpr std::int64_t kBlock = 2, kHalo = 1;

struct Form {
  bool absolute = false, scaled = true, halo = false, zeros = false;
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "absolute") return {.absolute = true};
  if (c.variant == "unscaled") return {.scaled = false};
  if (c.variant == "halo") return {.halo = true};
  if (c.variant == "halo_zeros") return {.scaled = false, .halo = true, .zeros = true};
  return {};
}

// Places along one axis that a query at place a sees: all, or its block and the halo.
std::pair<std::int64_t, std::int64_t> seen(const Form& form, std::int64_t a, std::int64_t extent) {
  if (!form.halo) return {0, extent};
  const std::int64_t first = a / kBlock * kBlock;
  return {first - kHalo, first + kBlock + kHalo};
}

Complexes reference(const PlainCall& call, const Form& form) {
  const EncodingCase& c = call.c;
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.D));
  // q.R of one axis, `a` and `b` counted from the first key that the query sees.
  const auto axis = [&](const Complex* q, const Complexes& table, std::int64_t a, std::int64_t b,
                        std::int64_t extent) {
    if (form.absolute) return plain_dot(q, table.data() + b * c.D, c.D);
    if (!form.halo) return relative_logits_score(q, table.data(), c.D, extent, a, b);
    const std::int64_t first = a / kBlock * kBlock;  // the block's; its window starts kHalo before it
    return relative_logits_score(q, table.data(), c.D, kBlock + 2 * kHalo, a - first, b - first + kHalo);
  };
  return plain_local_attention(
      call, form.zeros,
      [&](std::int64_t i) {
        std::vector<std::pair<std::int64_t, std::int64_t>> places;
        const auto rows = seen(form, i / c.query.columns, c.query.rows);
        const auto columns = seen(form, i % c.query.columns, c.query.columns);
        for (auto y = rows.first; y < rows.second; ++y)
          for (auto at = columns.first; at < columns.second; ++at) places.emplace_back(y, at);
        return places;
      },
      [&](auto b, auto h, auto i, auto y, auto column, const Complex* k) {
        const Complex* q = call.query(b, h, i);
        const Complex position = axis(q, call.x[3], i / c.query.columns, y, c.query.rows) +
                                 axis(q, call.x[4], i % c.query.columns, column, c.query.columns);
        return plain_dot(q, k, c.D) * scale + position * (form.scaled ? scale : 1.0);
      });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const auto maps = form.halo ? halo_rows(c.query, kBlock, kHalo) : nullptr;
  const AxisIndices indices = form.halo       ? halo_indices(*maps, c.Nq(), kBlock, kHalo)
                              : form.absolute ? absolute_logits_indices(c.query)
                                              : relative_logits_indices(c.query);
  const auto table = [&](std::int64_t K, std::uint64_t seed) {
    return random_parameter({form.absolute ? K : 2 * K - 1, c.D}, seed);
  };
  const RelativeLogits tables{table(indices.rows->extent(), c.seed),
                              table(indices.columns->extent(), c.seed + 1), form.absolute, form.scaled};
  return attention_instance(
      c,
      {{form.absolute ? RelativeLogits::kAbsoluteRows : RelativeLogits::kRows, tables.rows},
       {form.absolute ? RelativeLogits::kAbsoluteColumns : RelativeLogits::kColumns, tables.columns}},
      [=](const Context& ctx, AttentionCall& call) {
        call.options.rows = maps;
        call.options.zero_pad = form.zeros;
        const float scale = 1.0f / std::sqrt(static_cast<float>(c.D));
        call.options.terms = {relative_logits_term(ctx, tables, call.q, c.H, scale, indices)};
      },
      [form](const PlainCall& call) { return reference(call, form); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = grid_cases({{1, 1},
                                              {2, 2},
                                              {3, 4},
                                              {3, 2, "absolute"},
                                              {2, 3, "unscaled"},
                                              {4, 4, "halo"},
                                              {3, 5, "halo"},
                                              {3, 3, "halo_zeros"},
                                              {2, 4}});
  out.back().B = 2, out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

// The map of the horizontal axis; the other is alike.
std::vector<std::int64_t> index(const EncodingCase& c) {
  const Form form = form_of(c);
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) -> std::int64_t {
    const std::int64_t a = i % c.query.columns, b = j % c.key.columns;
    if (form.absolute) return b;
    if (!form.halo) return relative_logits_row(c.key.columns, a, b);
    const std::int64_t y = i / c.query.columns, first = a / kBlock * kBlock - kHalo;
    const auto rows = seen(form, y, c.query.rows), columns = seen(form, a, c.query.columns);
    const bool sees = j / c.key.columns >= rows.first && j / c.key.columns < rows.second &&
                      b >= columns.first && b < columns.second;
    return sees ? relative_logits_row(kBlock + 2 * kHalo, a % kBlock, b - first) : -1;
  });
}

}  // namespace
}  // namespace relative_logits_encoding

const Encoding kRelativeLogits = {
    .name = "relative_logits",
    .title = "a learned vector per row and per column offset, met by the scaled query",
    .place = EncodingPlace::vectors,
    .paper = "Bello et al. 2019; Srinivas et al. 2021; Vaswani et al. 2021",
    .models = "AA-ResNet, BoTNet, HaloNet",
    .formula = "s = (q.k + q.Rh[y_j - y_i] + q.Rw[x_j - x_i]) / sqrt(D)",
    .lowering = "axis term of q Rh^T and q Rw^T per coordinate; halos by row maps",
    .parameters = "(2h - 1 + 2w - 1) D",
    .multiply_adds = "H N (h + w) D",
    .memory = "H N (h + w)",
    .growth = MemoryGrowth::axis,
    .grids = EncodingGrids::one_flat,
    .variants = {"absolute", "unscaled", "halo", "halo_zeros"},
    .cases = relative_logits_encoding::cases,
    .instance = relative_logits_encoding::instance,
    .index = relative_logits_encoding::index,
};

}  // namespace locant
