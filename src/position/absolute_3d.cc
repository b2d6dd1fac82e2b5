#include "position/absolute_3d.h"

#include <vector>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kAbsolute3dName = "absolute_3d";

// (1, rows, C), of any number of rows.
void check_rows(const Var& table, const char* name) {
  require(table.shape().rank() == 3, kAbsolute3dName,
          "the {} table has the shape {}; (1, rows, C) was expected", name, table.shape().str());
  check_table(kAbsolute3dName, name, table, {1, table.dim(1), table.dim(2)});
}

}  // namespace

Var joint_absolute(const Var& table, std::int64_t frames, std::int64_t places) {
  check_rows(table, "joint");
  require(table.dim(1) == frames * places, kAbsolute3dName,
          "a joint table of shape {} for {} frames of {} places", table.shape().str(), frames, places);
  return table;
}

Var temporal_absolute(const Context& ctx, const Var& time, std::int64_t frames, std::int64_t places) {
  check_rows(time, "temporal");
  require(time.dim(1) == frames && places >= 0 && places <= (1 << 24), kAbsolute3dName,
          "a temporal table of shape {} for {} frames of {} places; resize it first", time.shape().str(),
          frames, places);
  std::vector<std::int32_t> rows;
  for (std::int64_t n = 0; n < frames * places; ++n) rows.push_back(static_cast<std::int32_t>(n / places));
  const Var flat = gather_rows(ctx, reshape(ctx, time, {frames, time.dim(2)}), rows);
  return reshape(ctx, flat, {1, frames * places, time.dim(2)});
}

Var factorised_absolute(const Context& ctx, const Var& time, const Var& space) {
  check_rows(time, "temporal");
  check_rows(space, "spatial");
  if (time.dim(2) != space.dim(2))
    fail(kAbsolute3dName, "tables of shape {} and {} differ in width", time.shape().str(),
         space.shape().str());
  const std::int64_t F = time.dim(1), places = space.dim(1), C = time.dim(2);
  const Var sum = add_broadcast(ctx, reshape(ctx, time, {F, 1, C}), reshape(ctx, space, {1, places, C}));
  return reshape(ctx, sum, {1, F * places, C});
}

Var resize_temporal(const Context& ctx, const Var& time, std::int64_t frames) {
  check_rows(time, "temporal");
  require(frames >= 1, kAbsolute3dName, "{} frames", frames);
  const Var grid = reshape(ctx, time, {1, 1, time.dim(1), time.dim(2)});
  return reshape(ctx, resize(ctx, grid, 1, frames, ResizeRule::bilinear), {1, frames, time.dim(2)});
}

}  // namespace locant
