#include "segment/crops.h"

#include "core/error.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace crops_test {

using namespace testing;

TEST(Crops, OfficialPointGrids) {
  const Json oracle = read_oracle("amg_pieces");
  for (const auto& [key, line] : oracle["point_grid"].items()) {
    const std::size_t n = line.size();
    const std::vector<PromptPoint> grid = build_point_grid(static_cast<std::int64_t>(n));
    ASSERT_EQ(grid.size(), n * n);
    for (std::size_t i = 0; i < grid.size(); ++i) {
      EXPECT_EQ(grid[i].x, line[i % n].get<double>()) << key;
      EXPECT_EQ(grid[i].y, line[i / n].get<double>()) << key;
    }
  }
}

TEST(Crops, OfficialLayerGrids) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["layer_grids"]) {
    const auto build = [&] {
      return build_all_layer_point_grids(row["n_per_side"], row["layers"], row["downscale"]);
    };
    if (row["points_per_layer"].is_string()) {
      EXPECT_THROW(build(), Error);
      continue;
    }
    std::vector<std::size_t> sizes;
    for (const auto& grid : build()) sizes.push_back(grid.size());
    EXPECT_EQ(Json(sizes), row["points_per_layer"]);
  }
}

TEST(Crops, OfficialCropBoxes) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["crop_boxes"]) {
    const CropBoxes crops = generate_crop_boxes(size_of(row["size_hw"]), row["layers"], row["overlap_ratio"]);
    ASSERT_EQ(crops.boxes.size(), row["boxes_xyxy"].size());
    for (std::size_t i = 0; i < crops.boxes.size(); ++i)
      EXPECT_EQ(crops.boxes[i], pixel_box(row["boxes_xyxy"][i])) << row;
    EXPECT_EQ(Json(crops.layers), row["layer"]);
  }
}

TEST(Crops, RefusesWhatLeavesNothing) {
  EXPECT_THROW(build_point_grid(0), Error);
  EXPECT_THROW(build_point_grid(1025), Error);
  EXPECT_THROW(build_all_layer_point_grids(8, 7, 2), Error);
  EXPECT_THROW(build_all_layer_point_grids(8, 1, 0), Error);
  EXPECT_THROW(generate_crop_boxes({300, 400}, -1, 0.3), Error);
  EXPECT_THROW(generate_crop_boxes({300, 400}, 7, 0.3), Error);
  EXPECT_THROW(generate_crop_boxes({300, 400}, 1, 1.0), Error);
  EXPECT_THROW(generate_crop_boxes({300, 400}, 1, std::nan("")), Error);
  EXPECT_THROW(generate_crop_boxes({0, 400}, 0, 0.3), Error);
  EXPECT_THROW(generate_crop_boxes({1, 1}, 1, 0.3), Error);
  EXPECT_NO_THROW(generate_crop_boxes({2, 2}, 1, 0.3));
}

}  // namespace crops_test
}  // namespace locant
