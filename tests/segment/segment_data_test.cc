#include "segment/segment_data.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "io/image.h"

namespace locant {
namespace segment_data_test {

namespace fs = std::filesystem;

/// A folder of one grey picture of 80 x 50 pixels, and the mask that a test lays beside it.
class SegmentDataMasks : public ::testing::Test {
 protected:
  SegmentDataMasks()
      : folder_(fs::path(::testing::TempDir()) /
                (std::string("segment_data_") +
                 ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "images");
    fs::create_directories(folder_ / "masks");
    write_png((folder_ / "images/cells.png").string(), {50, 80, std::vector<std::uint8_t>(3 * 50 * 80, 90)});
  }
  ~SegmentDataMasks() override { fs::remove_all(folder_); }

  void mask(const std::string& fixture, const std::string& name) const {
    fs::copy_file(fs::path(LOCANT_TEST_DATA) / fixture, folder_ / "masks" / name,
                  fs::copy_options::overwrite_existing);
  }
  SegmentData read() const { return read_segment_data(folder_.string(), 256, 64); }
  std::string error() const {
    try {
      read();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  fs::path folder_;
};

TEST_F(SegmentDataMasks, FortyObjectsOfSixteenBitsAreForty) {
  for (const char* ending : {".png", ".tif"}) {
    fs::remove_all(folder_ / "masks");
    fs::create_directories(folder_ / "masks");
    mask(std::string("labels/cells40") + ending, std::string("cells") + ending);
    const SegmentData data = read();
    ASSERT_EQ(data.objects.size(), 40u) << ending;
    // Nine pixels a side at 80 pixels for 64 cells; in the order of their numbers, left to right first.
    for (const SegmentObject& object : data.objects) EXPECT_NEAR(area_from_rle(object.mask), 52, 13);
    const PixelBox first = mask_to_box(rle_to_mask(data.objects[0].mask)),
                   second = mask_to_box(rle_to_mask(data.objects[1].mask)),
                   ninth = mask_to_box(rle_to_mask(data.objects[8].mask));
    EXPECT_LT(first.x1, second.x0);
    EXPECT_EQ(first.y0, second.y0);
    EXPECT_LT(first.y1, ninth.y0);
  }
}

TEST_F(SegmentDataMasks, APngGoesBeforeOtherEndings) {
  mask("labels/cells40.tif", "cells.tif");
  write_png((folder_ / "masks/cells.png").string(), {50, 80, std::vector<std::uint8_t>(3 * 50 * 80, 200)});
  EXPECT_EQ(read().objects.size(), 1u);
}

TEST_F(SegmentDataMasks, LossyMasksAreErrors) {
  mask("images/444.jpg", "cells.png");
  EXPECT_NE(error().find("cells.png: a JPEG holds no labels"), std::string::npos) << error();
}

}  // namespace segment_data_test
}  // namespace locant
