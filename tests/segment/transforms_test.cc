#include "segment/transforms.h"

#include "core/error.h"
#include "segment/mask.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace transforms_test {

using namespace testing;

TEST(ResizeLongestSide, OfficialTargetSizes) {
  const Json oracle = read_oracle("transforms");
  std::size_t thin = 0;
  for (const Json& row : oracle["preprocess_shape"]["rows"]) {
    const ImageSize picture = size_of(row), want{row[3].get<std::int64_t>(), row[4].get<std::int64_t>()};
    const ResizeLongestSide transform(row[2].get<std::int64_t>());
    if (want.rows == 0 || want.columns == 0) {
      ++thin;
      EXPECT_THROW(transform.target_size(picture), Error);
    } else {
      EXPECT_EQ(transform.target_size(picture), want) << row;
    }
  }
  EXPECT_LT(thin, 40u);
}

TEST(ResizeLongestSide, OfficialPictures) {
  const Json oracle = read_oracle("transforms");
  for (const Json& row : oracle["apply_image"]) {
    const Image photo = read_photo(row["photo"], row["crop_xyxy"]);
    ASSERT_EQ(sha256_hex(photo.rgb), row["decoded_sha256"]) << row["photo"];
    const Image resized = ResizeLongestSide(row["length"].get<std::int64_t>()).apply_image(photo);
    EXPECT_EQ(ImageSize({resized.rows, resized.columns}), size_of(row["resized_hw"]));
    EXPECT_EQ(sha256_hex(resized.rgb), row["sha256"]) << row["photo"] << row["length"];
  }
}

TEST(ResizeLongestSide, OfficialEncoderInputsBitForBit) {
  const Json oracle = read_oracle("transforms");
  for (const Json& row : oracle["preprocess"]) {
    const std::int64_t length = row["length"];
    const Image photo = read_photo(row["photo"], row["crop_xyxy"]);
    const Tensor input = sam_input(ResizeLongestSide(length).apply_image(photo), length);
    ASSERT_EQ(input.shape(), Shape({1, 3, length, length}));
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(input.data());
    EXPECT_EQ(sha256_hex({bytes, static_cast<std::size_t>(input.bytes())}), row["float32_sha256"])
        << row["photo"];
  }
}

TEST(ResizeLongestSide, OfficialCoordinatesAndBoxes) {
  const Json oracle = read_oracle("transforms");
  for (const Json& row : oracle["coords"]) {
    std::vector<PromptPoint> points;
    for (const Json& p : row["points"]) points.push_back({p[0], p[1]});
    std::vector<PromptBox> boxes;
    for (std::size_t i = 0; i + 1 < points.size(); i += 2)
      boxes.push_back({points[i].x, points[i].y, points[i + 1].x, points[i + 1].y});
    const ResizeLongestSide transform(1024);
    const auto moved = transform.apply_coords(points, size_of(row["size_hw"]));
    for (std::size_t i = 0; i < moved.size(); ++i) {
      EXPECT_EQ(moved[i].x, row["apply_coords_float64"][i][0].get<double>());
      EXPECT_EQ(moved[i].y, row["apply_coords_float64"][i][1].get<double>());
    }
    const auto moved_boxes = transform.apply_boxes(boxes, size_of(row["size_hw"]));
    for (std::size_t i = 0; i < moved_boxes.size(); ++i) {
      const Json& want = row["apply_boxes_float64"][i];
      EXPECT_EQ(moved_boxes[i].x0, want[0].get<double>());
      EXPECT_EQ(moved_boxes[i].y0, want[1].get<double>());
      EXPECT_EQ(moved_boxes[i].x1, want[2].get<double>());
      EXPECT_EQ(moved_boxes[i].y1, want[3].get<double>());
    }
  }
}

TEST(ResizeLongestSide, RefusesWhatHasNoPixels) {
  EXPECT_THROW(ResizeLongestSide(0), Error);
  EXPECT_THROW(ResizeLongestSide(16385), Error);
  const ResizeLongestSide transform(1024);
  EXPECT_THROW(transform.target_size({0, 5}), Error);
  EXPECT_THROW(transform.target_size({1 << 20, 1 << 20}), Error);
  EXPECT_EQ(transform.target_size({1, 1}), (ImageSize{1024, 1024}));
  EXPECT_EQ(transform.target_size({10, 20000}), (ImageSize{1, 1024}));
  const std::string thin = error_of([&] { transform.target_size({1, 20000}); });
  EXPECT_NE(thin.find("20000 x 1 pixels is too thin"), std::string::npos) << thin;
  EXPECT_THROW(sam_input(Image{4, 4, std::vector<std::uint8_t>(48)}, 3), Error);
  EXPECT_THROW(sam_input(Image{4, 4, std::vector<std::uint8_t>(47)}, 8), Error);
}

}  // namespace transforms_test
}  // namespace locant
