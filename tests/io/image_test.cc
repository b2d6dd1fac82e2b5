// Fixtures and expected.json: scripts/goldens/make_image_fixtures.py (Pillow 13.0.0).
#include "io/image.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "core/sha256.h"
#include "io/exif.h"

namespace locant {
namespace image_test {

using nlohmann::json;
using Bytes = std::vector<std::uint8_t>;

const std::string kFolder = LOCANT_TEST_DATA "/images/";

Bytes read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> fixtures() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (has_image_extension(entry.path().string())) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string message_of(const Bytes& bytes, const DecodeOptions& options = {}) {
  try {
    decode_image(bytes, "x.bin", options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Bytes text_bytes(std::string_view text) { return {text.begin(), text.end()}; }

/// A path of this process's own in the temporary folder, removed at the end.
struct TemporaryPath {
  explicit TemporaryPath(const std::string& name)
      : path((std::filesystem::temp_directory_path() / (std::to_string(::getpid()) + name)).string()) {}
  ~TemporaryPath() { std::filesystem::remove_all(path); }
  std::string path;
};

TEST(Image, DecodesEveryFixtureToPillowsBytes) {
  const json expected = json::parse(std::ifstream(kFolder + "expected.json"));
  EXPECT_EQ(expected.size() + 1, fixtures().size());
  for (const json& entry : expected) {
    const std::string path = kFolder + entry["file"].get<std::string>();
    const Image stored = read_image(path, {.exif_orientation = false});
    EXPECT_EQ(json({stored.columns, stored.rows}), entry["size"]) << path;
    EXPECT_EQ(sha256_hex(stored.rgb), entry["stored_sha256"]) << path;
    const Image upright = read_image(path);
    EXPECT_EQ(json({upright.columns, upright.rows}), entry["upright_size"]) << path;
    EXPECT_EQ(sha256_hex(upright.rgb), entry["upright_sha256"]) << path;
  }
}

TEST(Image, RefusesHeadersAboveTheLimitBeforeReadingOn) {
  for (const std::string& name : fixtures()) {
    const std::string message = message_of(read_bytes(kFolder + name), {.max_pixels = 23 * 37 - 1});
    EXPECT_NE(message.find(name == "animated.webp" ? "animated" : "limit of 850"), std::string::npos)
        << message;
    if (name == "animated.webp") continue;
    EXPECT_NO_THROW(read_image(kFolder + name, {.max_pixels = 23 * 37})) << name;
  }
  const Bytes huge = text_bytes("P6 999999999999999999999 99999999999999 255\n");
  EXPECT_NE(message_of(huge).find("x.bin"), std::string::npos);
}

TEST(Image, RefusesHeadersThatTheFileCannotFill) {
  Bytes png = read_bytes(kFolder + "rgb8.png");
  // Width and height 16000 with the right checksum of IHDR.
  const Bytes header = {0, 0, 0x3E, 0x80, 0, 0, 0x3E, 0x80, 8, 2, 0, 0, 0, 0xCE, 0x1C, 0x48, 0x89};
  std::copy(header.begin(), header.end(), png.begin() + 16);
  EXPECT_NE(message_of(png).find("cannot hold 16000 x 16000"), std::string::npos) << message_of(png);
  Bytes jpeg = read_bytes(kFolder + "420.jpg");
  const std::string_view frame("\xFF\xC0", 2);
  const auto at = std::search(jpeg.begin(), jpeg.end(), frame.begin(), frame.end(),
                              [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); });
  std::fill_n(at + 5, 4, 0xF0);
  const std::string message = message_of(jpeg, {.max_pixels = std::int64_t{1} << 40});
  EXPECT_NE(message.find("cannot hold 61680 x 61680"), std::string::npos) << message;
}

TEST(Image, TruncatedFilesAreErrorsThatSayWhy) {
  for (const std::string& name : fixtures()) {
    const Bytes whole = read_bytes(kFolder + name);
    // What a PNG can lack at its end has a test of its own.
    const std::size_t end = name.ends_with(".png") ? whole.size() - 100 : whole.size();
    const std::size_t step = std::max<std::size_t>(1, whole.size() / 1000);
    for (std::size_t length = 0; length < end; length += step) {
      const std::string message =
          message_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
      EXPECT_TRUE(message.starts_with("[image] x.bin: ")) << name << " cut to " << length << ": " << message;
    }
  }
}

/// damaged.json: scripts/goldens/make_damaged_png_fixtures.py.
Bytes damaged(const json& entry) {
  Bytes bytes = read_bytes(kFolder + entry["file"].get<std::string>());
  bytes.resize(entry.value("cut", bytes.size()));
  for (const std::size_t at : entry.value("flip", std::vector<std::size_t>())) bytes[at] ^= 1;
  const std::string more = entry.value("more", "");
  for (std::size_t i = 0; i < more.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(more.substr(i, 2), nullptr, 16)));
  return bytes;
}

TEST(Image, DamagedPngsAreReadWherePillowReadsThem) {
  int read = 0, refused = 0;
  for (const json& entry : json::parse(std::ifstream(kFolder + "damaged.json"))) {
    if (entry.contains("cuts")) continue;
    const Bytes bytes = damaged(entry);
    if (!entry["read"]) {
      EXPECT_NE(message_of(bytes).find("PNG"), std::string::npos) << entry;
      ++refused;
      continue;
    }
    ASSERT_EQ(message_of(bytes), "") << entry;
    const Image image = decode_image(bytes, "x", {.exif_orientation = false});
    EXPECT_EQ(image.rgb,
              read_image(kFolder + entry["file"].get<std::string>(), {.exif_orientation = false}).rgb)
        << entry;
    ++read;
  }
  EXPECT_GT(read, 50);
  EXPECT_GT(refused, 40);
}

TEST(Image, PngsMayLackTheirEndAsPillowHasIt) {
  for (const json& entry : json::parse(std::ifstream(kFolder + "damaged.json"))) {
    if (!entry.contains("cuts")) continue;
    const std::string name = entry["file"];
    const Bytes whole = read_bytes(kFolder + name);
    const Image image = read_image(kFolder + name, {.exif_orientation = false});
    for (std::size_t length = 0; length <= whole.size(); length += length + 100 < whole.size() ? 23 : 1) {
      const bool read = std::any_of(entry["cuts"].begin(), entry["cuts"].end(), [&](const json& range) {
        return length >= range[0].get<std::size_t>() && length <= range[1].get<std::size_t>();
      });
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      ASSERT_EQ(message_of(cut).empty(), read) << name << " cut to " << length << ": " << message_of(cut);
      if (read) {
        EXPECT_EQ(decode_image(cut, "x", {.exif_orientation = false}).rgb, image.rgb) << name;
      }
    }
  }
}

TEST(Image, JpegWithoutItsLastMarkerIsAnError) {
  for (const char* name : {"420.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg"}) {
    Bytes bytes = read_bytes(kFolder + name);
    for (int cut = 0; cut < 3; ++cut) {
      bytes.pop_back();
      EXPECT_NE(message_of(bytes).find("truncated JPEG"), std::string::npos) << name << " less " << cut + 1;
    }
  }
}

TEST(Image, FlippedBytesGiveAPictureOrAnError) {
  Rng rng(11);
  int pictures = 0, errors = 0;
  for (const std::string& name : fixtures()) {
    const Bytes whole = read_bytes(kFolder + name);
    for (int trial = 0; trial < 100; ++trial) {
      Bytes bytes = whole;
      // Half of the trials aim at the headers.
      const std::uint64_t reach = trial % 2 == 0 ? std::min<std::size_t>(64, bytes.size()) : bytes.size();
      for (int flip = 0; flip <= trial % 4; ++flip) {
        bytes[rng.below(reach)] = static_cast<std::uint8_t>(rng.below(256));
      }
      try {
        const Image image = decode_image(bytes, name, {.max_pixels = 1 << 16});
        ASSERT_EQ(image.rgb.size(), static_cast<std::size_t>(3 * image.rows * image.columns));
        ++pictures;
      } catch (const Error&) {
        ++errors;
      }
    }
  }
  EXPECT_GT(pictures, 500);
  EXPECT_GT(errors, 500);
}

TEST(Image, NamesWhatAForeignFileIs) {
  EXPECT_NE(message_of(text_bytes("GIF89a.................")).find("GIF"), std::string::npos);
  EXPECT_NE(message_of(text_bytes("P3 1 1 255 1 2 3")).find("text"), std::string::npos);
  EXPECT_NE(message_of(text_bytes("hello world, no picture")).find("not a picture"), std::string::npos);
  EXPECT_NE(message_of({}).find("empty"), std::string::npos);
  EXPECT_NE(message_of(read_bytes(kFolder + "animated.webp")).find("animated"), std::string::npos);
}

TEST(Image, PpmHeadersAreRead) {
  const Image image = decode_image(text_bytes("P5#c\n#d 9\n 2#\n1\n3\n\1\2"), "x");
  EXPECT_EQ(image.columns, 2);
  EXPECT_EQ(image.rgb, (Bytes{85, 85, 85, 170, 170, 170}));
  // 127.5 goes to the even neighbour; samples above the largest value count as it.
  EXPECT_EQ(decode_image(text_bytes("P5 2 1 2\n\1\7"), "x").rgb, (Bytes{128, 128, 128, 255, 255, 255}));
  for (const char* bad :
       {"P6", "P6\n", "P6 1", "P6 1 1", "P6 1 1 255", "P6 1 1 255\n12", "P6 0 1 255\n123", "P6 1 1 0\n123",
        "P6 1 1 70000\n123456", "P6 -1 1 255\n123", "P6 1 1 255x123", "P6x1 1 255\n123"}) {
    EXPECT_NE(message_of(text_bytes(bad)), "") << bad;
  }
}

TEST(Image, ReadsStandardInput) {
  const int saved = ::dup(STDIN_FILENO);
  for (const char* name : {"rgb8.png", "expected.json"}) {
    ASSERT_NE(std::freopen((kFolder + name).c_str(), "rb", stdin), nullptr);
    if (std::string(name) == "rgb8.png") {
      EXPECT_EQ(read_image("-").rgb, read_image(kFolder + name).rgb);
    } else {
      EXPECT_THROW(read_image("-"), Error);
    }
  }
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
}

TEST(Image, FilesThatCannotBeReadAreErrors) {
  EXPECT_THROW(read_image(kFolder + "missing.png"), Error);
  try {
    read_image(kFolder);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("folder"), std::string::npos) << error.what();
  }
  // Endless, but no picture: given up after the first bytes.
  EXPECT_THROW(read_image("/dev/zero"), Error);
}

TEST(Image, WrittenPngReadsBackAndReplacesAtOnce) {
  const TemporaryPath target("_image_test.png");
  const Image image = read_image(kFolder + "444.jpg");
  write_png(target.path, image);
  const Image again = read_image(target.path);
  EXPECT_EQ(again.rows, image.rows);
  EXPECT_EQ(again.rgb, image.rgb);
  write_png(target.path, {1, 2, {1, 2, 3, 4, 5, 6}});
  EXPECT_EQ(read_image(target.path).rgb, (Bytes{1, 2, 3, 4, 5, 6}));
  EXPECT_THROW(write_png(target.path, {1, 2, {1, 2, 3}}), Error);
  EXPECT_THROW(write_png(target.path, {0, 0, {}}), Error);
  EXPECT_THROW(write_png(target.path + "/no/such/folder.png", image), Error);
  EXPECT_EQ(read_image(target.path).rgb, (Bytes{1, 2, 3, 4, 5, 6}));
}

TEST(Image, ExtensionsOfPictures) {
  for (const char* name : {"a.jpg", "b.JPEG", "/x.y/c.Png", "d.webp", "e.ppm", "f.pgm", "g.tif", "h.TIFF"}) {
    EXPECT_TRUE(has_image_extension(name)) << name;
  }
  for (const char* name : {"a", "jpg", "a.jpg/b", "a.gif", "a.jpg.txt", "a.png~", ""}) {
    EXPECT_FALSE(has_image_extension(name)) << name;
  }
}

TEST(Exif, TurnsAsTheTableOfTagsSays) {
  // a = 0 1 2 / 3 4 5; the results are written out by hand.
  const Image image{2, 3, {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5}};
  const std::vector<std::vector<int>> expected = {{0, 1, 2, 3, 4, 5}, {2, 1, 0, 5, 4, 3}, {5, 4, 3, 2, 1, 0},
                                                  {3, 4, 5, 0, 1, 2}, {0, 3, 1, 4, 2, 5}, {3, 0, 4, 1, 5, 2},
                                                  {5, 2, 4, 1, 3, 0}, {2, 5, 1, 4, 0, 3}};
  for (int tag = 1; tag <= 8; ++tag) {
    const Image turned = apply_orientation(image, tag);
    EXPECT_EQ(turned.rows, tag < 5 ? 2 : 3);
    EXPECT_EQ(turned.columns, tag < 5 ? 3 : 2);
    for (int i = 0; i < 6; ++i) EXPECT_EQ(turned.rgb[3 * i + 1], expected[tag - 1][i]) << tag << " at " << i;
  }
}

TEST(Exif, MalformedBlocksMeanUpright) {
  const Bytes good = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(exif_orientation(good), 6);
  for (std::size_t length = 0; length < 22; ++length) {
    EXPECT_EQ(exif_orientation(std::span(good).first(length)), 1) << length;
  }
  Rng rng(3);
  for (int trial = 0; trial < 2000; ++trial) {
    Bytes bytes = good;
    for (int flip = 0; flip < 3; ++flip)
      bytes[rng.below(bytes.size())] = static_cast<std::uint8_t>(rng.below(256));
    const int orientation = exif_orientation(bytes);
    EXPECT_TRUE(orientation >= 1 && orientation <= 8);
  }
  Bytes far = good;
  std::fill_n(far.begin() + 4, 4, 0xFF);
  EXPECT_EQ(exif_orientation(far), 1);
  Bytes ninth = good;
  ninth[18] = 9;
  EXPECT_EQ(exif_orientation(ninth), 1);
}

}  // namespace image_test
}  // namespace locant
