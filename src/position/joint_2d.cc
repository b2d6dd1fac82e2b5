#include "position/joint_2d.h"

#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {
constexpr const char* kName = "joint_2d";
}

std::shared_ptr<const GatherMap> joint_2d_gather(const Grid& grid, std::int64_t prefix) {
  require(grid.frames == 1, kName, "{} frames; the table is of a plane", grid.frames);
  return displacement_gather(kName, grid, joint_2d_rows(grid), {.tokens = prefix});
}

AttentionTerm joint_2d_term(const Context& ctx, const Joint2d& joint, const Grid& grid, float scale,
                            std::shared_ptr<const GatherMap> gather) {
  require(std::isfinite(scale) && scale != 0.0f, kName, "a scale of {}", scale);
  const std::int64_t D =
      joint.table.defined() && joint.table.shape().rank() == 3 ? joint.table.shape()[2] : 0;
  check_table(kName, Joint2d::kTable, joint.table, {2 * grid.rows - 1, 2 * grid.columns - 1, D});
  Var vectors = reshape(ctx, joint.table, {joint_2d_rows(grid), D});
  // The kernel scales the term as it scales q.k.
  if (!joint.scaled) vectors = affine(ctx, vectors, 1.0f / scale);
  return band_term(Side::query, vectors, std::move(gather));
}

namespace {

bool scaled(const EncodingCase& c) {
  require(c.variant.empty() || c.variant == "scaled", kName, "unknown variant \"{}\"; there is scaled",
          c.variant);
  check_one_grid(kName, c);
  return c.variant == "scaled";
}

EncodingInstance instance(const EncodingCase& c) {
  const Grid g = c.query;
  const Joint2d joint{random_parameter({2 * g.rows - 1, 2 * g.columns - 1, c.D}, c.seed), scaled(c)};
  const auto gather = joint_2d_gather(g, c.prefix);
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.D));
  return score_instance(
      c, {{Joint2d::kTable, joint.table}},
      [=](const Context& ctx, AttentionOptions& options) {
        options.terms = {joint_2d_term(ctx, joint, g, static_cast<float>(scale), gather)};
      },
      [=](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        auto s = call.dot(b, h, i, j) * scale;
        if (i < c.prefix || j < c.prefix) return s;
        return s + joint_2d_score<std::complex<double>>(call.query(b, h, i), x[3], g, c.D, i - c.prefix,
                                                        j - c.prefix) *
                       (joint.scaled ? scale : 1.0);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 1, 2}, Grid{1, 3, 3}, Grid{1, 2, 5}})
    out.push_back({.query = grid, .key = grid});
  const Grid grid{1, 4, 3};
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = grid, .key = grid});
  out.push_back({.B = 2, .H = 1, .query = grid, .key = grid, .prefix = 2});
  out.push_back({.query = {1, 3, 2}, .key = {1, 3, 2}, .variant = "scaled"});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) {
    return i < c.prefix || j < c.prefix ? -1 : joint_2d_row(c.query, i - c.prefix, j - c.prefix);
  });
}

}  // namespace

const Encoding kJoint2d = {
    .name = kName,
    .header = "position/joint_2d.h",
    .title = "a learned vector per displacement of the plane, met by the query",
    .place = EncodingPlace::vectors,
    .paper = "Li et al. 2022, MViTv2 (before decomposition)",
    .models = "none released",
    .formula = "s = q.k / sqrt(D) + q.R[y_i - y_j, x_i - x_j]",
    .lowering = "band term of the query",
    .parameters = "(2h - 1)(2w - 1) D",
    .multiply_adds = "about 2 H N^2 D, a tile at a time",
    .memory = "(2h - 1)(2w - 1) D",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
