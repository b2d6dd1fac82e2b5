#include "segment/nms.h"

#include "core/error.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace nms_test {

using namespace testing;

TEST(BoxNms, OfficialCases) {
  const Json oracle = read_oracle("amg_nms");
  for (const Json& row : oracle["explicit"]) {
    std::vector<PixelBox> boxes;
    for (const Json& box : row["boxes"]) boxes.push_back(pixel_box(box));
    const auto keep = box_nms(boxes, row["scores"].get<std::vector<float>>(), row["iou_threshold"]);
    EXPECT_EQ(Json(keep), row["keep"]) << row["note"];
  }
}

TEST(BoxNms, OfficialLargeCases) {
  const Json oracle = read_oracle("amg_nms");
  for (const Json& row : oracle["formula"]) {
    const std::string name = row["name"];
    const auto u = [&name](const char* what, std::uint64_t i) {
      return (v(fnv1a64(name + what), i) + 1.0) / 2.0;
    };
    const double extent = row["extent"], largest = row["largest"];
    std::vector<PixelBox> boxes;
    std::vector<float> scores;
    for (std::uint64_t i = 0; i < row["n"].get<std::uint64_t>(); ++i) {
      const auto whole = [](double x) { return static_cast<std::int64_t>(std::floor(x)); };
      const std::int64_t x = whole(u(".x", i) * extent), y = whole(u(".y", i) * extent);
      boxes.push_back({x, y, x + 1 + whole(u(".w", i) * largest), y + 1 + whole(u(".h", i) * largest)});
      scores.push_back(static_cast<float>(std::floor(u(".score", i) * 16.0) / 16.0));
    }
    ASSERT_EQ(boxes[2], pixel_box(row["first_boxes"][2]));
    EXPECT_EQ(Json(box_nms(boxes, scores, row["iou_threshold"])), row["keep"]) << name;
  }
}

TEST(BoxNms, OddInput) {
  const std::vector<PixelBox> boxes = {{0, 0, 9, 9}, {0, 0, 9, 9}, {20, 0, 30, 9}};
  const std::vector<float> scores = {0.5f, std::nanf(""), 0.7f};
  EXPECT_EQ(box_nms(boxes, scores, 0.5), (std::vector<std::size_t>{1, 2}));
  EXPECT_THROW(box_nms(boxes, std::vector<float>{1.0f}, 0.5), Error);
}

}  // namespace nms_test
}  // namespace locant
