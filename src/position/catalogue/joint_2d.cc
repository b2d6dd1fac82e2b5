#include "position/joint_2d.h"

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace joint_2d_encoding {
namespace {

EncodingInstance instance(const EncodingCase& c) {
  const Grid g = c.query;
  const Joint2d joint{random_parameter({2 * g.rows - 1, 2 * g.columns - 1, c.D}, c.seed),
                      c.variant == "scaled"};
  const auto gather = joint_2d_gather(g, c.prefix);
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.D));
  return score_instance(
      c, {{Joint2d::kTable, joint.table}},
      [=](const Context& ctx, AttentionOptions& options) {
        options.terms = {joint_2d_term(ctx, joint, g, static_cast<float>(scale), gather)};
      },
      [=](const PlainCall& call, auto b, auto h, auto i, auto j) {
        auto s = call.dot(b, h, i, j) * scale;
        if (i < c.prefix || j < c.prefix) return s;
        return s +
               joint_2d_score<Complex>(call.query(b, h, i), call.x[3], g, c.D, i - c.prefix, j - c.prefix) *
                   (joint.scaled ? scale : 1.0);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out =
      grid_cases({{1, 1}, {1, 2}, {3, 3}, {2, 5}, {4, 3}, {4, 3}, {3, 2, "scaled"}});
  out[4].H = 3, out[4].D = 1, out[4].Dv = 3;
  out[5].B = 2, out[5].H = 1, out[5].prefix = 2;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) {
    return i < c.prefix || j < c.prefix ? -1 : joint_2d_row(c.query, i - c.prefix, j - c.prefix);
  });
}

}  // namespace
}  // namespace joint_2d_encoding

const Encoding kJoint2d = {
    .name = "joint_2d",
    .title = "a learned vector per displacement of the plane, met by the query",
    .place = EncodingPlace::vectors,
    .paper = "Li et al. 2022, MViTv2 (before decomposition)",
    .models = "none released",
    .formula = "s = q.k / sqrt(D) + q.R[y_i - y_j, x_i - x_j]",
    .lowering = "band term of the query",
    .parameters = "(2h - 1)(2w - 1) D",
    .multiply_adds = "about 2 H N^2 D, a tile at a time",
    .memory = "(2h - 1)(2w - 1) D",
    .grids = EncodingGrids::one_flat,
    .prefix = true,
    .variants = {"scaled"},
    .cases = joint_2d_encoding::cases,
    .instance = joint_2d_encoding::instance,
    .index = joint_2d_encoding::index,
};

}  // namespace locant
