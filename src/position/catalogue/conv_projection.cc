#include "position/conv_projection.h"

#include "position/catalogue/all.h"
#include "position/catalogue/grid_reference.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace conv_projection_encoding {
namespace {

struct Projections {
  ConvProjection q, k, v;
};

EncodingInstance instance(const EncodingCase& c) {
  const bool mean = c.variant == "avg";
  Parameters parameters;
  std::uint64_t seed = c.seed;
  const auto make = [&](const std::string& name, std::int64_t C, std::int64_t stride) {
    ConvProjection p;
    p.stride = stride;
    if (mean) return p;
    p.weight = random_parameter({C, 1, 3, 3}, seed++);
    p.norm = {random_parameter({C}, seed++, 0.3f, 1.0f), random_parameter({C}, seed++),
              Var(random_parameter({C}, seed++).value()),
              Var(random_parameter({C}, seed++, 0.5f, 1.0f).value())};
    parameters.emplace_back(name + ".conv.weight", p.weight);
    parameters.emplace_back(name + ".bn.weight", p.norm.weight);
    parameters.emplace_back(name + ".bn.bias", p.norm.bias);
    return p;
  };
  Projections all;
  all.q = make("conv_proj_q", c.H * c.D, 1);
  all.k = make("conv_proj_k", c.H * c.D, 2);
  all.v = make("conv_proj_v", c.H * c.Dv, 2);
  const auto lower = [c, all, mean](const Context& ctx, AttentionCall& call) {
    call.options.scale = conv_projection_scale(c.H * c.D);
    if (!mean) call.q = conv_projection(ctx, all.q, call.q, c.query, c.prefix);
    call.k = conv_projection(ctx, all.k, call.k, c.key, c.prefix);
    call.v = conv_projection(ctx, all.v, call.v, c.key, c.prefix);
  };
  const auto reference = [c, all, mean](const PlainCall& call) {
    const std::vector<Complexes>& x = call.x;
    std::size_t at = 3;
    const auto project = [&](const Complexes& tokens, const ConvProjection& p, Grid grid, std::int64_t C) {
      const Grid after = projected_grid(grid, p.stride, mean);
      const std::size_t first = at;
      at += mean ? 0 : 3;
      return plain_on_grid(tokens, c.B, c.prefix, grid.tokens(), [&](const Complexes& patches) {
        Complexes y;
        for (std::int64_t n = 0; n < after.tokens() * C; ++n)
          y.push_back(projected_number(patches, mean ? nullptr : x[first].data(), grid, C, p.kernel, p.stride,
                                       n / C / after.columns, n / C % after.columns, n % C));
        // What is added to every key cancels: with it, rounding would be all there is to its gradient.
        const Complexes nothing(static_cast<std::size_t>(C));
        const bool cancels = first == 6 && c.prefix == 0;
        if (!mean)
          plain_norm(y, C, x[first + 1].data(), cancels ? nothing.data() : x[first + 2].data(), 1e-5,
                     p.norm.mean.value().data(), p.norm.var.value().data());
        return y;
      });
    };
    const Complexes q = mean ? x[0] : project(x[0], all.q, c.query, c.H * c.D),
                    k = project(x[1], all.k, c.key, c.H * c.D), v = project(x[2], all.v, c.key, c.H * c.Dv);
    EncodingCase after = c;
    after.key = projected_grid(c.key, 2, mean);
    return plain_attention(after, q, k, v, 1.0 / std::sqrt(static_cast<double>(c.H * c.D)));
  };
  return attention_instance(c, std::move(parameters), lower, reference);
}

std::vector<EncodingCase> cases() {
  return {
      {.B = 2, .D = 2, .Dv = 1, .query = {1, 2, 1}, .key = {1, 2, 1}},
      {.D = 2, .Dv = 2, .query = {1, 3, 4}, .key = {1, 3, 4}, .prefix = 1},
      {.H = 3, .D = 1, .Dv = 2, .query = {1, 1, 3}, .key = {1, 4, 3}},
      {.D = 2, .Dv = 3, .query = {1, 2, 4}, .key = {1, 2, 4}, .variant = "avg"},
      {.H = 1, .D = 3, .Dv = 2, .query = {1, 3, 3}, .key = {1, 5, 3}, .prefix = 1, .variant = "avg"},
  };
}

// How many keys each token takes part in.
Tensor picture(const EncodingCase& c) {
  const Grid grid = c.key, keys = projected_grid(grid, 2, c.variant == "avg");
  Tensor out = Tensor::zeros({grid.rows, grid.columns});
  for (std::int64_t n = 0; n < keys.tokens(); ++n)
    for (std::int64_t y = 2 * (n / keys.columns) - 1; y <= 2 * (n / keys.columns) + 1; ++y)
      for (std::int64_t x = 2 * (n % keys.columns) - 1; x <= 2 * (n % keys.columns) + 1; ++x)
        if (y >= 0 && x >= 0 && y < grid.rows && x < grid.columns) out[y * grid.columns + x] += 1.0f;
  return out;
}

}  // namespace
}  // namespace conv_projection_encoding

const Encoding kConvProjection = {
    .name = "conv_projection",
    .title = "depthwise convolutions before q, k and v, with zeros around; k and v with a stride",
    .place = EncodingPlace::projection,
    .paper = "Wu et al. 2021, CvT",
    .models = "CvT",
    .formula = "q, k, v = W BN(DWConv(X)), stride 1, 2, 2",
    .lowering = "convolutions and batch norms before q, k and v",
    .parameters = "3 (k^2 + 2) C",
    .multiply_adds = "1.5 k^2 N C, and N^2 C / 2 in place of 2 N^2 C",
    .memory = "1.5 N C",
    .grids = EncodingGrids::flat,
    .prefix = true,
    .variants = {"avg"},
    .cases = conv_projection_encoding::cases,
    .instance = conv_projection_encoding::instance,
    .picture = conv_projection_encoding::picture,
};

}  // namespace locant
