// Goldens: the inputs of tests/data/oracle/real/dinov2_vits14_*.json (bound 1e-6: README there).
#include "io/preprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/sha256.h"

namespace locant {
namespace preprocess_test {

using nlohmann::json;
using Bytes = std::vector<std::uint8_t>;

/// Grey ramp along both axes: pixel (r, c) has red r, green c, blue 7.
Image ramp(std::int64_t rows, std::int64_t columns) {
  Image image{rows, columns, {}};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      image.rgb.insert(image.rgb.end(), {static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(c), 7});
    }
  }
  return image;
}

/// Leaves bytes as they are: mean 0, std 1/255.
Preprocess plain(std::int64_t rows, std::int64_t columns) {
  Preprocess options;
  options.rows = rows;
  options.columns = columns;
  options.mean = {0.0f, 0.0f, 0.0f};
  options.std = {1.0f / 255, 1.0f / 255, 1.0f / 255};
  return options;
}

TEST(Preprocess, InputsOfTheRealOracles) {
  for (const char* name : {"chelsea_224x224", "coffee_448x308", "astronaut_518x518"}) {
    const std::string path = std::string(LOCANT_TEST_DATA "/oracle/real/dinov2_vits14_") + name + ".json";
    const json oracle = json::parse(std::ifstream(path));
    const Image photo = read_image(LOCANT_TEST_DATA "/" + oracle["photo"].get<std::string>());
    Preprocess options;
    options.columns = oracle["resize"][0];
    options.rows = oracle["resize"][1];
    options.mode = Preprocess::Mode::squash;
    const Image resized = pil_resize(photo, options.columns, options.rows, ResizeFilter::bicubic);
    EXPECT_EQ(sha256_hex(resized.rgb), oracle["resized_sha256"]);
    const Tensor input = preprocess(photo, options);
    const json& expected = oracle["input"];
    ASSERT_EQ(input.numel(), expected["size"].get<std::int64_t>());
    const double norm = expected["norm"], unit = norm / std::sqrt(static_cast<double>(input.numel()));
    double worst = 0.0, squares = 0.0;
    for (const json& sample : expected["samples"]) {
      worst = std::max(worst, std::abs(input[sample[0]] - sample[1].get<double>()) / unit);
    }
    for (const float x : input.values()) squares += static_cast<double>(x) * x;
    worst = std::max(worst, std::abs(std::sqrt(squares) - norm) / norm);
    EXPECT_LE(worst, 1e-6) << name;
    RecordProperty(name, fmt::format("{:.1e}", worst));
  }
}

TEST(Preprocess, CropOriginRoundsHalvesToEven) {
  // Short side kept (no resize): crop 4 of 4 rows; long sides 5, 6, 7, 9, 11 leave halves 0.5, 1.5, 2.5, 3.5.
  for (const auto& [columns, origin] : {std::pair{4, 0}, {5, 0}, {6, 1}, {7, 2}, {9, 2}, {11, 4}}) {
    Preprocess options = plain(4, 4);
    options.crop_pct = 1.0;
    const Tensor wide = preprocess(ramp(4, columns), options);
    EXPECT_EQ(std::lround(wide[16]), origin) << columns;
    const Tensor tall = preprocess(ramp(columns, 4), options);
    EXPECT_EQ(std::lround(tall[0]), origin) << columns;
  }
}

TEST(Preprocess, ShortSideThenCrop) {
  // 224 / 0.9 = 248.9 -> 248; the long side is int(248 * 451 / 300) = 372; origin (12, 74).
  const Image photo = read_image(LOCANT_TEST_DATA "/photos/chelsea.png");
  Preprocess options = plain(224, 224);
  const Image resized = pil_resize(photo, 372, 248, ResizeFilter::bicubic);
  Tensor cropped = preprocess(photo, options);
  EXPECT_EQ(cropped.shape(), (Shape{3, 224, 224}));
  const auto expect_crop = [&](const Image& whole, std::int64_t top, std::int64_t left) {
    std::int64_t differing = 0;
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t r = 0; r < 224; ++r) {
        for (std::int64_t x = 0; x < 224; ++x) {
          const int byte = whole.rgb[3 * ((r + top) * whole.columns + x + left) + c];
          differing += std::lround(cropped[(c * 224 + r) * 224 + x]) != byte;
        }
      }
    }
    EXPECT_EQ(differing, 0);
  };
  expect_crop(resized, 12, 74);
  // 256 given: int(256 * 451 / 300) = 384, origin (16, 80).
  options.resize_to = 256;
  options.filter = ResizeFilter::bilinear;
  cropped = preprocess(photo, options);
  expect_crop(pil_resize(photo, 384, 256, ResizeFilter::bilinear), 16, 80);
}

TEST(Preprocess, ZerosAroundWhatIsSmallerThanTheCrop) {
  Preprocess options = plain(5, 5);
  options.resize_to = 2;
  options.mean = {0.5f, 0.25f, 0.0f};
  options.std = {0.5f, 0.5f, 0.5f};
  // 2 x 3 in 5 x 5: one row above and two below, one column on each side.
  const Tensor padded = preprocess({2, 3, Bytes(18, 255)}, options);
  for (std::int64_t r = 0; r < 5; ++r) {
    for (std::int64_t c = 0; c < 5; ++c) {
      const bool inside = r >= 1 && r < 3 && c >= 1 && c < 4;
      EXPECT_FLOAT_EQ(padded[r * 5 + c], inside ? 1.0f : -1.0f);
      EXPECT_FLOAT_EQ(padded[25 + r * 5 + c], inside ? 1.5f : -0.5f);
    }
  }
}

TEST(Preprocess, OtherTargetsAreCovered) {
  Preprocess options = plain(40, 20);
  options.crop_pct = 1.0;
  // Ratio min(100 / 40, 60 / 20) = 2.5: 40 x 24, then columns 2 to 21.
  const Image image = ramp(100, 60);
  const Image resized = pil_resize(image, 24, 40, ResizeFilter::bicubic);
  const Tensor result = preprocess(image, options);
  EXPECT_EQ(result.shape(), (Shape{3, 40, 20}));
  for (std::int64_t r = 0; r < 40; ++r) {
    for (std::int64_t c = 0; c < 20; ++c) {
      EXPECT_EQ(std::lround(result[(40 + r) * 20 + c]), resized.rgb[3 * (r * 24 + c + 2) + 1]);
    }
  }
}

TEST(Preprocess, OneChannelIsLumaBeforeTheResize) {
  Preprocess options = plain(2, 2);
  options.channels = 1;
  options.mode = Preprocess::Mode::squash;
  const Image image{2, 2, {255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 31}};
  const Tensor luma = preprocess(image, options);
  EXPECT_EQ(luma.shape(), (Shape{1, 2, 2}));
  const std::vector<int> expected = {76, 150, 29, 18};  // 0.299 R + 0.587 G + 0.114 B
  for (int i = 0; i < 4; ++i) EXPECT_EQ(std::lround(luma[i]), expected[i]);
  options.rows = options.columns = 1;
  options.filter = ResizeFilter::box;
  // A row pass gives 113 and 24 (23.5 up), a column pass 69 (68.5 up).
  EXPECT_EQ(std::lround(preprocess(image, options)[0]), 69);
}

/// SHA-256 of the bytes that Pillow 13.0.0 gives for convert("L"), then resize(size, BICUBIC).
TEST(Preprocess, LumaOfAPhotographEqualsPillows) {
  const Image photo = read_image(LOCANT_TEST_DATA "/photos/chelsea.png");
  const auto digest = [&](std::int64_t rows, std::int64_t columns) {
    Preprocess options = plain(rows, columns);
    options.channels = 1;
    options.mode = Preprocess::Mode::squash;
    Bytes bytes;
    for (const float x : preprocess(photo, options).values()) {
      bytes.push_back(static_cast<std::uint8_t>(std::lround(x)));
    }
    return sha256_hex(bytes);
  };
  EXPECT_EQ(digest(300, 451), "cd822d0a5b86379f987b3120f75a6e7c7be64e292b25a23bd858af5c9db1fed6");
  EXPECT_EQ(digest(224, 224), "a726b086477ec288aaedc2a0f245fb196edbcef90cb14495e65531887c8ac5c7");
}

TEST(Preprocess, JsonKeepsEverything) {
  Preprocess options;
  options.rows = 28;
  options.columns = 36;
  options.channels = 1;
  options.mode = Preprocess::Mode::squash;
  options.crop_pct = 0.875;
  options.resize_to = 77;
  options.filter = ResizeFilter::lanczos;
  options.mean = {0.1307f, 0.1f, 1.0f / 3};
  options.std = {0.3081f, 1e-3f, 255.0f};
  const std::string text = options.to_json();
  EXPECT_NE(text.find("0.1307,"), std::string::npos) << text;
  const Preprocess again = Preprocess::from_json(text);
  EXPECT_EQ(again.to_json(), text);
  EXPECT_EQ(again.rows, 28);
  EXPECT_EQ(again.columns, 36);
  EXPECT_EQ(again.channels, 1);
  EXPECT_EQ(again.mode, options.mode);
  EXPECT_EQ(again.crop_pct, 0.875);
  EXPECT_EQ(again.resize_to, 77);
  EXPECT_EQ(again.filter, options.filter);
  EXPECT_EQ(again.mean, options.mean);
  EXPECT_EQ(again.std, options.std);
  EXPECT_EQ(Preprocess::from_json("{}").rows, 224);
}

TEST(Preprocess, JsonRefusesNonsense) {
  for (const char* bad : {"",
                          "[]",
                          "7",
                          "{",
                          R"({"row":1})",
                          R"({"rows":"224"})",
                          R"({"rows":1.5})",
                          R"({"rows":0})",
                          R"({"rows":16385})",
                          R"({"columns":-3})",
                          R"({"columns":18446744073709551615})",
                          R"({"channels":2})",
                          R"({"mode":"crop"})",
                          R"({"mode":1})",
                          R"({"crop_pct":0})",
                          R"({"crop_pct":1.5})",
                          R"({"crop_pct":"a"})",
                          R"({"resize_to":-1})",
                          R"({"resize_to":99999999})",
                          R"({"filter":"nearest"})",
                          R"({"filter":2})",
                          R"({"mean":[1,2]})",
                          R"({"mean":[1,2,"3"]})",
                          R"({"mean":0.5})",
                          R"({"std":[1,0,1]})",
                          R"({"std":[1,-1,1]})",
                          R"({"std":[1,1e999,1]})",
                          R"({"mean":[1e60,0,0]})",
                          "{\"mode\":\"\xff\"}"}) {
    EXPECT_THROW(Preprocess::from_json(bad), Error) << bad;
  }
  EXPECT_NO_THROW(Preprocess::from_json(R"({"rows":16384,"columns":1,"crop_pct":1})"));
}

TEST(Preprocess, RefusesBadOptionsAndPictures) {
  Preprocess options = plain(4, 4);
  EXPECT_THROW(preprocess({}, options), Error);
  EXPECT_THROW(preprocess({2, 2, Bytes(11)}, options), Error);
  options.std[1] = 0.0f;
  EXPECT_THROW(preprocess(ramp(4, 4), options), Error);
}

/// The input as bytes, interleaved as a picture's are.
Bytes bytes_of(const Tensor& input) {
  const std::int64_t channels = input.dim(0), pixels = input.dim(1) * input.dim(2);
  Bytes bytes(static_cast<std::size_t>(input.numel()));
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t i = 0; i < pixels; ++i)
      bytes[static_cast<std::size_t>(i * channels + c)] =
          static_cast<std::uint8_t>(std::lround(input[c * pixels + i]));
  return bytes;
}

// SHA-256 of what Pillow 13.0.0 gives by timm's steps: scripts/goldens/make_thin_fixture.py. On the way there
// are 4.96 million columns or rows.
TEST(Preprocess, OnePixelByTwentyThousandAsTimm) {
  Image line{1, 20000, Bytes(60000)};
  for (std::int64_t i = 0; i < 60000; ++i)
    line.rgb[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>((i * i / 7 + 31 * i) % 251);
  const Image tall{20000, 1, line.rgb};
  struct Golden {
    std::int64_t size, channels;
    ResizeFilter filter;
    const char *line, *tall;
  };
  const std::vector<Golden> goldens = {
      {32, 3, ResizeFilter::bicubic, "dfb21ed5dd723ad701dde8d640a9d05a3ee887306a687de35cf80e5a3ad9a0ed",
       "b40dbded7e8e2e588380f67ab04ebaf4e1748bb730069da782294019432af57b"},
      {32, 1, ResizeFilter::bicubic, "d8d4d7a57c82b4b83be2cddb753caa6c56d1d0b85630303c9c80b9c0793752f1",
       "c1b3ecacace50e391f8b7f7b4cfbae02deff8bd693668cd16a0e3d44718d0d94"},
      {32, 3, ResizeFilter::bilinear, "b6acd1cfe07b54e6b368071df00f5cdd93695cd588680636427e277f0a92f599",
       "ba06b0de04d9561454b9d63f101f1201dc9f8c92bb273f6f06c726a1b59b068a"},
      {32, 1, ResizeFilter::bilinear, "994d8a8bd802675e5a5cbe7698387682e7ffeeb90ac72a89fd50d9270fde787e",
       "619e075d2305035bd6ca9c6f6e923477455f34f0cdbdbe8ddf71ea79b2541d48"},
      {224, 3, ResizeFilter::bicubic, "f07b07539bd6df18795697bda20be0fcef8261a59b3086ca4daf947d91d3a021",
       "31f454c1e44b693c6182d89734e6976dea6b845b1328cee5e7efaf9853fe94bf"},
      {224, 1, ResizeFilter::bicubic, "f6b0e811120beaae315b9e00fb2e36441156f10ef3431024397d0cfbb3992b06",
       "d7d77b5d24b39ebd057ca372a58093eac9873d054367a24d0eb9551473bb4b36"}};
  for (const Golden& golden : goldens) {
    Preprocess options = plain(golden.size, golden.size);
    options.channels = golden.channels;
    options.filter = golden.filter;
    EXPECT_EQ(sha256_hex(bytes_of(preprocess(line, options))), golden.line) << golden.size;
    EXPECT_EQ(sha256_hex(bytes_of(preprocess(tall, options))), golden.tall) << golden.size;
  }
}

TEST(Preprocess, TheThinnestPictureIsAnswered) {
  // 1 x 2^24, the longest side that the readers take, would become 224 x 4.2 billion.
  const Image thinnest{1, 1 << 24, Bytes(std::size_t{3} << 24, 77)};
  for (const float x : preprocess(thinnest, plain(8, 8)).values()) EXPECT_EQ(std::lround(x), 77);
}

}  // namespace preprocess_test
}  // namespace locant
