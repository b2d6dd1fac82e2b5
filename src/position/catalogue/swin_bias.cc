#include "position/swin_bias.h"

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace swin_bias_encoding {
namespace {

Window window_of(const EncodingCase& c) { return {c.query.rows, c.query.columns}; }

EncodingInstance instance(const EncodingCase& c) {
  const Window w = window_of(c);
  const Var table = random_parameter({swin_table_rows(w), c.H}, c.seed);
  const auto gather = swin_gather(w, w);
  return score_instance(
      c, {{SwinBias::kTable, table}},
      [=](const Context&, AttentionOptions& options) {
        options.terms = {swin_bias_term({w, table}, gather)};
      },
      [w](const PlainCall& call, auto b, auto h, auto i, auto j) {
        const Complex qk = call.score(b, h, i, j);
        return swin_bias_score<Complex>(qk, call.x[3], call.c.H, h, w, i, j);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = grid_cases({{1, 1}, {2, 1}, {3, 3}, {2, 5}, {6, 3}});
  for (EncodingCase& c : out) c.B = 2;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Window w = window_of(c);
  return index_matrix(c, [w](auto i, auto j) { return swin_index(w, i, j); });
}

}  // namespace
}  // namespace swin_bias_encoding

const Encoding kSwinBias = {
    .name = "swin_bias",
    .title = "a learned number per head and displacement within a window",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2021, Swin Transformer",
    .models = "Swin",
    .formula = "s = q.k / sqrt(D) + T[I(i, j), h]",
    .lowering = "gather term",
    .parameters = "(2h - 1)(2w - 1) H",
    .multiply_adds = "0",
    .memory = "(2h - 1)(2w - 1) H",
    .grids = EncodingGrids::one_flat,
    .cases = swin_bias_encoding::cases,
    .instance = swin_bias_encoding::instance,
    .index = swin_bias_encoding::index,
};

}  // namespace locant
