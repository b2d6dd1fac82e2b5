// Fixtures and expected.json: scripts/goldens/make_tiff_fixtures.py (numpy).
#include "io/labels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/sha256.h"

namespace locant {
namespace labels_test {

using nlohmann::json;

const std::string kFolder = LOCANT_TEST_DATA "/labels/";
const std::string kPictures = LOCANT_TEST_DATA "/images/";

std::string message_of(const std::string& path, const DecodeOptions& options = {}) {
  try {
    read_labels(path, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string digest(const std::vector<std::uint32_t>& values) {
  std::vector<std::uint8_t> bytes;
  for (const std::uint32_t value : values)
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
  return sha256_hex(bytes);
}

TEST(Labels, EveryFixtureKeepsItsNumbers) {
  int compared = 0, refused = 0;
  for (const json& entry : json::parse(std::ifstream(kFolder + "expected.json"))) {
    const std::string name = entry["file"];
    if (entry.contains("error")) {
      const std::string message = message_of(kFolder + name);
      EXPECT_NE(message.find(entry["error"]), std::string::npos) << name << ": " << message;
      ++refused;
      continue;
    }
    const Labels labels = read_labels(kFolder + name);
    EXPECT_EQ(json({labels.columns, labels.rows}), entry["size"]) << name;
    EXPECT_EQ(digest(labels.values), entry["sha256"]) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 30);
  EXPECT_EQ(refused, 3);
}

TEST(Labels, FortyObjectsOfSixteenBitsAreForty) {
  for (const char* name : {"cells40.png", "cells40.tif"}) {
    const Labels labels = read_labels(kFolder + name);
    const std::set<std::uint32_t> values(labels.values.begin(), labels.values.end());
    EXPECT_EQ(values.size(), 41u) << name;
    EXPECT_EQ(*std::next(values.begin()), 26000u) << name;
    EXPECT_EQ(*values.rbegin(), 26039u) << name;
  }
}

TEST(Labels, LossyColoursAreRefused) {
  EXPECT_NE(message_of(kPictures + "444.jpg").find("a JPEG holds no labels"), std::string::npos);
  EXPECT_NE(message_of(kPictures + "lossy.webp").find("a lossy WebP holds no labels"), std::string::npos);
}

TEST(Labels, OtherFormatsAndTheLimitsOfPictures) {
  const Image image = read_image(kPictures + "lossless.webp");
  const Labels labels = read_labels(kPictures + "lossless.webp");
  ASSERT_EQ(labels.values.size(), static_cast<std::size_t>(image.rows * image.columns));
  for (std::size_t i = 0; i < labels.values.size(); ++i)
    ASSERT_EQ(labels.values[i], static_cast<std::uint32_t>(image.rgb[3 * i] << 16 |
                                                           image.rgb[3 * i + 1] << 8 | image.rgb[3 * i + 2]));
  EXPECT_EQ(read_labels(kPictures + "rgb.ppm").values, labels.values);
  // Clear pixels are background, whatever colour they hide.
  EXPECT_EQ(read_labels(kPictures + "lossless_alpha.webp").values[0], 0u);
  const std::string pgm = std::string("P5 2 1 60000\n\x65\x90\x65\x91", 17);
  EXPECT_EQ(decode_labels({reinterpret_cast<const std::uint8_t*>(pgm.data()), pgm.size()}, "x").values,
            (std::vector<std::uint32_t>{26000, 26001}));
  EXPECT_NE(message_of(kFolder + "uint16.tif", {.max_pixels = 98}).find("limit of 98"), std::string::npos);
  EXPECT_NE(message_of(kFolder + "grey16.png", {.page = 2}).find("only TIFF has pages"), std::string::npos);
  EXPECT_EQ(read_labels(kFolder + "turned.tif").columns, 9);
  EXPECT_EQ(read_labels(kFolder + "turned.tif", {.exif_orientation = false}).columns, 11);
}

}  // namespace labels_test
}  // namespace locant
