#include "position/natten.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace natten_encoding {
namespace {

// Variants: K3 and K5, with blocks of 8 and of the least size, with and without gaps.
struct Form {
  std::int64_t kernel = 3, dilation = 1, block = 8;
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "wide") return {.kernel = 5};
  if (c.variant == "blocks") return {.block = 2};
  if (c.variant == "dilated") return {.dilation = 2, .block = 2};
  // A window of 7 as in the models where it fits; small grids take less.
  const std::int64_t side = std::min(c.query.rows, c.query.columns);
  return {.kernel = side >= 14 ? 7 : side >= 3 ? 3 : 1};
}

// The rule by itself: the K places of i's own residue that are nearest, the window kept inside.
std::int64_t nearest_start(std::int64_t i, std::int64_t L, const Form& form) {
  const std::int64_t residue = i % form.dilation, n = (L - residue - 1) / form.dilation + 1;
  const std::int64_t first = i / form.dilation - form.kernel / 2;
  return residue + std::clamp<std::int64_t>(first, 0, n - form.kernel) * form.dilation;
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = form.kernel, d = form.dilation, side = 2 * K - 1, w = c.query.columns;
  const Natten natten{K, d, random_parameter({c.H, side, side}, c.seed)};
  const auto maps = natten_maps({c.query.rows, w}, K, d, form.block);
  const auto seen = [form, K, d](std::int64_t i, std::int64_t j, std::int64_t L) {
    const std::int64_t first = nearest_start(i, L, form);
    return (j - i) % d == 0 && j >= first && j < first + K * d;
  };
  return score_instance(
      c, {{Natten::kTable, natten.table}},
      [natten, maps](const Context& ctx, AttentionOptions& options) {
        add_natten(ctx, natten, maps, options);
      },
      [c, K, d, side, w](const PlainCall& call, auto b, auto h, auto i, auto j) {
        return natten_score(call.score(b, h, i, j), call.x[3].data() + h * side * side, K,
                            (j / w - i / w) / d, (j % w - i % w) / d);
      },
      [seen, w, c](auto i, auto j) { return seen(i / w, j / w, c.query.rows) && seen(i % w, j % w, w); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = grid_cases(
      {{1, 1}, {1, 2}, {3, 3}, {4, 3}, {5, 7, "blocks"}, {5, 6, "wide"}, {6, 6, "dilated"}, {3, 5}});
  out[5].B = 2;
  out.back().H = 3, out.back().D = 1, out.back().Dv = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Form f = form_of(c);
  const std::int64_t w = c.query.columns, side = 2 * f.kernel - 1;
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    if (!natten_sees(i / w, j / w, c.query.rows, f.kernel, f.dilation) ||
        !natten_sees(i % w, j % w, w, f.kernel, f.dilation))
      return -1;
    return ((j / w - i / w) / f.dilation + f.kernel - 1) * side + (j % w - i % w) / f.dilation + f.kernel - 1;
  });
}

}  // namespace
}  // namespace natten_encoding

const Encoding kNatten = {
    .name = "natten",
    .title = "the K x K nearest keys, with a learned number per head and displacement",
    .place = EncodingPlace::score,
    .paper = "Hassani et al. 2023, NAT; Hassani and Shi 2022, DiNAT",
    .models = "NAT, DiNAT",
    .formula = "s = q.k / sqrt(D) + B[h, (j - i) / d + K - 1], j in the window of i",
    .lowering = "gather term; row maps of blocks with halo; box masks",
    .parameters = "(2K - 1)^2 H",
    .multiply_adds = "0",
    .memory = "N ((b + K - 1) / b)^2 + (2K - 1)^2 H",
    .grids = EncodingGrids::one_flat,
    .variants = {"wide", "blocks", "dilated"},
    .cases = natten_encoding::cases,
    .instance = natten_encoding::instance,
    .index = natten_encoding::index,
};

}  // namespace locant
