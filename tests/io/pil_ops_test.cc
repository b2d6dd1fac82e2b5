// Goldens: tests/data/augment/pil_ops.json, by scripts/goldens/make_augment_fixtures.py.
#include "io/pil_ops.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/sha256.h"

namespace locant {
namespace pil_ops_test {

using nlohmann::json;

/// The script's formula, or a file.
Image picture(const json& spec) {
  if (spec.contains("file")) return read_image(LOCANT_TEST_DATA "/" + spec["file"].get<std::string>());
  Image image{spec["rows"], spec["columns"], {}};
  const std::int64_t low = spec["low"], span = spec["span"];
  for (std::int64_t y = 0; y < image.rows; ++y)
    for (std::int64_t x = 0; x < image.columns; ++x)
      for (std::int64_t c = 0; c < 3; ++c)
        image.rgb.push_back(
            static_cast<std::uint8_t>(low + (x * x * (c + 3) + 7 * y * (c + 1) + 5 * x * y + 11 * c) % span));
  return image;
}

Image operation(const std::string& op, const Image& image, double a, ResizeFilter filter,
                const Colour& fill) {
  const std::map<std::string, std::function<Image()>> all = {
      {"picture", [&] { return image; }},
      {"grey", [&] { return pil_grey(image); }},
      {"autocontrast", [&] { return pil_autocontrast(image); }},
      {"equalize", [&] { return pil_equalize(image); }},
      {"invert", [&] { return pil_invert(image); }},
      {"mirror", [&] { return pil_mirror(image); }},
      {"flip", [&] { return pil_flip(image); }},
      {"posterize", [&] { return pil_posterize(image, static_cast<int>(a)); }},
      {"solarize", [&] { return pil_solarize(image, static_cast<int>(a)); }},
      {"solarize_add", [&] { return pil_solarize_add(image, static_cast<int>(a)); }},
      {"color", [&] { return pil_color(image, a); }},
      {"contrast", [&] { return pil_contrast(image, a); }},
      {"brightness", [&] { return pil_brightness(image, a); }},
      {"sharpness", [&] { return pil_sharpness(image, a); }},
      {"shear_x",
       [&] {
         return pil_affine(image, {1, a, 0, 0, 1, 0}, filter, fill);
       }},
      {"shear_y",
       [&] {
         return pil_affine(image, {1, 0, 0, a, 1, 0}, filter, fill);
       }},
      {"translate_x",
       [&] {
         return pil_affine(image, {1, 0, a * static_cast<double>(image.columns), 0, 1, 0}, filter, fill);
       }},
      {"translate_y",
       [&] {
         return pil_affine(image, {1, 0, 0, 0, 1, a * static_cast<double>(image.rows)}, filter, fill);
       }},
      {"rotate", [&] { return pil_rotate(image, a, filter, fill); }},
  };
  return all.at(op)();
}

TEST(PilOps, EveryOperationIsPillowsToTheByte) {
  const json oracle = json::parse(std::ifstream(LOCANT_TEST_DATA "/augment/pil_ops.json"));
  const auto fill = oracle["fill"].get<Colour>();
  ASSERT_EQ(oracle["cases"].size(), 240u);
  for (const json& entry : oracle["cases"]) {
    const Image image = picture(oracle["pictures"][entry["picture"].get<std::string>()]);
    const std::string op = entry["op"];
    const ResizeFilter filter = entry.contains("filter")
                                    ? parse_resize_filter(entry["filter"].get<std::string>())
                                    : ResizeFilter::box;
    std::vector<std::uint8_t> bytes;
    for (const json& argument : oracle["arguments"][op]) {
      const Image made = operation(op, image, argument, filter, fill);
      EXPECT_EQ(made.rows, image.rows);
      EXPECT_EQ(made.columns, image.columns);
      bytes.insert(bytes.end(), made.rgb.begin(), made.rgb.end());
    }
    EXPECT_EQ(sha256_hex(bytes), entry["sha256"]) << entry;
  }
}

TEST(PilOps, CutsABox) {
  Image image{3, 4, {}};
  for (int i = 0; i < 36; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i));
  const Image box = pil_crop(image, {1, 2, 2, 1});
  EXPECT_EQ(box.rows, 2);
  EXPECT_EQ(box.columns, 1);
  EXPECT_EQ(box.rgb, (std::vector<std::uint8_t>{18, 19, 20, 30, 31, 32}));
  for (const ResizeWindow& bad :
       {ResizeWindow{0, 0, 4, 1}, {0, 4, 1, 1}, {-1, 0, 1, 1}, {0, 0, 0, 1}, {2, 3, 1, 2}})
    EXPECT_THROW(pil_crop(image, bad), Error);
}

TEST(PilOps, RefusesWhatIsNoPicture) {
  const Image empty, torn{2, 2, {1, 2, 3}};
  for (const Image& image : {empty, torn}) {
    EXPECT_THROW(pil_luma(image), Error);
    EXPECT_THROW(pil_autocontrast(image), Error);
    EXPECT_THROW(pil_equalize(image), Error);
    EXPECT_THROW(pil_invert(image), Error);
    EXPECT_THROW(pil_color(image, 1.5), Error);
    EXPECT_THROW(pil_contrast(image, 1.5), Error);
    EXPECT_THROW(pil_brightness(image, 1.5), Error);
    EXPECT_THROW(pil_sharpness(image, 1.5), Error);
    EXPECT_THROW(pil_rotate(image, 5, ResizeFilter::bilinear, {}), Error);
    EXPECT_THROW(pil_mirror(image), Error);
    EXPECT_THROW(pil_flip(image), Error);
    EXPECT_THROW(pil_crop(image, {0, 0, 1, 1}), Error);
  }
  const Image dot{1, 1, {1, 2, 3}};
  EXPECT_EQ(pil_posterize(dot, 0).rgb, (std::vector<std::uint8_t>{0, 0, 0}));  // Pillow's until 12
  EXPECT_THROW(pil_posterize(dot, 9), Error);
  EXPECT_THROW(pil_posterize(dot, -1), Error);
  EXPECT_THROW(pil_rotate(dot, 5, ResizeFilter::lanczos, {}), Error);
  // Nowhere in the picture, nor any number.
  const Image filled = pil_affine(dot, {1, 0, std::numeric_limits<double>::quiet_NaN(), 0, 1, 0},
                                  ResizeFilter::bicubic, {7, 8, 9});
  EXPECT_EQ(filled.rgb, (std::vector<std::uint8_t>{7, 8, 9}));
}

}  // namespace pil_ops_test
}  // namespace locant
