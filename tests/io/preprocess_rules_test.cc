// Rules of resize, crop and scale that timm and transformers do not share, on small pictures worked out by
// hand. What the libraries themselves give: tests/models/processor_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "io/preprocess.h"

namespace locant {
namespace preprocess_rules_test {

using Mode = Preprocess::Mode;
using CropOrigin = Preprocess::CropOrigin;

/// Pixel (r, c) has red r, green c, blue 7.
Image ramp(std::int64_t rows, std::int64_t columns) {
  Image image{rows, columns, {}};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      image.rgb.insert(image.rgb.end(), {static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(c), 7});
    }
  }
  return image;
}

Image flat(std::int64_t rows, std::int64_t columns, std::uint8_t value) {
  return {rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * rows * columns), value)};
}

/// Leaves bytes as they are.
Preprocess bytes_of(std::int64_t rows, std::int64_t columns, Mode mode) {
  Preprocess options;
  options.rows = rows;
  options.columns = columns;
  options.mode = mode;
  options.mean = {0.0f, 0.0f, 0.0f};
  options.std = {1.0f, 1.0f, 1.0f};
  options.rescale = 1.0;
  return options;
}

/// Where the crop of `in` x `in` pixels begins; negative: how wide the border is.
std::int64_t origin_of(std::int64_t in, std::int64_t out, CropOrigin origin) {
  Preprocess options = bytes_of(out, out, Mode::keep);
  options.crop_origin = origin;
  Image image = ramp(in, in);
  for (std::size_t i = 1; i < image.rgb.size(); i += 3) ++image.rgb[i];  // columns count from 1: 0 is border
  const Tensor cut = preprocess(image, options);
  const std::int64_t middle = out * out + out / 2 * out;  // green plane, middle row
  for (std::int64_t x = 0; x < out; ++x)
    if (cut[middle + x] > 0.0f) return std::lround(cut[middle + x]) - 1 - x;
  return -out;
}

TEST(PreprocessRules, TwoOriginsOfTheCrop) {
  struct Case {
    std::int64_t in, out, even, floor;
  };
  for (const Case& c : {Case{4, 4, 0, 0},
                        {5, 4, 0, 0},
                        {6, 4, 1, 1},
                        {7, 4, 2, 1},
                        {9, 4, 2, 2},
                        {11, 4, 4, 3},
                        {3, 6, -1, -2},
                        {4, 6, -1, -1},
                        {2, 7, -2, -3}}) {
    EXPECT_EQ(origin_of(c.in, c.out, CropOrigin::round_half_even), c.even) << c.in << " " << c.out;
    EXPECT_EQ(origin_of(c.in, c.out, CropOrigin::floor), c.floor) << c.in << " " << c.out;
  }
}

TEST(PreprocessRules, SquashToAnotherSizeThanTheCrop) {
  const Image image = ramp(30, 50);
  Preprocess options = bytes_of(8, 6, Mode::squash);
  options.squash_rows = 12;
  options.squash_columns = 10;
  const Image resized = pil_resize(image, 10, 12, ResizeFilter::bicubic);
  const Tensor cut = preprocess(image, options);
  for (std::int64_t r = 0; r < 8; ++r)
    for (std::int64_t c = 0; c < 6; ++c)
      EXPECT_EQ(std::lround(cut[r * 6 + c]),
                resized.rgb[static_cast<std::size_t>(3 * ((r + 2) * 10 + c + 2))]);
  options.squash_columns = 0;
  EXPECT_THROW(preprocess(image, options), Error);
}

TEST(PreprocessRules, ShortSideWhateverTheTarget) {
  // 30 x 50, short side 12: 12 x 20, and of that 8 x 14 from (2, 3). The rule for two sides would cover both.
  const Image image = ramp(30, 50);
  Preprocess options = bytes_of(8, 14, Mode::short_side);
  options.resize_to = 12;
  const Image resized = pil_resize(image, 20, 12, ResizeFilter::bicubic);
  const Tensor cut = preprocess(image, options);
  for (std::int64_t r = 0; r < 8; ++r)
    for (std::int64_t c = 0; c < 14; ++c)
      EXPECT_EQ(std::lround(cut[r * 14 + c]),
                resized.rgb[static_cast<std::size_t>(3 * ((r + 2) * 20 + c + 3))]);
  options.resize_to = 0;
  EXPECT_THROW(preprocess(image, options), Error);
}

TEST(PreprocessRules, BorderHoldsAllOfThePictureInTheMean) {
  Preprocess options = bytes_of(8, 8, Mode::border);
  options.crop_pct = 1.0;
  options.mean = {0.485f, 0.5f, 0.0f};
  options.std = {1.0f / 255, 1.0f / 255, 1.0f / 255};
  options.rescale = 1.0 / 255;
  // 10 x 16 becomes 5 x 8: one row of border above, two below. 255 * 0.5 = 127.5 goes to the even 128.
  const Tensor out = preprocess(flat(10, 16, 200), options);
  const double fill[] = {124.0, 128.0, 0.0};
  for (std::int64_t c = 0; c < 3; ++c) {
    for (std::int64_t r = 0; r < 8; ++r) {
      const double byte = r >= 1 && r < 6 ? 200.0 : fill[c];
      EXPECT_NEAR(out[(c * 8 + r) * 8 + 3], byte - 255.0 * options.mean[static_cast<std::size_t>(c)], 1e-4);
    }
  }
}

TEST(PreprocessRules, WithoutACropThePictureMustHaveTheSize) {
  Preprocess options = bytes_of(4, 6, Mode::keep);
  options.crop = false;
  EXPECT_EQ(std::lround(preprocess(ramp(4, 6), options)[7]), 1);
  for (const Image& other : {ramp(6, 4), ramp(4, 7), ramp(3, 6)}) {
    try {
      preprocess(other, options);
      ADD_FAILURE() << "taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("6 x 4"), std::string::npos) << error.what();
    }
  }
}

TEST(PreprocessRules, ScaleAndOffset) {
  Preprocess options = bytes_of(1, 1, Mode::keep);
  options.rescale = 1.0 / 127.5;
  options.offset = 1.0;
  options.mean = {0.5f, 0.5f, 0.5f};
  options.std = {0.5f, 0.25f, 2.0f};
  const Tensor out = preprocess({1, 1, {0, 255, 51}}, options);
  EXPECT_FLOAT_EQ(out[0], -3.0f);
  EXPECT_FLOAT_EQ(out[1], 2.0f);
  EXPECT_FLOAT_EQ(out[2], -0.55f);
  EXPECT_DOUBLE_EQ(options.normalised(127.5, 0), -1.0);
  options.rescale = 0.0;
  EXPECT_THROW(preprocess(flat(1, 1, 0), options), Error);
  options.rescale = 1.0;
  options.offset = std::nan("");
  EXPECT_THROW(preprocess(flat(1, 1, 0), options), Error);
}

TEST(PreprocessRules, OtherChannelsThanPicturesHave) {
  Preprocess options;
  options.channels = 6;
  EXPECT_THROW(options.check(), Error);  // three means
  options.mean.assign(6, 0.5f);
  options.std.assign(6, 0.5f);
  EXPECT_NO_THROW(options.check());
  try {
    preprocess(flat(3, 3, 1), options);
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("6 channels and pictures have 1 or 3"), std::string::npos) << what;
  }
  options.channels = 17;
  options.mean.assign(17, 0.5f);
  options.std.assign(17, 0.5f);
  EXPECT_THROW(options.check(), Error);
}

TEST(PreprocessRules, BytesAreWhatIsNormalised) {
  Preprocess options = bytes_of(5, 7, Mode::border);
  options.crop_pct = 0.8;
  options.mean = {0.4f, 0.5f, 0.6f};
  const Image image = ramp(40, 90);
  std::vector<std::uint8_t> planes(3 * 5 * 7);
  preprocess_bytes(image, options, planes.data());
  const Tensor out = preprocess(image, options);
  for (std::int64_t i = 0; i < out.numel(); ++i)
    EXPECT_EQ(out[i], static_cast<float>(options.normalised(planes[static_cast<std::size_t>(i)], i / 35)));
}

TEST(PreprocessRules, JsonKeepsTheRules) {
  Preprocess options;
  EXPECT_EQ(options.to_json().find("crop_origin"), std::string::npos);  // as earlier versions wrote it
  options.channels = 4;
  options.mean = {0.1f, 0.2f, 0.3f, 0.4f};
  options.std = {0.5f, 0.6f, 0.7f, 0.8f};
  options.crop_origin = CropOrigin::floor;
  options.crop = false;
  options.rescale = 1.0 / 127.5;
  options.offset = 1.0;
  options.squash_rows = 256;
  options.squash_columns = 255;
  for (const Mode mode : {Mode::resize_short, Mode::squash, Mode::short_side, Mode::border, Mode::keep}) {
    options.mode = mode;
    options.resize_to = 77;
    const Preprocess again = Preprocess::from_json(options.to_json());
    EXPECT_EQ(again.to_json(), options.to_json());
    EXPECT_EQ(again.mode, mode);
    EXPECT_EQ(again.mean, options.mean);
    EXPECT_EQ(again.crop_origin, CropOrigin::floor);
    EXPECT_FALSE(again.crop);
    EXPECT_EQ(again.rescale, 1.0 / 127.5);
    EXPECT_EQ(again.offset, 1.0);
    EXPECT_EQ(again.squash_rows, 256);
    EXPECT_EQ(again.squash_columns, 255);
  }
  for (const char* bad :
       {R"({"squash_rows":3})", R"({"squash_rows":-1,"squash_columns":2})", R"({"crop":1})",
        R"({"squash_rows":16385,"squash_columns":2})", R"({"crop_origin":"up"})", R"({"rescale":0})",
        R"({"rescale":"1"})", R"({"offset":null})", R"({"offset":1e999})", R"({"mode":"short_side"})",
        R"({"channels":1,"mean":[1,2]})", R"({"mean":[]})", R"({"channels":17})",
        R"({"mean":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]})"}) {
    EXPECT_THROW(Preprocess::from_json(bad), Error) << bad;
  }
}

}  // namespace preprocess_rules_test
}  // namespace locant
