#include "segment/small_regions.h"

#include "core/error.h"
#include "segment/rle.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace small_regions_test {

using namespace testing;

TEST(SmallRegions, OfficialResults) {
  const Json oracle = read_oracle("amg_small_regions");
  for (const Json& row : oracle["masks"]) {
    const Mask mask = spec_mask(row);
    ASSERT_EQ(bits_sha256(mask), row["sha256"]);
    for (const Json& want : row["results"]) {
      Mask out = mask;
      const RegionMode mode = want["mode"] == "holes" ? RegionMode::holes : RegionMode::islands;
      EXPECT_EQ(remove_small_regions(out, want["area_thresh"], mode), want["changed"].get<bool>());
      EXPECT_EQ(area(out), want["area"]) << row["size"] << want["mode"] << want["area_thresh"];
      EXPECT_EQ(bits_sha256(out), want["sha256"]) << row["size"] << want["mode"] << want["area_thresh"];
    }
  }
}

TEST(SmallRegions, RunsMeetAtCornersAcrossLongRows) {
  // A comb whose teeth touch the spine only diagonally: one component.
  Mask comb{{2, 9}, {1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0}};
  EXPECT_FALSE(remove_small_regions(comb, 9, RegionMode::islands));
  EXPECT_TRUE(remove_small_regions(comb, 10, RegionMode::islands));
  EXPECT_EQ(area(comb), 9);  // all small: the largest stays
  Mask bad{{2, 2}, {1}};
  EXPECT_THROW(remove_small_regions(bad, 3, RegionMode::holes), Error);
}

}  // namespace small_regions_test
}  // namespace locant
