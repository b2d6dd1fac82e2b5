#include "position/swin_v2_cpb.h"

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace swin_v2_cpb_encoding {
namespace {

Window window_of(const EncodingCase& c) { return {c.query.rows, c.query.columns}; }

Window pretrained_of(const EncodingCase& c) {
  return c.variant == "pretrained" ? Window{3, 4} : Window{0, 0};
}

EncodingInstance instance(const EncodingCase& c) {
  const Window w = window_of(c), pretrained = pretrained_of(c);
  const std::int64_t hidden = 8;
  SwinV2Cpb cpb{.window = w, .pretrained = pretrained};
  cpb.first_weight = random_parameter({hidden, 2}, c.seed, 0.8f);
  cpb.first_bias = random_parameter({hidden}, c.seed + 1, 0.3f);
  cpb.second_weight = random_parameter({c.H, hidden}, c.seed + 2);
  const auto score = [w, pretrained, hidden](const PlainCall& call, auto b, auto h, auto i, auto j) {
    const double y = swin_v2_coordinate(i / w.columns - j / w.columns, w.rows, pretrained.rows);
    const double z = swin_v2_coordinate(i % w.columns - j % w.columns, w.columns, pretrained.columns);
    const auto g =
        swin_v2_cpb_mlp(y, z, call.x[3].data(), call.x[4].data(), call.x[5].data() + h * hidden, hidden);
    return swin_v2_cpb_score(call.score(b, h, i, j), g);
  };
  return score_instance(
      c,
      {{SwinV2Cpb::kFirstWeight, cpb.first_weight},
       {SwinV2Cpb::kFirstBias, cpb.first_bias},
       {SwinV2Cpb::kSecondWeight, cpb.second_weight}},
      [c, cpb](const Context& ctx, AttentionOptions& options) {
        options.terms = {swin_v2_cpb_term(ctx, cpb, c.H)};
      },
      score);
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 2, 1}, Grid{1, 3, 3}, Grid{1, 2, 5}})
    out.push_back({.B = grid.tokens() > 5 ? 1 : 2, .query = grid, .key = grid});
  for (const Grid grid : {Grid{1, 3, 4}, Grid{1, 4, 5}, Grid{1, 2, 3}})
    out.push_back({.H = 3, .D = 5, .Dv = 3, .query = grid, .key = grid, .variant = "pretrained"});
  out.push_back({.D = 1, .query = {1, 2, 3}, .key = {1, 2, 3}});
  for (EncodingCase& c : out) c.largest_score = 18;  // a bias of 8 to 16 on scores of 2
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return swin_index(window_of(c), i, j); });
}

}  // namespace
}  // namespace swin_v2_cpb_encoding

const Encoding kSwinV2Cpb = {
    .name = "swin_v2_cpb",
    .title = "a small MLP of the log-spaced displacement within a window",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2022, Swin Transformer V2",
    .models = "Swin V2",
    .formula = "s = q.k / sqrt(D) + 16 sigmoid(MLP(rho(dr), rho(dc)))[h]",
    .lowering = "gather term of the MLP's table",
    .parameters = "512 (3 + H)",
    .multiply_adds = "(2h - 1)(2w - 1) 512 (2 + H)",
    .memory = "(2h - 1)(2w - 1) (512 + H)",
    .grids = EncodingGrids::one_flat,
    .variants = {"pretrained"},
    .cases = swin_v2_cpb_encoding::cases,
    .instance = swin_v2_cpb_encoding::instance,
    .index = swin_v2_cpb_encoding::index,
};

}  // namespace locant
