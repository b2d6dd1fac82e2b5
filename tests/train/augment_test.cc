// What training sees of pictures: crops, flips, colours, erasing, and all of it together. Goldens:
// tests/data/augment/timm.json, by scripts/goldens/make_augment_fixtures.py.
#include "train/augment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "io/pil_ops.h"
#include "train/batch.h"
#include "train/color_jitter.h"
#include "train/dataset.h"
#include "train/idx.h"
#include "train/rand_augment.h"
#include "train/random_crop.h"
#include "train/random_erasing.h"
#include "train/random_streams.h"

namespace locant {
namespace augment_test {

namespace fs = std::filesystem;
using nlohmann::json;
const std::string kDigits = LOCANT_TEST_DATA "/digits500";

json timm() { return json::parse(std::ifstream(LOCANT_TEST_DATA "/augment/timm.json")); }

/// As in the script that made the goldens.
Image busy(std::int64_t rows, std::int64_t columns, std::int64_t low, std::int64_t span) {
  Image image{rows, columns, {}};
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x)
      for (std::int64_t c = 0; c < 3; ++c)
        image.rgb.push_back(
            static_cast<std::uint8_t>(low + (x * x * (c + 3) + 7 * y * (c + 1) + 5 * x * y + 11 * c) % span));
  return image;
}

// ---- crops

TEST(RandomCrop, SizesAndFallbackAreTimms) {
  const json crops = timm()["crops"];
  ASSERT_GT(crops.size(), 60u);
  Rng rng(3);
  for (const json& entry : crops) {
    const std::int64_t rows = entry["picture"][0], columns = entry["picture"][1];
    const double scale = entry["scale"];
    const auto ratio = entry["ratio"].get<std::vector<double>>();
    const ResizeWindow box = draw_crop(rows, columns, {scale, scale}, ratio, rng);
    EXPECT_EQ(json({box.rows, box.columns}), entry["size"]) << entry;
    if (ratio[0] != ratio[1]) {  // only where nothing fits
      EXPECT_EQ(json({box.top, box.left}), entry["central"]) << entry;
    }
  }
}

TEST(RandomCrop, ResizedCropsAreTimmsToTheByte) {
  const Image image = busy(150, 201, 3, 250);
  const json resized_crops = timm()["resized_crops"];
  ASSERT_FALSE(resized_crops.empty());
  for (const json& entry : resized_crops) {
    const auto box = entry["box"].get<std::vector<std::int64_t>>();
    // The goldens are Pillow 13's, whose passes are in another order for one of the boxes.
    const Image made =
        pil_resize(pil_crop(image, {box[0], box[1], box[2], box[3]}), entry["to"][1], entry["to"][0],
                   parse_resize_filter(entry["filter"].get<std::string>()), ResizeOrder::pillow13);
    EXPECT_EQ(sha256_hex(made.rgb), entry["sha256"]) << entry;
  }
}

TEST(RandomCrop, AreasAspectsAndPlacesSpreadAsAskedFor) {
  constexpr int kDraws = 20000;
  constexpr double kSide = 4000.0;
  const std::vector<double> scale{0.1, 0.4}, ratio{0.6, 1.8};
  double area = 0.0, log_aspect = 0.0, above = 0.0, left = 0.0;
  double least_area = 1.0, most_area = 0.0, least_aspect = 9.0, most_aspect = 0.0;
  Rng rng(11);
  for (int i = 0; i < kDraws; ++i) {
    const ResizeWindow box = draw_crop(4000, 4000, scale, ratio, rng);
    ASSERT_TRUE(box.top >= 0 && box.left >= 0 && box.top + box.rows <= 4000 &&
                box.left + box.columns <= 4000);
    const auto rows = static_cast<double>(box.rows), columns = static_cast<double>(box.columns);
    area += rows * columns / (kSide * kSide) / kDraws;
    log_aspect += std::log(columns / rows) / kDraws;
    above += static_cast<double>(box.top) / (kSide - rows) / kDraws;
    left += static_cast<double>(box.left) / (kSide - columns) / kDraws;
    least_area = std::min(least_area, rows * columns / (kSide * kSide));
    most_area = std::max(most_area, rows * columns / (kSide * kSide));
    least_aspect = std::min(least_aspect, columns / rows);
    most_aspect = std::max(most_aspect, columns / rows);
  }
  EXPECT_NEAR(area, 0.25, 0.003);
  EXPECT_NEAR(log_aspect, 0.5 * (std::log(0.6) + std::log(1.8)), 0.01);
  EXPECT_NEAR(above, 0.5, 0.01);
  EXPECT_NEAR(left, 0.5, 0.01);
  EXPECT_NEAR(least_area, 0.1, 0.001);
  EXPECT_NEAR(most_area, 0.4, 0.001);
  EXPECT_NEAR(least_aspect, 0.6, 0.002);
  EXPECT_NEAR(most_aspect, 1.8, 0.004);
}

// ---- erasing and colours

TEST(RandomErasing, BoxesSpreadAsAskedFor) {
  constexpr std::int64_t kRows = 90, kColumns = 110, kPlane = kRows * kColumns;
  constexpr int kDraws = 3000;
  int erased = 0;
  double area = 0.0, least = 1.0, most = 0.0;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    std::vector<float> picture(2 * kPlane, 5.0f);
    Rng rng(splitmix64(i));
    random_erasing(picture.data(), 2, kRows, kColumns, 0.4, EraseMode::constant, 1, rng);
    EXPECT_TRUE(std::equal(picture.begin(), picture.begin() + kPlane, picture.begin() + kPlane));
    std::int64_t count = 0, first_row = kRows, last_row = -1, first_column = kColumns, last_column = -1;
    for (std::int64_t p = 0; p < kPlane; ++p) {
      if (picture[static_cast<std::size_t>(p)] != 0.0f) continue;
      ++count;
      first_row = std::min(first_row, p / kColumns);
      last_row = std::max(last_row, p / kColumns);
      first_column = std::min(first_column, p % kColumns);
      last_column = std::max(last_column, p % kColumns);
    }
    if (count == 0) continue;
    ++erased;
    const std::int64_t rows = last_row - first_row + 1, columns = last_column - first_column + 1;
    EXPECT_EQ(rows * columns, count);  // a whole rectangle
    const double part = static_cast<double>(count) / kPlane;
    const double aspect = static_cast<double>(rows) / static_cast<double>(columns);
    EXPECT_TRUE(aspect > 0.27 && aspect < 1 / 0.27) << aspect;
    area += part;
    least = std::min(least, part);
    most = std::max(most, part);
  }
  EXPECT_NEAR(erased, 0.4 * kDraws, 110);
  EXPECT_NEAR(least, 0.02, 0.002);
  EXPECT_NEAR(most, 1.0 / 3.0, 0.01);
  EXPECT_NEAR(area / erased, 0.5 * (0.02 + 1.0 / 3.0), 0.01);
}

TEST(RandomErasing, ModesAndCounts) {
  constexpr std::int64_t kSide = 60, kPlane = kSide * kSide;
  const auto erased = [&](EraseMode mode, std::int64_t count, std::uint64_t seed) {
    std::vector<float> picture(3 * kPlane, 100.0f);
    Rng rng(splitmix64(seed));
    random_erasing(picture.data(), 3, kSide, kSide, 1.0, mode, count, rng);
    return picture;
  };
  double sum = 0.0, squares = 0.0;
  int numbers = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    for (const auto& [mode, colours] : {std::pair{EraseMode::constant, 1}, {EraseMode::rand, 3}}) {
      std::vector<float> seen;
      for (const float x : erased(mode, 1, seed))
        if (x != 100.0f && (seen.empty() || seen.back() != x)) seen.push_back(x);
      std::sort(seen.begin(), seen.end());
      EXPECT_EQ(std::unique(seen.begin(), seen.end()) - seen.begin(), colours);
    }
    for (const float x : erased(EraseMode::pixel, 1, seed)) {
      if (x == 100.0f) continue;
      sum += static_cast<double>(x);
      squares += static_cast<double>(x) * static_cast<double>(x);
      ++numbers;
    }
  }
  EXPECT_NEAR(sum / numbers, 0.0, 0.02);
  EXPECT_NEAR(squares / numbers, 1.0, 0.02);
  // Several boxes share the area of one, so that they leave more of the picture on average.
  double one = 0.0, up_to_four = 0.0;
  int colours = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const auto part = [&](std::int64_t count) {
      const auto picture = erased(EraseMode::constant, count, seed);
      return static_cast<double>(std::count(picture.begin(), picture.end(), 0.0f)) / (3 * kPlane * 400);
    };
    one += part(1);
    up_to_four += part(4);
    std::vector<float> seen;
    for (const float x : erased(EraseMode::rand, 4, seed))
      if (x != 100.0f) seen.push_back(x);
    std::sort(seen.begin(), seen.end());
    colours = std::max(colours, static_cast<int>(std::unique(seen.begin(), seen.end()) - seen.begin()));
  }
  EXPECT_NEAR(one, 0.5 * (0.02 + 1.0 / 3.0), 0.015);
  EXPECT_LT(up_to_four, one);
  EXPECT_GT(up_to_four, 0.8 * one);
  EXPECT_EQ(colours, 12);
  EXPECT_THROW(parse_erase_mode("Pixel"), Error);
}

TEST(ColorJitter, FactorsWithinBoundsInEveryOrder) {
  const Image image = busy(12, 14, 0, 256);
  Rng none(1);
  EXPECT_EQ(color_jitter(image, 0.0, none).rgb, image.rgb);
  int changed = 0;
  double brightest = 0.0, darkest = 255.0;
  const auto mean = [](const Image& of) {
    double sum = 0.0;
    for (const std::uint8_t v : of.rgb) sum += v;
    return sum / static_cast<double>(of.rgb.size());
  };
  Image flat{4, 4, std::vector<std::uint8_t>(48, 100)};  // contrast and colour leave it
  double average = 0.0;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    Rng rng(splitmix64(i));
    const double got = mean(color_jitter(flat, 0.4, rng));
    brightest = std::max(brightest, got);
    darkest = std::min(darkest, got);
    average += got / 2000;
    Rng again(splitmix64(i));
    changed += color_jitter(image, 0.4, again).rgb != image.rgb;
  }
  EXPECT_EQ(changed, 2000);
  EXPECT_NEAR(darkest, 60.0, 1.0);
  EXPECT_NEAR(brightest, 139.0, 1.0);
  EXPECT_NEAR(average, 99.5, 1.5);
}

// ---- batches

class Augmented : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("locant_augment_{}_{}", ::getpid(),
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const Image& image) {
    fs::create_directories((folder_ / name).parent_path());
    write_png((folder_ / name).string(), image);
  }
  Datasets open(const Preprocess& form, std::int64_t cache = std::int64_t{1} << 30) {
    return open_datasets({.path = folder_.string(), .cache_bytes = cache}, form, {});
  }

  fs::path folder_;
};

std::vector<float> bits(const Tensor& t) { return {t.values().begin(), t.values().end()}; }

Preprocess grey_form() {
  return {.rows = 28, .columns = 28, .channels = 1, .mean = {0.1307f}, .std = {0.3081f}};
}

/// Everything at once.
AugmentOptions everything() {
  return {.shift = 2.0,
          .rotate = 10.0,
          .zoom = 0.1,
          .scale = {0.3, 1.0},
          .train_interpolation = "random",
          .hflip = 0.5,
          .vflip = 0.5,
          .aa = "rand-m9-n3-mstd0.5-inc1",
          .reprob = 0.5,
          .recount = 3};
}

TEST_F(Augmented, NothingAskedForIsTheBatchAsItWas) {
  const Datasets data = open_datasets({.path = kDigits}, grey_form(), {});
  const std::vector<std::int64_t> rows{3, 1, 4, 159, 26};
  EXPECT_EQ(bits(load_training_batch(*data.train, rows, grey_form(), {}, 7, 2)),
            bits(load_batch(*data.train, rows, grey_form())));
  // Shift, turn and zoom draw what they drew before there was anything else.
  const AugmentOptions options{.shift = 2.0, .rotate = 10.0, .zoom = 0.1};
  const Tensor want = load_batch(*data.train, rows, grey_form(), [&](std::int64_t i) {
    Rng rng = random_stream(7, RandomPurpose::augment, 2,
                            static_cast<std::uint64_t>(rows[static_cast<std::size_t>(i)]));
    return draw_geometry(options, rng);
  });
  EXPECT_EQ(bits(load_training_batch(*data.train, rows, grey_form(), options, 7, 2)), bits(want));
  EXPECT_NE(bits(want), bits(load_batch(*data.train, rows, grey_form())));
}

TEST_F(Augmented, AFunctionOfSeedEpochAndRowAlone) {
  const Datasets data = open_datasets({.path = kDigits}, grey_form(), {});
  const std::vector<std::int64_t> rows{3, 1, 4, 159, 26, 5, 35, 8, 97};
  const int before = num_threads();
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const auto got = bits(load_training_batch(*data.train, rows, grey_form(), everything(), 7, 2));
    if (first.empty()) first = got;
    EXPECT_EQ(got, first);
  }
  set_num_threads(before);
  EXPECT_NE(bits(load_training_batch(*data.train, rows, grey_form(), everything(), 8, 2)), first);
  EXPECT_NE(bits(load_training_batch(*data.train, rows, grey_form(), everything(), 7, 3)), first);
  for (std::size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(bits(load_training_batch(*data.train, {rows[i]}, grey_form(), everything(), 7, 2)),
              std::vector<float>(first.begin() + static_cast<std::ptrdiff_t>(784 * i),
                                 first.begin() + static_cast<std::ptrdiff_t>(784 * (i + 1))));
}

TEST_F(Augmented, KindsDoNotDrawFromEachOther) {
  const Datasets data = open_datasets({.path = kDigits}, grey_form(), {});
  const std::vector<std::int64_t> rows{3, 1, 4, 159, 26};
  AugmentOptions crops{.scale = {0.3, 0.6}, .hflip = 0.5};
  const auto want = bits(load_training_batch(*data.train, rows, grey_form(), crops, 7, 2));
  crops.aa = "rand-p0";
  crops.color_jitter = 0.0;
  crops.mixup = 1.0;
  EXPECT_EQ(bits(load_training_batch(*data.train, rows, grey_form(), crops, 7, 2)), want);
}

TEST_F(Augmented, EachStepIsTheOperationThatItNames) {
  const Image photo = busy(40, 52, 0, 256);
  write("a/0.png", photo);
  write("b/0.png", photo);
  const Preprocess form{
      .rows = 24, .columns = 32, .mode = Preprocess::Mode::squash, .filter = ResizeFilter::bilinear};
  const auto normalised = [&](const Image& image) {
    std::vector<float> out;
    for (std::size_t c = 0; c < 3; ++c)
      for (std::size_t p = 0; p < image.rgb.size() / 3; ++p)
        out.push_back(
            static_cast<float>(form.normalised(image.rgb[3 * p + c], static_cast<std::int64_t>(c))));
    return out;
  };
  for (const std::int64_t cache : {std::int64_t{0}, std::int64_t{1} << 30}) {
    const Datasets data = open(form, cache);
    const auto got = [&](const AugmentOptions& options) {
      return bits(load_training_batch(*data.train, {0}, form, options, 1, 0));
    };
    const Image small = pil_resize(photo, 32, 24, ResizeFilter::bilinear);
    EXPECT_EQ(got({}), normalised(small));
    EXPECT_EQ(got({.hflip = 1.0}), normalised(pil_mirror(small)));
    EXPECT_EQ(got({.vflip = 1.0}), normalised(pil_flip(small)));
    EXPECT_EQ(got({.hflip = 1.0, .vflip = 1.0}), normalised(pil_flip(pil_mirror(small))));
    Rng colours = random_stream(1, RandomPurpose::color_jitter, 0, 0);
    EXPECT_EQ(got({.color_jitter = 0.4}), normalised(color_jitter(small, 0.4, colours)));
    // Fills are the mean, 124 116 104 in bytes; turns take the model's filter.
    Rng draws = random_stream(1, RandomPurpose::rand_augment, 0, 0);
    const RandAugment text = parse_rand_augment("rand-m9-n4-p1");
    EXPECT_EQ(got({.color_jitter = 0.4, .aa = "rand-m9-n4-p1"}),
              normalised(rand_augment(small, text, ResizeFilter::bilinear, {124, 116, 104}, draws)));
    for (const char* name : {"", "bilinear", "bicubic"}) {
      Rng crops = random_stream(1, RandomPurpose::crop, 0, 0);
      const ResizeWindow box = draw_crop(40, 52, {0.2, 0.5}, {0.7, 1.4}, crops);
      const ResizeFilter filter = *name == 0 ? form.filter : parse_resize_filter(name);
      EXPECT_EQ(got({.scale = {0.2, 0.5}, .ratio = {0.7, 1.4}, .train_interpolation = name}),
                normalised(pil_resize(pil_crop(photo, box), 32, 24, filter)));
    }
    // All of the picture, squashed.
    EXPECT_EQ(got({.scale = {1.0, 1.0}, .ratio = {52.0 / 40, 52.0 / 40}}), normalised(small));
  }
}

TEST_F(Augmented, ModelsOfOneChannelTakeTheLuma) {
  const Image photo = busy(40, 52, 0, 256);
  write("a/0.png", photo);
  write("b/0.png", photo);
  const Preprocess form{.rows = 20, .columns = 20, .channels = 1, .mean = {0.0f}, .std = {1.0f}};
  const Datasets data = open(form);
  Rng crops = random_stream(1, RandomPurpose::crop, 0, 1);
  const ResizeWindow box = draw_crop(40, 52, {0.2, 0.5}, {0.7, 1.4}, crops);
  const auto grey =
      pil_resize_grey(pil_luma(pil_crop(photo, box)), box.columns, box.rows, 20, 20, form.filter);
  const Tensor got =
      load_training_batch(*data.train, {1}, form, {.scale = {0.2, 0.5}, .ratio = {0.7, 1.4}}, 1, 0);
  for (std::size_t i = 0; i < grey.size(); ++i)
    EXPECT_EQ(got[static_cast<std::int64_t>(i)], static_cast<float>(grey[i] / 255.0));
}

TEST_F(Augmented, OriginalsComeThroughEveryKindOfDataset) {
  const Image first = busy(10, 7, 0, 256), second = busy(3, 9, 5, 200);
  write("a/0.png", first);
  write("a/1.png", second);
  write("b/0.png", second);
  const Preprocess form{.rows = 6, .columns = 8, .mode = Preprocess::Mode::squash};
  for (const std::int64_t cache : {std::int64_t{0}, std::int64_t{1} << 30}) {
    const Datasets data = open(form, cache);
    EXPECT_EQ(data.train->picture(0).rgb, first.rgb);
    EXPECT_EQ(data.train->picture(1).rgb, second.rgb);
    EXPECT_EQ(data.train->picture(1).rows, 3);
    const auto part = subset(data.train, {1, 0});
    EXPECT_EQ(part->picture(0).rgb, second.rgb);
    EXPECT_EQ(part->picture(1).rgb, first.rgb);
  }
  const Datasets digits = open_datasets({.path = kDigits}, form, {});
  const IdxArray images = read_idx(kDigits + "/train-images-idx3-ubyte", 3);
  const Image digit = digits.train->picture(17);
  EXPECT_EQ(digit.rows, 28);
  ASSERT_EQ(digit.rgb.size(), 3u * 784);
  for (std::size_t i = 0; i < digit.rgb.size(); ++i) EXPECT_EQ(digit.rgb[i], images.values[17 * 784 + i / 3]);
}

TEST_F(Augmented, PicturesOfOnePixelByTwentyThousand) {
  const Image thin = busy(1, 20000, 0, 256), tall = busy(20000, 1, 0, 256), dot = busy(1, 1, 9, 200);
  write("a/0.png", thin);
  write("a/1.png", tall);
  write("a/2.png", dot);
  write("b/0.png", dot);
  AugmentOptions jitter = everything();
  jitter.aa.clear();
  jitter.color_jitter = 0.8;
  jitter.scale = {1e-4, 1.0};
  jitter.ratio = {0.01, 100.0};
  for (const std::int64_t channels : {1, 3}) {
    const Preprocess form{.rows = 16, .columns = 24, .channels = channels};
    const Datasets data = open(form);
    for (const AugmentOptions& options : {everything(), jitter})
      for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
        Tensor batch = load_training_batch(*data.train, {0, 1, 2, 3}, form, options, 3, epoch);
        EXPECT_TRUE(std::all_of(batch.values().begin(), batch.values().end(),
                                [](float x) { return std::abs(x) < 10.0f; }));
      }
  }
  // Models of one pixel.
  const Preprocess form{.rows = 1, .columns = 1};
  const Datasets data = open(form);
  for (std::int64_t epoch = 0; epoch < 20; ++epoch)
    load_training_batch(*data.train, {0, 1, 2, 3}, form, everything(), 3, epoch);
}

TEST_F(Augmented, SheetShowsWhatTheModelSees) {
  const Image photo = busy(40, 52, 0, 256), other = busy(30, 30, 40, 100);
  write("a/0.png", photo);
  write("b/0.png", other);
  const Preprocess form{.rows = 24, .columns = 32, .mode = Preprocess::Mode::squash};
  const Datasets data = open(form);
  const AugmentOptions options{.hflip = 1.0, .reprob = 1.0, .remode = "const", .mixup = 1.0};
  const Image sheet = augmented_sheet(*data.train, {0, 1}, form, options, 5, 3);
  EXPECT_EQ(sheet.rows, 2 * 24 + 2);
  EXPECT_EQ(sheet.columns, 4 * 32 + 3 * 2);
  const auto part = [&](std::int64_t line, std::int64_t column) {
    return pil_crop(sheet, {line * 26, column * 34, 24, 32});
  };
  EXPECT_EQ(part(0, 0).rgb, pil_resize(photo, 32, 24, form.filter).rgb);
  EXPECT_EQ(part(1, 0).rgb, pil_resize(other, 32, 24, form.filter).rgb);
  EXPECT_EQ(pil_crop(sheet, {24, 0, 2, sheet.columns}).rgb,
            std::vector<std::uint8_t>(static_cast<std::size_t>(6 * sheet.columns), 255));
  Tensor batch = load_training_batch(*data.train, {0, 1}, form, options, 5, 2);
  mix_batch(batch, {0, 1}, options, 5, 2);
  const Image last = part(1, 3);
  for (std::int64_t c = 0; c < 3; ++c)
    for (std::int64_t p = 0; p < 24 * 32; ++p)
      EXPECT_NEAR(form.normalised(last.rgb[static_cast<std::size_t>(3 * p + c)], c),
                  batch[((3 + c) * 24 * 32) + p], 0.5 / 255 / 0.22 + 1e-6);
  EXPECT_THROW(augmented_sheet(*data.train, {}, form, {}, 1), Error);
  EXPECT_THROW(augmented_sheet(*data.train, {0}, form, {}, 1, std::int64_t{1} << 40), Error);
  // One channel, and a grey IDX source for three.
  const Datasets digits = open_datasets({.path = kDigits}, grey_form(), {});
  const Image grey = augmented_sheet(*digits.train, {4}, grey_form(), {}, 1, 0);
  EXPECT_EQ(grey.rgb, digits.train->picture(4).rgb);
  const Datasets coloured = open_datasets({.path = kDigits}, form, {});
  EXPECT_EQ(augmented_sheet(*coloured.train, {4}, form, everything(), 1, 1).columns, 66);
}

TEST(AugmentOptionsCheck, ErrorsAreSentences) {
  const auto refused = [](const AugmentOptions& options, const std::string& word) {
    try {
      options.check();
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_TRUE(message.starts_with("[augment] ") && message.find(word) != std::string::npos) << message;
    }
  };
  AugmentOptions{}.check();
  everything().check();
  EXPECT_FALSE(AugmentOptions{}.any());
  EXPECT_TRUE(AugmentOptions{.cutmix = 0.1}.any() && AugmentOptions{.vflip = 0.1}.any() &&
              AugmentOptions{.reprob = 0.1}.any() && AugmentOptions{.zoom = 0.1}.any());
  const double nan = std::nan("");
  refused({.zoom = 1.0}, "zoom");
  refused({.scale = {0.5}}, "--scale");
  refused({.scale = {0.5, 0.4}}, "--scale");
  refused({.scale = {0.0, 0.4}}, "--scale");
  refused({.scale = {0.5, 1.1}}, "--scale");
  refused({.scale = {nan, 1.0}}, "--scale");
  refused({.ratio = {}}, "--ratio");
  refused({.ratio = {0.0, 1.0}}, "--ratio");
  refused({.train_interpolation = "lanczos"}, "--train-interpolation");
  refused({.hflip = 1.5}, "--hflip");
  refused({.vflip = -0.1}, "--vflip");
  refused({.color_jitter = nan}, "--color-jitter");
  refused({.aa = "original"}, "--aa");
  refused({.reprob = 2.0}, "--reprob");
  refused({.remode = "colour"}, "colour");
  refused({.recount = 0}, "--recount");
  refused({.mixup = -0.2}, "--mixup");
  refused({.cutmix = nan}, "--cutmix");
  refused({.cutmix_minmax = {0.8, 0.2}}, "--cutmix-minmax");
  refused({.mixup_prob = 1.1}, "--mixup-prob");
  refused({.mixup_switch_prob = -1.0}, "--mixup-switch-prob");
  refused({.mixup_mode = "half"}, "--mixup-mode");
}

}  // namespace augment_test
}  // namespace locant
