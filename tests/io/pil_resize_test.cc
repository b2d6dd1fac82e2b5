// Goldens: tests/data/oracle/real/pil_resize.json (its README says how it was made) and small rows that
// Pillow gives.
#include "io/pil_resize.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "core/sha256.h"

namespace locant {
namespace pil_resize_test {

using nlohmann::json;
using Bytes = std::vector<std::uint8_t>;

TEST(PilResize, PhotographsAreEqualBitForBit) {
  EXPECT_EQ(sha256_hex(Bytes{'a', 'b', 'c'}),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const json oracle = json::parse(std::ifstream(LOCANT_TEST_DATA "/oracle/real/pil_resize.json"));
  ASSERT_EQ(oracle.size(), 3u);
  for (const json& photo : oracle) {
    const Image image = read_image(LOCANT_TEST_DATA "/" + photo["photo"].get<std::string>());
    EXPECT_EQ(json({image.columns, image.rows}), photo["size"]);
    EXPECT_EQ(sha256_hex(image.rgb), photo["decoded_sha256"]);
    ASSERT_EQ(photo["resized"].size(), 21u);
    for (const json& entry : photo["resized"]) {
      const ResizeFilter filter = parse_resize_filter(entry["filter"].get<std::string>());
      for (const ResizeOrder order : {ResizeOrder::horizontal_first, ResizeOrder::pillow13}) {
        const Image resized = pil_resize(image, entry["to"][0], entry["to"][1], filter, order);
        EXPECT_EQ(sha256_hex(resized.rgb), entry["sha256"]) << photo["photo"] << entry;
      }
    }
  }
}

TEST(PilResize, RowsOfEveryFilter) {
  const Bytes row = {0, 255, 0, 255, 128};
  struct Golden {
    ResizeFilter filter;
    Bytes three, eight;
  };
  const std::vector<Golden> goldens = {
      {ResizeFilter::box, {128, 0, 192}, {0, 0, 255, 0, 0, 255, 128, 128}},
      {ResizeFilter::bilinear, {109, 113, 182}, {0, 112, 239, 80, 80, 239, 184, 128}},
      {ResizeFilter::hamming, {96, 73, 176}, {0, 91, 253, 36, 36, 253, 173, 128}},
      {ResizeFilter::bicubic, {106, 121, 181}, {0, 114, 252, 59, 55, 249, 191, 119}},
      {ResizeFilter::lanczos, {103, 132, 176}, {0, 125, 253, 58, 43, 246, 204, 107}}};
  for (const Golden& golden : goldens) {
    const std::string_view name = resize_filter_name(golden.filter);
    EXPECT_EQ(pil_resize_grey(row, 5, 1, 3, 1, golden.filter), golden.three) << name;
    EXPECT_EQ(pil_resize_grey(row, 5, 1, 8, 1, golden.filter), golden.eight) << name;
    EXPECT_EQ(pil_resize_grey(row, 1, 5, 1, 3, golden.filter), golden.three) << name;
    EXPECT_EQ(pil_resize_grey(row, 1, 5, 1, 8, golden.filter), golden.eight) << name;
  }
}

TEST(PilResize, FixedPointWeights) {
  using Row = std::vector<std::int32_t>;
  const auto row = [](const ResizeWeights& axis, std::size_t i) {
    const auto begin = axis.weights.begin() + static_cast<std::ptrdiff_t>(i) * axis.stride;
    return Row(begin, begin + axis.count[i]);
  };
  const ResizeWeights down = resize_weights(5, 3, ResizeFilter::bicubic);
  EXPECT_EQ(down.first, (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(row(down, 0), (Row{2452055, 1871305, 0, -129056}));
  EXPECT_EQ(row(down, 1), (Row{-156067, 1033945, 2438549, 1033945, -156067}));
  EXPECT_EQ(row(down, 2), (Row{-129056, 0, 1871305, 2452055}));
  const ResizeWeights up = resize_weights(3, 4, ResizeFilter::bicubic);
  EXPECT_EQ(up.first, (std::vector<std::int64_t>{0, 0, 0, 1}));
  EXPECT_EQ(row(up, 0), (Row{4413409, -219105}));
  EXPECT_EQ(row(up, 1), (Row{1565507, 2923065, -294268}));
  EXPECT_EQ(row(up, 2), (Row{-294268, 2923065, 1565507}));
  EXPECT_EQ(row(up, 3), (Row{-219105, 4413409}));
}

TEST(PilResize, OrderOfPasses) {
  Bytes grey;
  for (int r = 0; r < 12; ++r) {
    for (int c = 0; c < 3; ++c) grey.push_back(static_cast<std::uint8_t>(37 * r + 101 * c));
  }
  const ResizeFilter filter = ResizeFilter::bicubic;
  EXPECT_EQ(pil_resize_grey(grey, 3, 12, 4, 3, filter),
            (Bytes{64, 132, 156, 120, 137, 122, 125, 145, 82, 153, 163, 106}));
  EXPECT_EQ(pil_resize_grey(grey, 3, 12, 4, 3, filter, ResizeOrder::pillow13),
            (Bytes{62, 131, 156, 121, 137, 122, 125, 145, 82, 154, 164, 106}));
}

/// 300 x 600 loses 88 rows, twice the columns it loses: horizontal first under both rules. One row more turns
/// it.
TEST(PilResize, VerticalFirstOnlyBeyondTwiceTheColumns) {
  Rng rng(4);
  for (const std::int64_t rows : {600, 601}) {
    Bytes grey(static_cast<std::size_t>(300 * rows));
    for (std::uint8_t& byte : grey) byte = static_cast<std::uint8_t>(rng.below(256));
    const Bytes old = pil_resize_grey(grey, 300, rows, 256, 512, ResizeFilter::bicubic);
    const Bytes now =
        pil_resize_grey(grey, 300, rows, 256, 512, ResizeFilter::bicubic, ResizeOrder::pillow13);
    EXPECT_EQ(old == now, rows == 600);
  }
}

TEST(PilResize, ColourEqualsItsChannelsAndAxisOfEqualLengthIsUntouched) {
  Rng rng(9);
  Image image{19, 31, Bytes(19 * 31 * 3)};
  for (std::uint8_t& byte : image.rgb) byte = static_cast<std::uint8_t>(rng.below(256));
  for (const auto& [columns, rows] : {std::pair{31, 19}, {31, 7}, {12, 19}, {60, 5}, {1, 1}, {100, 90}}) {
    const Image resized = pil_resize(image, columns, rows, ResizeFilter::lanczos);
    for (std::size_t c = 0; c < 3; ++c) {
      Bytes channel, part;
      for (std::size_t i = c; i < image.rgb.size(); i += 3) channel.push_back(image.rgb[i]);
      for (std::size_t i = c; i < resized.rgb.size(); i += 3) part.push_back(resized.rgb[i]);
      EXPECT_EQ(pil_resize_grey(channel, 31, 19, columns, rows, ResizeFilter::lanczos), part);
    }
  }
  EXPECT_EQ(pil_resize(image, 31, 19, ResizeFilter::bicubic).rgb, image.rgb);
}

TEST(PilResize, SameBitsForAnyNumberOfThreads) {
  const Image image = read_image(LOCANT_TEST_DATA "/photos/coffee.png");
  const int before = num_threads();
  set_num_threads(1);
  const Image one = pil_resize(image, 333, 257, ResizeFilter::bicubic);
  set_num_threads(5);
  EXPECT_EQ(pil_resize(image, 333, 257, ResizeFilter::bicubic).rgb, one.rgb);
  set_num_threads(before);
}

/// Cut out of the whole, for either order of the passes, growing, shrinking and keeping either axis.
TEST(PilResize, AWindowIsAPartOfTheWhole) {
  Rng rng(11);
  Image image{23, 37, Bytes(23 * 37 * 3)};
  Bytes grey(23 * 37);
  for (std::uint8_t& byte : image.rgb) byte = static_cast<std::uint8_t>(rng.below(256));
  for (std::uint8_t& byte : grey) byte = static_cast<std::uint8_t>(rng.below(256));
  const auto cut = [](const Bytes& whole, std::int64_t columns, std::int64_t channels, ResizeWindow w) {
    Bytes part;
    for (std::int64_t r = w.top; r < w.top + w.rows; ++r) {
      const auto row = whole.begin() + (r * columns + w.left) * channels;
      part.insert(part.end(), row, row + w.columns * channels);
    }
    return part;
  };
  for (const auto& [columns, rows] :
       {std::pair{37, 23}, {37, 9}, {11, 23}, {90, 9}, {11, 70}, {80, 60}, {5, 4}, {1, 1}, {37, 60}}) {
    std::vector<ResizeWindow> windows = {{0, 0, rows, columns}, {rows - 1, columns - 1, 1, 1}};
    for (int n = 0; n < 6; ++n) {
      const auto top = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows)));
      const auto left = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(columns)));
      windows.push_back(
          {top, left, 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows - top))),
           1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(columns - left)))});
    }
    for (const ResizeOrder order : {ResizeOrder::horizontal_first, ResizeOrder::pillow13}) {
      for (const ResizeFilter filter : {ResizeFilter::box, ResizeFilter::bicubic, ResizeFilter::lanczos}) {
        const Bytes whole = pil_resize(image, columns, rows, filter, order).rgb;
        const Bytes whole_grey = pil_resize_grey(grey, 37, 23, columns, rows, filter, order);
        for (const ResizeWindow& w : windows) {
          EXPECT_EQ(pil_resize_window(image, columns, rows, filter, w, order).rgb, cut(whole, columns, 3, w));
          EXPECT_EQ(pil_resize_grey_window(grey, 37, 23, columns, rows, filter, w, order),
                    cut(whole_grey, columns, 1, w));
        }
      }
    }
  }
}

TEST(PilResize, RefusesNonsense) {
  const Image image{2, 2, Bytes(12)};
  for (const ResizeWindow& window :
       {ResizeWindow{0, 0, 3, 1}, ResizeWindow{-1, 0, 1, 1}, ResizeWindow{0, 2, 1, 1},
        ResizeWindow{0, 0, 0, 1}, ResizeWindow{1, 1, 2, 1}})
    EXPECT_THROW(pil_resize_window(image, 2, 2, ResizeFilter::bicubic, window), Error);
  EXPECT_THROW(pil_resize(image, 0, 3, ResizeFilter::box), Error);
  EXPECT_THROW(pil_resize(image, 3, -1, ResizeFilter::box), Error);
  EXPECT_THROW(pil_resize(image, std::int64_t{1} << 40, std::int64_t{1} << 40, ResizeFilter::box), Error);
  EXPECT_THROW(pil_resize({2, 2, Bytes(11)}, 1, 1, ResizeFilter::box), Error);
  EXPECT_THROW(pil_resize({}, 1, 1, ResizeFilter::box), Error);
  EXPECT_THROW(parse_resize_filter("nearest"), Error);
  for (const char* name : {"box", "bilinear", "hamming", "bicubic", "lanczos"}) {
    EXPECT_EQ(resize_filter_name(parse_resize_filter(name)), name);
  }
}

}  // namespace pil_resize_test
}  // namespace locant
