#include "position/swin_v2_cpb.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "position/grid_gather.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {

constexpr const char* kName = "swin_v2_cpb";

void check_side(std::int64_t window, std::int64_t pretrained) {
  require(window >= 1 && window <= 4096, kName, "a window side of {}; 1 to 4096 were expected", window);
  require(pretrained >= 0 && (pretrained != 1 || window == 1), kName,
          "a window side of {} cannot be measured by a pretrained side of {}; that must be 0 or at least 2",
          window, pretrained);
}

}  // namespace

Tensor swin_v2_coordinates(Window window, Window pretrained) {
  check_side(window.rows, pretrained.rows);
  check_side(window.columns, pretrained.columns);
  const std::int64_t rows = 2 * window.rows - 1, columns = 2 * window.columns - 1;
  Tensor out({1, rows, columns, 2});
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x) {
      float* at = out.data() + (y * columns + x) * 2;
      at[0] = static_cast<float>(swin_v2_coordinate(y - (window.rows - 1), window.rows, pretrained.rows));
      at[1] = static_cast<float>(
          swin_v2_coordinate(x - (window.columns - 1), window.columns, pretrained.columns));
    }
  return out;
}

Var swin_v2_cpb_logits(const Context& ctx, const SwinV2Cpb& cpb, std::int64_t heads) {
  const bool sane = cpb.first_bias.defined() && cpb.first_bias.shape().rank() == 1;
  const std::int64_t hidden = sane ? cpb.first_bias.dim(0) : SwinV2Cpb::kHidden;
  check_table(kName, SwinV2Cpb::kFirstWeight, cpb.first_weight, {hidden, 2});
  check_table(kName, SwinV2Cpb::kFirstBias, cpb.first_bias, {hidden});
  check_table(kName, SwinV2Cpb::kSecondWeight, cpb.second_weight, {heads, hidden});
  const Var coordinates(swin_v2_coordinates(cpb.window, cpb.pretrained));
  return linear(ctx, relu(ctx, linear(ctx, coordinates, cpb.first_weight, cpb.first_bias)), cpb.second_weight,
                {});
}

Var swin_v2_cpb_table(const Context& ctx, const SwinV2Cpb& cpb, const Var& logits) {
  const Shape want{1, 2 * cpb.window.rows - 1, 2 * cpb.window.columns - 1,
                   logits.shape().rank() == 4 ? logits.dim(3) : 1};
  if (logits.shape() != want)
    fail(kName, "logits of shape {} do not belong to a {}x{} window: {} was expected", logits.shape().str(),
         cpb.window.rows, cpb.window.columns, want.str());
  const Var table = affine(ctx, sigmoid(ctx, logits), cpb.scale);
  return reshape(ctx, table, {swin_table_rows(cpb.window), logits.dim(3)});
}

AttentionTerm swin_v2_cpb_term(const Context& ctx, const SwinV2Cpb& cpb, std::int64_t heads) {
  const Var table = swin_v2_cpb_table(ctx, cpb, swin_v2_cpb_logits(ctx, cpb, heads));
  return swin_bias_term({cpb.window, table}, swin_gather(cpb.window, cpb.window));
}

namespace {

Window window_of(const EncodingCase& c) { return {c.query.rows, c.query.columns}; }

Window pretrained_of(const EncodingCase& c) {
  check_one_grid(kName, c);
  check_no_prefix(kName, c);
  if (c.variant.empty()) return {0, 0};
  require(c.variant == "pretrained", kName, "unknown variant \"{}\"; there is pretrained", c.variant);
  return {3, 4};
}

EncodingInstance instance(const EncodingCase& c) {
  const Window w = window_of(c), pretrained = pretrained_of(c);
  const std::int64_t hidden = 8;
  SwinV2Cpb cpb{.window = w, .pretrained = pretrained};
  cpb.first_weight = random_parameter({hidden, 2}, c.seed, 0.8f);
  cpb.first_bias = random_parameter({hidden}, c.seed + 1, 0.3f);
  cpb.second_weight = random_parameter({c.H, hidden}, c.seed + 2);
  const auto score = [w, pretrained, hidden](const auto& call, const auto& x, auto b, auto h, auto i,
                                             auto j) {
    const double y = swin_v2_coordinate(i / w.columns - j / w.columns, w.rows, pretrained.rows);
    const double z = swin_v2_coordinate(i % w.columns - j % w.columns, w.columns, pretrained.columns);
    const auto g = swin_v2_cpb_mlp(y, z, x[3].data(), x[4].data(), x[5].data() + h * hidden, hidden);
    return swin_v2_cpb_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(call.c.D)), g);
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

const Encoding kSwinV2Cpb = {
    .name = kName,
    .header = "position/swin_v2_cpb.h",
    .title = "a small MLP of the log-spaced displacement within a window",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2022, Swin Transformer V2",
    .models = "Swin V2",
    .formula = "s = q.k / sqrt(D) + 16 sigmoid(MLP(rho(dr), rho(dc)))[h]",
    .lowering = "gather term of the MLP's table",
    .parameters = "512 (3 + H)",
    .multiply_adds = "(2h - 1)(2w - 1) 512 (2 + H)",
    .memory = "(2h - 1)(2w - 1) (512 + H)",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
