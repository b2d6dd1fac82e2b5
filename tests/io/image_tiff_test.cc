// Fixtures and expected.json: scripts/goldens/make_tiff_fixtures.py (Pillow 13.0.0, numpy).
#include <gtest/gtest.h>
#include <tiffio.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "core/sha256.h"
#include "io/image.h"
#include "io/tiff_pages.h"

namespace locant {
namespace image_tiff_test {

using nlohmann::json;
using Bytes = std::vector<std::uint8_t>;

const std::string kFolder = LOCANT_TEST_DATA "/tiff/";

Bytes read_bytes(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string message_of(const Bytes& bytes, const DecodeOptions& options = {}) {
  try {
    decode_image(bytes, "x.tif", options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

json expected() { return json::parse(std::ifstream(kFolder + "expected.json")); }

/// The fixtures that are read.
std::vector<std::string> good_files() {
  std::vector<std::string> names;
  for (const json& entry : expected())
    if (!entry.contains("error")) names.push_back(entry["file"]);
  return names;
}

TEST(ImageTiff, DecodesEveryFixtureToPillowsBytes) {
  int compared = 0, stretched = 0;
  for (const json& entry : expected()) {
    if (entry.contains("error")) continue;
    const std::string name = entry["file"];
    const Image stored = read_image(kFolder + name, {.exif_orientation = false});
    EXPECT_EQ(json({stored.columns, stored.rows}), entry["size"]) << name;
    EXPECT_EQ(sha256_hex(stored.rgb), entry["stored_sha256"]) << name;
    const Image upright = read_image(kFolder + name);
    EXPECT_EQ(json({upright.columns, upright.rows}), entry["upright_size"]) << name;
    EXPECT_EQ(sha256_hex(upright.rgb), entry["upright_sha256"]) << name;
    ++compared;
    if (!entry.contains("range")) continue;
    EXPECT_EQ(sha256_hex(read_image(kFolder + name, {.depth16 = Depth16::range}).rgb), entry["range"])
        << name;
    EXPECT_EQ(sha256_hex(read_image(kFolder + name, {.depth16 = Depth16::percentile}).rgb),
              entry["percentile"])
        << name;
    ++stretched;
  }
  EXPECT_EQ(compared, 55);
  EXPECT_EQ(stretched, 5);
}

TEST(ImageTiff, SaysWhatItCannotRead) {
  int refused = 0;
  for (const json& entry : expected()) {
    if (!entry.contains("error")) continue;
    const std::string message = message_of(read_bytes(entry["file"]));
    EXPECT_NE(message.find("[image] x.tif: "), std::string::npos) << message;
    EXPECT_NE(message.find(entry["error"]), std::string::npos) << entry["file"] << ": " << message;
    ++refused;
  }
  EXPECT_EQ(refused, 11);
}

TEST(ImageTiff, ReadsThePageThatIsAskedFor) {
  std::vector<std::string> notes;
  DecodeOptions options;
  options.note = [&](const std::string& text) { notes.push_back(text); };
  for (int page = 1; page <= 3; ++page) {
    options.page = page;
    const Image image = decode_image(read_bytes("pages.tif"), "x.tif", options);
    EXPECT_EQ(image.rows, page + 1);
    EXPECT_EQ(image.rgb[0], 50 * (page - 1) + 40);
  }
  EXPECT_EQ(notes, (std::vector<std::string>{"x.tif: page 1 of 3 is read", "x.tif: page 2 of 3 is read",
                                             "x.tif: page 3 of 3 is read"}));
  for (const std::int64_t page : {0, 4, 1 << 20}) {
    options.page = page;
    EXPECT_NE(message_of(read_bytes("pages.tif"), options).find("was asked for; there are 3"),
              std::string::npos);
  }
  EXPECT_NE(message_of(read_bytes("rgb8.tif"), {.page = 2}).find("there is 1"), std::string::npos);
  std::ifstream png(LOCANT_TEST_DATA "/images/rgb8.png", std::ios::binary);
  const Bytes other{std::istreambuf_iterator<char>(png), std::istreambuf_iterator<char>()};
  EXPECT_NE(message_of(other, {.page = 2}).find("only TIFF has pages"), std::string::npos);
}

TEST(ImageTiff, AChainOfPagesThatLoopsEnds) {
  const Bytes whole = read_bytes("pages.tif");
  const std::vector<std::uint64_t> pages = image_io::tiff_page_offsets(whole);
  ASSERT_EQ(pages.size(), 3u);
  for (const std::uint64_t back : pages) {
    Bytes looped = whole;
    const std::size_t link = pages[2] + 2 + 12 * whole[pages[2]];
    for (int i = 0; i < 4; ++i) looped[link + i] = static_cast<std::uint8_t>(back >> (8 * i));
    EXPECT_EQ(image_io::tiff_page_offsets(looped), pages);
    EXPECT_EQ(decode_image(looped, "x", {.page = 3}).rows, 4);
  }
}

TEST(ImageTiff, RefusesHeadersAboveTheLimit) {
  for (const char* name :
       {"grey8.tif", "rgb8_tiled_lzw.tif", "rgb16.tif", "bilevel_group4.tif", "bigtiff.tif"}) {
    EXPECT_NE(message_of(read_bytes(name), {.max_pixels = 23 * 37 - 1}).find("limit of 850"),
              std::string::npos);
    EXPECT_EQ(message_of(read_bytes(name), {.max_pixels = 23 * 37}), "");
  }
}

TEST(ImageTiff, TruncatedFilesAreErrorsThatSayWhy) {
  for (const std::string& name : good_files()) {
    if (name == "pages.tif") continue;  // whole pages in front stay pages
    const Bytes whole = read_bytes(name);
    // By a quarter and more: the last bytes can be padding, or what a decoder need not see.
    const std::size_t step = std::max<std::size_t>(1, whole.size() / 100);
    for (std::size_t length = 0; length <= whole.size() * 3 / 4; length += step) {
      const std::string message =
          message_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
      EXPECT_TRUE(message.starts_with("[image] x.tif: ")) << name << " cut to " << length << ": " << message;
    }
  }
}

int told = 0;
void tell(const char*, const char*, va_list) { ++told; }

TEST(ImageTiff, FlippedBytesGiveAPictureOrAnErrorAndNothingIsPrinted) {
  const TIFFErrorHandler errors_before = TIFFSetErrorHandler(tell),
                         warnings_before = TIFFSetWarningHandler(tell);
  ::testing::internal::CaptureStderr();
  Rng rng(13);
  int pictures = 0, errors = 0;
  for (const std::string& name : good_files()) {
    const Bytes whole = read_bytes(name);
    for (int trial = 0; trial < 50; ++trial) {
      Bytes bytes = whole;
      for (int flip = 0; flip <= trial % 4; ++flip)
        bytes[rng.below(bytes.size())] = static_cast<std::uint8_t>(rng.below(256));
      try {
        const Image image = decode_image(bytes, name, {.max_pixels = 1 << 16});
        ASSERT_EQ(image.rgb.size(), static_cast<std::size_t>(3 * image.rows * image.columns));
        ++pictures;
      } catch (const Error&) {
        ++errors;
      }
    }
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(told, 0);
  EXPECT_EQ(TIFFSetErrorHandler(errors_before), tell);
  EXPECT_EQ(TIFFSetWarningHandler(warnings_before), tell);
  EXPECT_GT(pictures, 300);
  EXPECT_GT(errors, 300);
}

TEST(ImageTiff, DarkSixteenBitsAreSaid) {
  std::vector<std::string> notes;
  DecodeOptions options;
  options.note = [&](const std::string& text) { notes.push_back(text); };
  // Fifteen of 255 is all that twelve bits reach.
  const Bytes dark = {'P', '5', ' ', '2', ' ', '1', ' ', '6', '5', '5', '3', '5', '\n', 0x0F, 0xFF, 0, 7};
  EXPECT_EQ(decode_image(dark, "x.pgm", options).rgb[0], 16);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("x.pgm: 16-bit samples by their high bytes: the brightest is 16 of 255"),
            std::string::npos)
      << notes[0];
  options.depth16 = Depth16::range;
  EXPECT_EQ(decode_image(dark, "x.pgm", options).rgb, (Bytes{255, 255, 255, 0, 0, 0}));
  options.depth16 = Depth16::high;
  decode_image(read_bytes("grey16_camera.tif"), "x", options);  // a hot pixel is bright
  EXPECT_EQ(notes.size(), 1u);
}

TEST(ImageTiff, SixteenBitPngsStretchAsTiffsDo) {
  for (const auto& [png, tiff] :
       {std::pair{"grey16.png", "grey16_big_endian.tif"}, {"rgb16.png", "rgb16.tif"}})
    for (const Depth16 how : {Depth16::high, Depth16::range, Depth16::percentile})
      EXPECT_EQ(read_image(std::string(LOCANT_TEST_DATA "/images/") + png, {.depth16 = how}).rgb,
                read_image(kFolder + tiff, {.depth16 = how}).rgb)
          << png;
}

}  // namespace image_tiff_test
}  // namespace locant
