// Pictures: IDX files, class folders, splits, and random geometry.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/error.h"
#include "core/parallel.h"
#include "io/image.h"
#include "train/augment.h"
#include "train/batch.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/idx.h"
#include "train/random_streams.h"

namespace locant {
namespace data_test {

namespace fs = std::filesystem;
using namespace std::string_literals;
const std::string kDigits = LOCANT_TEST_DATA "/digits500";

class Data : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("locant_data_{}_{}", ::getpid(),
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& bytes) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  void write_picture(const std::string& name, std::uint8_t value) {
    fs::create_directories((folder_ / name).parent_path());
    Image image{6, 8, std::vector<std::uint8_t>(6 * 8 * 3, value)};
    write_png((folder_ / name).string(), image);
  }
  std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  Datasets open(DataOptions options) {
    if (options.path.empty()) options.path = folder_.string();
    return open_datasets(options, form_, {});
  }

  fs::path folder_;
  Preprocess form_{.rows = 6, .columns = 8, .channels = 3, .mode = Preprocess::Mode::squash};
};

std::string idx_header(std::initializer_list<int> bytes) {
  std::string out;
  for (const int byte : bytes) out += static_cast<char>(byte);
  return out;
}

TEST_F(Data, IdxReadsMnistsFormat) {
  const IdxArray images = read_idx(kDigits + "/train-images-idx3-ubyte", 3);
  EXPECT_EQ(images.extents, (std::vector<std::int64_t>{400, 28, 28}));
  EXPECT_EQ(images.values.size(), 400u * 784u);
  const IdxArray labels = read_idx(kDigits + "/t10k-labels-idx1-ubyte", 1);
  ASSERT_EQ(labels.values.size(), 100u);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(labels.values[i], i % 10);
  EXPECT_TRUE(looks_like_idx(kDigits + "/train-images-idx3-ubyte"));
  EXPECT_FALSE(looks_like_idx(kDigits + "/README.md"));
}

TEST_F(Data, IdxRefusesHostileHeaders) {
  struct Case {
    std::string bytes, reason;
  };
  const std::vector<Case> cases{
      {"", "offset 0"},
      {"\x1F\x8B\x08\x00garbage"s, "gunzip"},
      {"\x89PNG", "not an IDX"},
      {idx_header({0, 0, 0x0D, 1, 0, 0, 0, 1}), "offset 2"},
      {idx_header({0, 0, 8, 3, 0, 0, 0, 1}), "offset 3"},
      {idx_header({0, 0, 8, 1}), "offset 4: the header is cut off"},
      {idx_header({0, 0, 8, 1, 0, 0, 0, 0}), "empty"},
      {idx_header({0, 0, 8, 1, 0xFF, 0xFF, 0xFF, 0xFF, 1}), "needs more than the file"},
      {idx_header({0, 0, 8, 1, 0, 0, 0, 3, 1, 2}), "needs more than the file"},
      {idx_header({0, 0, 8, 1, 0, 0, 0, 1, 1, 2}), "2 bytes of data, the header asks for 1"},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string path = write(fmt::format("case{}", i), cases[i].bytes);
    const std::string message = error_of([&] { read_idx(path, 1); });
    EXPECT_NE(message.find(cases[i].reason), std::string::npos) << i << ": " << message;
    EXPECT_NE(message.find(path), std::string::npos) << message;
  }
  // Extents whose product overflows 64 bits.
  const std::string path =
      write("overflow",
            idx_header({0, 0, 8, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}));
  EXPECT_NE(error_of([&] { read_idx(path, 3); }).find("needs more"), std::string::npos);
  EXPECT_NE(error_of([&] { read_idx((folder_ / "nothing").string(), 1); }).find("cannot open"),
            std::string::npos);
}

TEST_F(Data, IdxFolderGivesBothParts) {
  form_ = {.rows = 28, .columns = 28, .channels = 1, .mode = Preprocess::Mode::squash};
  const Datasets data = open({.path = kDigits});
  ASSERT_TRUE(data.val);
  EXPECT_EQ(data.train->size(), 400);
  EXPECT_EQ(data.val->size(), 100);
  EXPECT_EQ(data.classes, (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
  const IdxArray images = read_idx(kDigits + "/train-images-idx3-ubyte", 3);
  std::vector<std::uint8_t> planes(784);
  data.train->read(17, planes.data());
  EXPECT_TRUE(std::equal(planes.begin(), planes.end(), images.values.begin() + 17 * 784));
  EXPECT_EQ(data.train->label(17), 7);
}

TEST_F(Data, IdxComplainsAboutMissingAndUnequalParts) {
  fs::copy_file(kDigits + "/train-images-idx3-ubyte", folder_ / "train-images-idx3-ubyte");
  EXPECT_NE(error_of([&] { open({}); }).find("train-labels-idx1-ubyte is missing"), std::string::npos);
  fs::copy_file(kDigits + "/t10k-labels-idx1-ubyte", folder_ / "train-labels-idx1-ubyte");
  EXPECT_NE(error_of([&] { open({}); }).find("has 100 labels"), std::string::npos);
}

TEST_F(Data, FoldersOfClasses) {
  write_picture("train/cat/b.png", 20);
  write_picture("train/cat/a.png", 10);
  write_picture("train/dog/deep/c.png", 30);
  write("train/cat/notes.txt", "not a picture");
  write_picture("val/dog/d.png", 40);
  for (const std::int64_t cache : {std::int64_t{1} << 20, std::int64_t{0}}) {
    const Datasets data = open({.cache_bytes = cache});
    EXPECT_EQ(data.classes, (std::vector<std::string>{"cat", "dog"}));
    ASSERT_EQ(data.train->size(), 3);
    ASSERT_EQ(data.val->size(), 1);
    EXPECT_EQ(data.val->label(0), 1);
    std::vector<std::uint8_t> planes(3 * 6 * 8);
    const std::uint8_t values[] = {10, 20, 30};
    for (std::int64_t i = 0; i < 3; ++i) {
      data.train->read(i, planes.data());
      EXPECT_EQ(planes, std::vector<std::uint8_t>(planes.size(), values[i]));
      EXPECT_EQ(data.train->label(i), i / 2);
    }
    ASSERT_EQ(data.notes.size(), cache == 0 ? 2u : 1u);
    EXPECT_EQ(data.notes[0], "validating on " + (folder_ / "val").string());
    EXPECT_FALSE(data.test);
  }
}

TEST_F(Data, FindsWhatIsValidatedAndTestedOn) {
  for (const char* picture :
       {"train/cat/a.png", "train/dog/b.png", "valid/dog/c.png", "test/cat/d.png", "test/dog/e.png"})
    write_picture(picture, 10);
  const Datasets data = open({});
  EXPECT_EQ(data.val->size(), 1);
  ASSERT_TRUE(data.test);
  EXPECT_EQ(data.test->size(), 2);
  EXPECT_EQ(data.test->label(1), 1);
  EXPECT_NE(data.notes[0].find("valid"), std::string::npos);
  EXPECT_NE(data.notes[1].find("test"), std::string::npos);
  write("test/bird/f.png", "");
  const Datasets other = open({});
  EXPECT_FALSE(other.test);
  EXPECT_NE(other.notes.back().find("\"bird\" is not among"), std::string::npos);
}

TEST_F(Data, ASplitLeavesEveryClassSomethingToTrainOn) {
  for (int i = 0; i < 30; ++i) write_picture(fmt::format("train/cat/{}.png", i), 10);
  write_picture("train/dog/one.png", 20);
  int refused = 0;
  for (int percent = 10; percent < 100; percent += 10) {
    const std::string error = error_of([&] { open({.val_split = percent / 100.0}); });
    refused += error.find("leaves class \"dog\" without a picture") != std::string::npos;
  }
  EXPECT_GT(refused, 0);
  for (int i = 0; i < 30; ++i) write_picture(fmt::format("train/dog/{}.png", i), 20);
  EXPECT_GT(open({.val_split = 0.3}).val->size(), 0);
}

TEST_F(Data, FoldersComplain) {
  EXPECT_NE(error_of([&] { open({}); }).find("neither class folders nor IDX"), std::string::npos);
  EXPECT_NE(error_of([&] { open({.path = (folder_ / "no").string()}); }).find("not a folder"),
            std::string::npos);
  write_picture("train/cat/a.png", 10);
  EXPECT_NE(error_of([&] { open({}); }).find("at least two"), std::string::npos);
  fs::create_directories(folder_ / "train/dog");
  EXPECT_NE(error_of([&] { open({}); }).find("no pictures"), std::string::npos);
  write("train/dog/b.png", "broken");
  EXPECT_NE(error_of([&] { open({}); }).find("b.png"), std::string::npos);
  write_picture("train/dog/b.png", 20);
  write_picture("val/bird/c.png", 30);
  EXPECT_NE(error_of([&] { open({}); }).find("\"bird\" is not among"), std::string::npos);
}

TEST_F(Data, SplitsByNameWhateverElseIsThere) {
  const auto val_values = [this] {
    const Datasets data = open({.val_split = 0.3});
    std::vector<int> values;
    std::vector<std::uint8_t> planes(3 * 6 * 8);
    for (std::int64_t i = 0; i < data.val->size(); ++i) {
      data.val->read(i, planes.data());
      values.push_back(planes[0]);
    }
    EXPECT_GT(data.train->size(), data.val->size());
    return values;
  };
  for (int i = 0; i < 30; ++i)
    write_picture(fmt::format("{}/{}.png", i % 2 == 0 ? "x" : "y", i), static_cast<std::uint8_t>(i));
  const std::vector<int> before = val_values();
  EXPECT_GE(before.size(), 3u);
  for (int i = 30; i < 40; ++i) write_picture(fmt::format("x/{}.png", i), static_cast<std::uint8_t>(i));
  std::vector<int> after;
  for (const int value : val_values())
    if (value < 30) after.push_back(value);
  EXPECT_EQ(after, before);
}

TEST_F(Data, StopsWhileLoading) {
  form_ = {.rows = 28, .columns = 28, .channels = 1};
  EXPECT_THROW(open_datasets({.path = kDigits}, form_, [](std::int64_t, std::int64_t) { return false; }),
               Cancelled);
}

TEST_F(Data, FingerprintTellsChangedData) {
  write_picture("cat/a.png", 10);
  write_picture("dog/b.png", 20);
  const std::uint64_t first = open({}).train->fingerprint();
  EXPECT_EQ(open({}).train->fingerprint(), first);
  write_picture("dog/c.png", 20);
  EXPECT_NE(open({}).train->fingerprint(), first);
}

TEST(Order, IsAPermutationOfItsOwnEachEpoch) {
  const auto first = shuffled_order(3, 0, 500);
  std::vector<std::int64_t> sorted = first;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 500; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
  EXPECT_NE(first, sorted);
  EXPECT_EQ(shuffled_order(3, 0, 500), first);
  EXPECT_NE(shuffled_order(3, 1, 500), first);
  EXPECT_NE(shuffled_order(4, 0, 500), first);
}

std::vector<std::uint8_t> ramp(std::int64_t count) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(37 * i % 251);
  return out;
}

TEST(Augment, IdentityCopiesExactly) {
  const auto planes = ramp(3 * 5 * 7);
  std::vector<float> out(planes.size());
  transform_planes(planes.data(), 3, 5, 7, Geometry{}, out.data());
  EXPECT_TRUE(std::equal(out.begin(), out.end(), planes.begin()));
}

TEST(Augment, ShiftsWithBlackBorder) {
  const auto planes = ramp(4 * 4);
  std::vector<float> out(16);
  transform_planes(planes.data(), 1, 4, 4, {.shift_y = 1.0, .shift_x = -2.0}, out.data());
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x) {
      const float want = y >= 1 && x + 2 < 4 ? planes[static_cast<std::size_t>((y - 1) * 4 + x + 2)] : 0.0f;
      EXPECT_EQ(out[static_cast<std::size_t>(y * 4 + x)], want) << y << " " << x;
    }
  transform_planes(planes.data(), 1, 4, 4, {.shift_x = 0.5}, out.data());
  EXPECT_FLOAT_EQ(out[5], 0.5f * (static_cast<float>(planes[4]) + static_cast<float>(planes[5])));
  EXPECT_FLOAT_EQ(out[4], 0.5f * static_cast<float>(planes[4]));
  transform_planes(planes.data(), 1, 4, 4, {.shift_y = 1e9}, out.data());
  EXPECT_EQ(out, std::vector<float>(16, 0.0f));
}

TEST(Augment, TurnsCounterClockwise) {
  const auto planes = ramp(5 * 5);
  std::vector<float> out(25);
  transform_planes(planes.data(), 1, 5, 5, {.angle = std::acos(0.0)}, out.data());
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 5; ++x)  // a quarter turn: the right column becomes the top row
      EXPECT_NEAR(out[static_cast<std::size_t>(y * 5 + x)], planes[static_cast<std::size_t>(x * 5 + 4 - y)],
                  1e-3)
          << y << " " << x;
}

TEST(Augment, EnlargesAboutTheCentre) {
  std::vector<std::uint8_t> planes(81, 0);
  planes[4 * 9 + 5] = 100;
  std::vector<float> out(81);
  transform_planes(planes.data(), 1, 9, 9, {.scale = 2.0}, out.data());
  EXPECT_EQ(out[4 * 9 + 6], 100.0f);
  EXPECT_EQ(out[4 * 9 + 5], 50.0f);
}

TEST(Augment, StaysInRangeAndChecksOptions) {
  const AugmentOptions options{.shift = 3.0, .rotate = 15.0, .zoom = 0.1};
  double seen = 0.0;
  for (std::uint64_t i = 0; i < 500; ++i) {
    Rng rng = random_stream(1, RandomPurpose::augment, 0, i);
    const Geometry g = draw_geometry(options, rng);
    EXPECT_LE(std::abs(g.shift_y), 3.0);
    EXPECT_LE(std::abs(g.shift_x), 3.0);
    EXPECT_LE(std::abs(g.angle), 15.0 * std::acos(-1.0) / 180.0);
    EXPECT_LE(std::abs(g.scale - 1.0), 0.1 + 1e-12);
    seen = std::max(seen, std::abs(g.shift_x));
  }
  EXPECT_GT(seen, 2.9);
  EXPECT_THROW(AugmentOptions{.rotate = 200.0}.check(), Error);
  EXPECT_THROW(AugmentOptions{.shift = -1.0}.check(), Error);
  EXPECT_THROW(AugmentOptions{.zoom = 1.0}.check(), Error);
}

TEST(Augment, BatchDoesNotDependOnThreads) {
  const Preprocess form{
      .rows = 28, .columns = 28, .channels = 1, .mean = {0.1307f, 0, 0}, .std = {0.3081f, 1, 1}};
  const Datasets data = open_datasets({.path = kDigits}, form, {});
  const std::vector<std::int64_t> rows{3, 1, 4, 159, 26, 5, 35};
  const auto batch = [&](std::uint64_t seed) {
    return load_batch(*data.train, rows, form, [&](std::int64_t i) {
      Rng rng = random_stream(seed, RandomPurpose::augment, 2,
                              static_cast<std::uint64_t>(rows[static_cast<std::size_t>(i)]));
      return draw_geometry({.shift = 2.0, .rotate = 10.0}, rng);
    });
  };
  const int before = num_threads();
  const auto bits = [](const Tensor& t) { return std::vector<float>(t.values().begin(), t.values().end()); };
  set_num_threads(1);
  const std::vector<float> one = bits(batch(9));
  set_num_threads(3);
  EXPECT_EQ(bits(batch(9)), one);
  EXPECT_NE(bits(batch(10)), one);
  set_num_threads(before);
  const Tensor plain = load_batch(*data.train, rows, form);
  EXPECT_FLOAT_EQ(plain[0], -0.1307f / 0.3081f);
}

}  // namespace data_test
}  // namespace locant
