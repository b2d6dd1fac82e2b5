#include "position/joint_2d.h"

#include <cmath>

#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {
constexpr const char* kJoint2dName = "joint_2d";
}

std::shared_ptr<const OffsetMap> joint_2d_gather(const Grid& grid, std::int64_t prefix) {
  require(grid.frames == 1, kJoint2dName, "{} frames; the table is of a plane", grid.frames);
  return displacement_gather(kJoint2dName, grid, joint_2d_rows(grid), {.tokens = prefix});
}

AttentionTerm joint_2d_term(const Context& ctx, const Joint2d& joint, const Grid& grid, float scale,
                            std::shared_ptr<const OffsetMap> gather) {
  require(std::isfinite(scale) && scale != 0.0f, kJoint2dName, "a scale of {}", scale);
  const std::int64_t D =
      joint.table.defined() && joint.table.shape().rank() == 3 ? joint.table.shape()[2] : 0;
  check_table(kJoint2dName, Joint2d::kTable, joint.table, {2 * grid.rows - 1, 2 * grid.columns - 1, D});
  Var vectors = reshape(ctx, joint.table, {joint_2d_rows(grid), D});
  // The kernel scales the term as it scales q.k.
  if (!joint.scaled) vectors = affine(ctx, vectors, 1.0f / scale);
  return band_term(Side::query, vectors, std::move(gather));
}

}  // namespace locant
