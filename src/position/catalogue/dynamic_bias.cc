#include "position/dynamic_bias.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace dynamic_bias_encoding {
namespace {

Window grid_of(const EncodingCase& c) {
  require(c.prefix == 0 || c.variant == "relpos", "dynamic_bias",
          "{} tokens in front; they are for relpos alone", c.prefix);
  return {c.query.rows, c.query.columns};
}

EncodingInstance relpos_instance(const EncodingCase& c) {
  const Window grid = grid_of(c);
  const std::int64_t hidden = 8;
  RelPosMlp mlp;
  mlp.first_weight = random_parameter({hidden, 2}, c.seed, 0.8f);
  mlp.first_bias = random_parameter({hidden}, c.seed + 1);
  mlp.second_weight = random_parameter({c.H, hidden}, c.seed + 2);
  mlp.second_bias = random_parameter({c.H}, c.seed + 3);
  const std::string first = RelPosMlp::kFirst, second = RelPosMlp::kSecond;
  Parameters parameters = {{first + ".weight", mlp.first_weight},
                           {first + ".bias", mlp.first_bias},
                           {second + ".weight", mlp.second_weight}};
  // Without pairs that get nothing it is a constant to the softmax: no gradient.
  if (c.prefix > 0) parameters.emplace_back(second + ".bias", mlp.second_bias);
  return score_instance(
      c, parameters,
      [c, mlp, grid](const Context& ctx, AttentionOptions& options) {
        options.terms = {displacement_term(relpos_mlp_table(ctx, mlp, grid, c.H), grid, c.H, c.prefix)};
      },
      [c, hidden, mlp](const PlainCall& call, auto b, auto h, auto i, auto j) {
        const Complex qk = call.score(b, h, i, j);
        const Complex b2 =
            call.x.size() > 6 ? call.x[6][static_cast<std::size_t>(h)] : Complex(mlp.second_bias.value()[h]);
        const std::int64_t w = c.query.columns, y = i - c.prefix, z = j - c.prefix;
        if (y < 0 || z < 0) return qk;
        return qk + relpos_mlp(y / w - z / w, y % w - z % w, call.x[3].data(), call.x[4].data(),
                               call.x[5].data() + h * hidden, b2, hidden);
      });
}

// g of CrossFormer for one displacement, every head; x: the parameters from number 3 on, then the last bias.
Complexes dynamic_bias(const std::vector<Complexes>& x, std::int64_t dr, std::int64_t dc, bool residual,
                       const Complexes& last) {
  Complexes at(x[4].size());
  for (std::size_t n = 0; n < at.size(); ++n)
    at[n] = x[3][2 * n] * static_cast<double>(dr) + x[3][2 * n + 1] * static_cast<double>(dc) + x[4][n];
  for (std::size_t step = 0; step < 3; ++step) {
    const std::size_t p = 5 + 4 * step;
    const Complexes& b = step < 2 ? x[p + 3] : last;
    Complexes y = dynamic_bias_step(at, x[p].data(), x[p + 1].data(), x[p + 2].data(), b.data(), b.size());
    for (std::size_t n = 0; residual && step < 2 && n < y.size(); ++n) y[n] += at[n];
    at = y;
  }
  return at;
}

EncodingInstance instance(const EncodingCase& c) {
  if (c.variant == "relpos") return relpos_instance(c);
  const Window grid = grid_of(c);
  const std::int64_t width = 4;
  DynamicBias bias{random_parameter({width, 2}, c.seed, 1.5f),
                   random_parameter({width}, c.seed + 1, 0.2f),
                   {},
                   c.variant == "residual"};
  Parameters parameters = {{"pos.pos_proj.weight", bias.weight}, {"pos.pos_proj.bias", bias.bias}};
  for (std::size_t n = 0; n < 3; ++n) {
    const std::int64_t rows = n < 2 ? width : c.H;
    const std::uint64_t seed = c.seed + 4 * n + 2;
    bias.steps[n] = {random_parameter({width}, seed, 0.3f, 1.0f), random_parameter({width}, seed + 1, 0.2f),
                     random_parameter({rows, width}, seed + 2, 1.0f),
                     random_parameter({rows}, seed + 3, 0.1f)};
    const std::string name = fmt::format("pos.pos{}.", n + 1);
    parameters.emplace_back(name + "0.weight", bias.steps[n].norm_weight);
    parameters.emplace_back(name + "0.bias", bias.steps[n].norm_bias);
    parameters.emplace_back(name + "2.weight", bias.steps[n].weight);
    if (n < 2) parameters.emplace_back(name + "2.bias", bias.steps[n].bias);  // the last: see relpos
  }
  const auto numbers = bias.steps[2].bias.value().values();
  const Complexes last(numbers.begin(), numbers.end());
  return score_instance(
      c, parameters,
      [c, bias, grid](const Context& ctx, AttentionOptions& options) {
        options.terms = {displacement_term(dynamic_bias_table(ctx, bias, grid, c.H), grid, c.H)};
      },
      [c, residual = bias.residual, last](const PlainCall& call, auto b, auto h, auto i, auto j) {
        const std::int64_t w = c.query.columns;
        return call.score(b, h, i, j) + dynamic_bias(call.x, i / w - j / w, i % w - j % w, residual,
                                                     last)[static_cast<std::size_t>(h)];
      });
}

// Seeds: layer norm and ReLU let the gradient of a small MLP cancel almost wholly for some numbers; these do
// not.
std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  const auto add = [&](Grid grid, const char* variant, std::uint64_t seed) {
    out.push_back({.query = grid, .key = grid, .variant = variant, .seed = seed});
  };
  add({1, 1, 1}, "", 1), add({1, 1, 3}, "", 1701), add({1, 3, 3}, "", 1001), add({1, 2, 4}, "residual", 901);
  out.back().B = 2;
  for (const std::int64_t prefix : {0, 1, 2}) {
    add({1, 3, 2}, "relpos", 1);
    out.back().B = 2, out.back().Dv = 3, out.back().prefix = prefix;
  }
  add({1, 2, 2}, "", 1701);
  out.back().H = 3, out.back().D = 1;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    return i < c.prefix || j < c.prefix ? -1 : swin_index(grid_of(c), i - c.prefix, j - c.prefix);
  });
}

}  // namespace
}  // namespace dynamic_bias_encoding

const Encoding kDynamicBias = {
    .name = "dynamic_bias",
    .title = "a small MLP of the displacement",
    .place = EncodingPlace::score,
    .paper = "Wang et al. 2022, CrossFormer; timm relpos",
    .models = "CrossFormer, timm vit_relpos",
    .formula = "s = q.k / sqrt(D) + MLP(dr, dc)[h]",
    .lowering = "gather term of the MLP's table",
    .parameters = "2e^2 + 11e + (e + 1) H, e = C/16; relpos: 384 + 129 H",
    .multiply_adds = "(2h - 1)(2w - 1)(2e^2 + 2e + e H)",
    .memory = "(2h - 1)(2w - 1)(7e + H)",
    .grids = EncodingGrids::one_flat,
    .prefix = true,
    .variants = {"residual", "relpos"},
    .cases = dynamic_bias_encoding::cases,
    .instance = dynamic_bias_encoding::instance,
    .index = dynamic_bias_encoding::index,
};

}  // namespace locant
