#include "segment/mask.h"

#include "core/error.h"
#include "segment/stability.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace mask_test {

using namespace testing;

TEST(Mask, OfficialBoxes) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["masks"]) EXPECT_EQ(mask_to_box(spec_mask(row)), pixel_box(row["box_xyxy"]));
}

TEST(Mask, OfficialStabilityScores) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["masks"]) {
    const std::vector<float> logits = spec_logits(row);
    for (const Json& want : row["stability"]) {
      StabilityScore score(want[0], want[1]);
      score.add(std::span(logits).subspan(0, logits.size() / 3));
      score.add(std::span(logits).subspan(logits.size() / 3));
      if (want[2] == "nan") {
        EXPECT_TRUE(std::isnan(score.score()));
      } else {
        EXPECT_NEAR(score.score(), want[2].get<double>(), 1e-8);
      }
    }
  }
}

TEST(Mask, OfficialCropEdges) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["near_crop_edge"]) {
    for (std::size_t i = 0; i < row["near"].size(); ++i) {
      const PixelBox box = pixel_box(row["boxes_in_crop"][i]);
      EXPECT_EQ(is_box_near_crop_edge(box, pixel_box(row["crop_box"]), pixel_box(row["orig_box"])),
                row["near"][i].get<bool>())
          << row["boxes_in_crop"][i];
    }
  }
}

TEST(Mask, OfficialUncropping) {
  const Json oracle = read_oracle("amg_pieces");
  for (const Json& row : oracle["uncrop"]) {
    const PixelBox crop = pixel_box(row["crop_box"]);
    for (std::size_t i = 0; i < row["boxes"].size(); ++i) {
      const PixelBox box = pixel_box(row["boxes"][i]);
      EXPECT_EQ(uncrop_box(box, crop), pixel_box(row["boxes_out"][i]));
      EXPECT_EQ(Json(box_xyxy_to_xywh(box)), row["xywh"][i]);
    }
    for (std::size_t i = 0; i < row["points"].size(); ++i) {
      const PromptPoint out = uncrop_point({row["points"][i][0], row["points"][i][1]}, crop);
      EXPECT_EQ(out.x, row["points_out"][i][0].get<double>());
      EXPECT_EQ(out.y, row["points_out"][i][1].get<double>());
    }
    const Mask mask = uncrop_mask(spec_mask(row["mask"]), crop, size_of(row["orig_hw"]));
    EXPECT_EQ(bits_sha256(mask), row["mask_out_sha256"]);
  }
}

TEST(Mask, RefusesWhatDoesNotFit) {
  const Mask mask{{2, 3}, {0, 1, 0, 0, 0, 1}};
  EXPECT_EQ(mask_to_box(mask), (PixelBox{1, 0, 2, 1}));
  EXPECT_THROW(mask_to_box({{2, 3}, {0, 1}}), Error);
  EXPECT_THROW(mask_to_box({{0, 3}, {}}), Error);
  EXPECT_THROW(uncrop_mask(mask, {1, 0, 4, 2}, {2, 3}), Error);
  EXPECT_THROW(uncrop_mask(mask, {-1, 0, 2, 2}, {9, 9}), Error);
}

}  // namespace mask_test
}  // namespace locant
