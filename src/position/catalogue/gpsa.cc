#include "position/gpsa.h"

#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace gpsa_encoding {
namespace {

EncodingInstance instance(const EncodingCase& c) {
  // Wide enough apart that the positional softmax is neither flat nor a single key.
  const Gpsa gpsa{random_parameter({c.H, 3}, c.seed), random_parameter({c.H}, c.seed + 1),
                  random_parameter({c.H}, c.seed + 2, 1.0f, 0.5f)};
  EncodingInstance out;
  out.parameters = {{Gpsa::kWeight, gpsa.weight}, {Gpsa::kBias, gpsa.bias}, {Gpsa::kGate, gpsa.gate}};
  out.run = [c, gpsa](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions content;
    content.heads = c.H;
    return gpsa_attention(ctx, gpsa, c.query, c.key, q, k, v, content, path);
  };
  out.reference = [c](const std::vector<Complexes>& x) {
    const PlainCall call{c, x};
    Complexes out =
        plain_attention(call, [&](auto b, auto h, auto i, auto j) { return call.score(b, h, i, j); });
    // The bias x[4] cancels: with it, rounding would be all there is to its gradient.
    const Complexes position = plain_attention(call, [&](auto, auto h, auto i, auto j) {
      return gpsa_score(x[3].data() + h * 3, Complex(0.0), j % c.key.columns - i % c.query.columns,
                        j / c.key.columns - i / c.query.columns);
    });
    for (std::size_t n = 0; n < out.size(); ++n) {
      const Complex gate = x[5][n / static_cast<std::size_t>(c.Dv) % static_cast<std::size_t>(c.H)];
      const Complex weight = 1.0 / (1.0 + std::exp(-gate));
      out[n] = (1.0 - weight) * out[n] + weight * position[n];
    }
    return out;
  };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = grid_cases({{1, 1}, {2, 1}, {3, 3}, {2, 5}, {6, 3}});
  for (EncodingCase& c : out) c.B = 2;
  out.push_back({.H = 4, .D = 3, .Dv = 5, .query = {1, 5, 5}, .key = {1, 5, 5}});
  out.push_back({.B = 2, .H = 3, .D = 1, .Dv = 2, .query = {1, 4, 2}, .key = {1, 4, 2}});
  out.push_back({.B = 2, .query = {1, 4, 3}, .key = {1, 2, 5}});
  return out;
}

// Where the heads of the local start look from the middle of the grid, a panel each.
Tensor picture(const EncodingCase& c) {
  const Grid grid = c.query;
  const Gpsa gpsa{Var(gpsa_local_weight(Tensor::zeros({c.H, 3}))), {}, Var(Tensor::full({c.H}, 20.0f))};
  const Tensor none = Tensor::zeros({1, grid.tokens(), c.H});
  std::vector<float> rows(static_cast<std::size_t>(c.H * grid.tokens()));
  for (std::int64_t h = 0; h < c.H; ++h)
    gpsa_row(gpsa, grid, grid, none, none, std::nullopt, 0, h,
             grid.rows / 2 * grid.columns + grid.columns / 2, rows.data() + h * grid.tokens());
  return panels(c.H, squarish(c.H), grid.rows, grid.columns,
                [&](std::int64_t h, std::int64_t y, std::int64_t x) {
                  return rows[static_cast<std::size_t>(h * grid.tokens() + y * grid.columns + x)];
                });
}

}  // namespace
}  // namespace gpsa_encoding

const Encoding kGpsa = {
    .name = "gpsa",
    .title = "a softmax of learned offsets, mixed with the content's by a gate per head",
    .place = EncodingPlace::own_softmax,
    .paper = "d'Ascoli et al. 2021, ConViT",
    .models = "ConViT",
    .formula = "A = (1 - sig(g)) softmax(q.k / sqrt(D)) + sig(g) softmax(w.(dx, dy, dx^2 + dy^2) + b)",
    .lowering = "separable softmax beside the fused one; gated sum",
    .parameters = "5 H",
    .multiply_adds = "N (h + w) C",
    .memory = "4 N C + H (h^2 + w^2)",
    .grids = EncodingGrids::flat,
    .cases = gpsa_encoding::cases,
    .instance = gpsa_encoding::instance,
    .picture = gpsa_encoding::picture,
};

}  // namespace locant
