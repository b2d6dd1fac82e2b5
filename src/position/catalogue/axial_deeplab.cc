#include "position/axial_deeplab.h"

#include <array>

#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace axial_deeplab_encoding {
namespace {

struct Form {
  GridAxis axis = GridAxis::columns;
  AxialOrder order = AxialOrder::query_minus_key;
  bool scaled = true;
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "height") return {.axis = GridAxis::rows};
  if (c.variant == "deeplab2") return {.order = AxialOrder::key_minus_query, .scaled = false};
  return {};
}

Complexes reference(const PlainCall& call, const Form& form) {
  const EncodingCase& c = call.c;
  const std::int64_t n = extent_of(c.query, form.axis), X = c.query.columns;
  const bool height = form.axis == GridAxis::rows;
  // Offset query minus key along the line.
  const auto offset = [&](auto i, auto j) { return height ? i / X - j / X : i % X - j % X; };
  const auto row = [&](const Complexes& table, std::int64_t off, std::int64_t width) {
    return table.data() + (off + n - 1) * width;
  };
  const std::int64_t sign = form.order == AxialOrder::query_minus_key ? 1 : -1;
  return plain_attention(
      call,
      [&](auto b, auto h, auto i, auto j) {
        std::array<Complex, 3> scales = {Complex(1), Complex(1), Complex(1)};
        for (std::size_t s = 0; s < 3 && form.scaled; ++s)
          scales[s] = call.x[6 + s][static_cast<std::size_t>(h)];
        const auto off = offset(i, j);
        return axial_deeplab_score(call.query(b, h, i), call.key(b, h, j), row(call.x[3], sign * off, c.D),
                                   row(call.x[4], -off, c.D), c.D, scales);
      },
      [&](auto i, auto j) { return height ? i % X == j % X : i / X == j / X; },
      [&](auto b, auto h, auto i, auto j, auto d) {
        return call.value(b, h, j)[d] + row(call.x[5], sign * offset(i, j), c.Dv)[d];
      });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = extent_of(c.query, form.axis), R = axial_deeplab_rows(K);
  AxialDeeplab tables{.K = K,
                      .order = form.order,
                      .query = random_parameter({R, c.D}, c.seed),
                      .key = random_parameter({R, c.D}, c.seed + 1),
                      .value = random_parameter({R, c.Dv}, c.seed + 2)};
  Parameters parameters = {{"query", tables.query}, {"key", tables.key}, {"value", tables.value}};
  if (form.scaled) {
    tables.content_scale = random_parameter({c.H}, c.seed + 3, 0.5f, 0.75f);
    tables.query_scale = random_parameter({c.H}, c.seed + 4, 0.5f, 0.75f);
    tables.key_scale = random_parameter({c.H}, c.seed + 5, 0.5f, 0.75f);
    parameters.insert(parameters.end(), {{"content_scale", tables.content_scale},
                                         {"query_scale", tables.query_scale},
                                         {"key_scale", tables.key_scale}});
  }
  const auto maps = axial_rows(c.query, form.axis);
  return attention_instance(
      c, std::move(parameters),
      [=](const Context& ctx, AttentionCall& call) {
        call.options.rows = maps;
        add_axial_deeplab(ctx, tables, K, c.D, c.Dv, call.options);
      },
      [form](const PlainCall& call) { return reference(call, form); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out =
      grid_cases({{1, 1}, {1, 2}, {2, 5}, {4, 3, "height"}, {2, 4, "deeplab2"}, {2, 3}});
  for (EncodingCase& c : out) c.D = 2;
  out.back().B = 2, out.back().H = 3, out.back().D = 1, out.back().Dv = 2;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = extent_of(c.query, form.axis);
  const GridAxis across = form.axis == GridAxis::rows ? GridAxis::columns : GridAxis::rows;
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) -> std::int64_t {
    if (place_of(c.query, across, i) != place_of(c.query, across, j)) return -1;
    return axial_deeplab_row(K, form.order, place_of(c.query, form.axis, i), place_of(c.query, form.axis, j));
  });
}

}  // namespace
}  // namespace axial_deeplab_encoding

const Encoding kAxialDeeplab = {
    .name = "axial_deeplab",
    .title = "position vectors met by query, by key and added to values, along one axis",
    .place = EncodingPlace::value,
    .paper = "Wang et al. 2020, Axial-DeepLab",
    .models = "Axial-DeepLab, Axial-ResNet",
    .formula = "s = a q.k + b q.Rq[I] + c k.Rk[I'], out = sum P (v + Rv[I]), I = offset along the line",
    .lowering =
        "band terms of query and key with head scales, factor, value term, lines as row maps; batch norm "
        "of logits while training: composed only, its statistics need every logit",
    .parameters = "(2K - 1)(2D + Dv)",
    .multiply_adds = "about 2 H N K (2D + Dv), a tile at a time",
    .memory = "(2K - 1)(2D + Dv)",
    .grids = EncodingGrids::one_flat,
    .variants = {"height", "deeplab2"},
    .cases = axial_deeplab_encoding::cases,
    .instance = axial_deeplab_encoding::instance,
    .index = axial_deeplab_encoding::index,
};

}  // namespace locant
