#include "segment/fine_tune.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/error.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/registry.h"
#include "segment/segment_data.h"

namespace locant {
namespace fine_tune_test {

namespace fs = std::filesystem;

/// Pictures of two discs each, with their masks, and a MobileSAM with random numbers.
class FineTune : public ::testing::Test {
 protected:
  FineTune()
      : folder_(
            fs::path(::testing::TempDir()) /
            (std::string("fine_tune_") + ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "images");
    fs::create_directories(folder_ / "masks");
    for (int n = 0; n < 4; ++n) draw(n);
    RandomSource source(5);
    const auto sam = build_sam(find_model("mobile_sam").config, Weights(source, WeightMode::train));
    for (const Parameter& p : sam->parameters()) tensors_.emplace_back(p.name, p.value.value());
    write_safetensors((folder_ / "sam.safetensors").string(), tensors_, {});
    options_.data = folder_.string();
    options_.init = (folder_ / "sam.safetensors").string();
    options_.out = (folder_ / "out").string();
    options_.image_size = 128;
    options_.epochs = 3;
    options_.batch = 3;
    options_.lr = 1e-3;
    options_.val_split = 0.25;
  }
  ~FineTune() override { fs::remove_all(folder_); }

  void draw(int n) const {
    Image picture{60, 80, std::vector<std::uint8_t>(60 * 80 * 3, 40)}, mask = picture;
    std::fill(mask.rgb.begin(), mask.rgb.end(), std::uint8_t{0});
    for (int y = 0; y < 60; ++y)
      for (int x = 0; x < 80; ++x)
        for (int disc = 0; disc < 2; ++disc) {
          const int cx = 20 + 38 * disc + 2 * n, cy = 30 - 3 * n;
          if ((x - cx) * (x - cx) + (y - cy) * (y - cy) > 150) continue;
          picture.rgb[static_cast<std::size_t>(3 * (80 * y + x) + disc)] = 230;
          mask.rgb[static_cast<std::size_t>(3 * (80 * y + x) + disc)] = 255;
        }
    const std::string name = "picture" + std::to_string(n) + ".png";
    write_png((folder_ / "images" / name).string(), picture);
    write_png((folder_ / "masks" / name).string(), mask);
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string error_of() const {
    try {
      fine_tune(options_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  fs::path folder_;
  std::vector<std::pair<std::string, Tensor>> tensors_;
  FineTuneOptions options_;
};

TEST_F(FineTune, LearnsKeepsTheEncoderAndIsRepeatable) {
  std::vector<double> losses;
  std::int64_t encoded = 0;
  FineTuneCallbacks callbacks;
  callbacks.progress = [&](const FineTuneProgress& p) {
    if (p.phase == FineTuneProgress::Phase::encode)
      ++encoded;
    else
      losses.push_back(p.loss);
  };
  const FineTuneResult result = fine_tune(options_, callbacks);
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(encoded, 4);
  EXPECT_EQ(result.steps, 6);  // six objects of three pictures, three a step, three epochs
  ASSERT_EQ(losses.size(), 6u);
  EXPECT_LT(losses[4] + losses[5], 0.8 * (losses[0] + losses[1]));
  EXPECT_GE(result.point_iou, 0.0);
  EXPECT_GE(result.box_iou_before, 0.0);

  const std::string saved = (fs::path(options_.out) / "sam.safetensors").string();
  EXPECT_EQ(load_sam(saved).name, "mobile_sam");
  const auto file = open_tensor_file(saved);
  std::size_t changed = 0;
  for (const auto& [name, before] : tensors_) {
    const Tensor after = file->read(name);
    const bool same = std::equal(before.values().begin(), before.values().end(), after.values().begin());
    EXPECT_TRUE(same || name.rfind("mask_decoder.", 0) == 0) << name;
    changed += !same;
  }
  EXPECT_GT(changed, 100u);

  encoded = 0;
  const fs::path first = options_.out;
  options_.embeddings = (first / "embeddings").string();
  options_.out = (folder_ / "again").string();
  fine_tune(options_, callbacks);
  EXPECT_EQ(encoded, 0);  // all kept
  EXPECT_EQ(bytes_of(fs::path(options_.out) / "sam.safetensors"), bytes_of(first / "sam.safetensors"));
}

TEST_F(FineTune, StopsWithWhatItHas) {
  FineTuneCallbacks callbacks;
  bool stop = false;
  callbacks.progress = [&](const FineTuneProgress& p) { stop = p.phase == FineTuneProgress::Phase::train; };
  callbacks.stop = [&] { return stop; };
  const FineTuneResult result = fine_tune(options_, callbacks);
  EXPECT_FALSE(result.finished);
  EXPECT_EQ(result.steps, 1);
  EXPECT_EQ(load_sam((fs::path(options_.out) / "sam.safetensors").string()).name, "mobile_sam");
}

TEST_F(FineTune, RefusesWhatDoesNotFit) {
  fs::create_directories(options_.out);
  std::ofstream(fs::path(options_.out) / "sam.safetensors") << "a run";
  EXPECT_NE(error_of().find("is there already"), std::string::npos);
  options_.force = true;
  options_.lr = -1.0;
  EXPECT_NE(error_of().find("lr -1"), std::string::npos);
  options_.lr = 1e-3;
  options_.data = (folder_ / "nowhere").string();
  EXPECT_NE(error_of().find("images"), std::string::npos);
  options_.data = folder_.string();
  write_png((folder_ / "masks" / "picture0.png").string(), {10, 10, std::vector<std::uint8_t>(300)});
  options_.strict = true;
  EXPECT_NE(error_of().find("has 10 x 10 pixels, its picture 80 x 60"), std::string::npos);
  EXPECT_EQ(bytes_of(fs::path(options_.out) / "sam.safetensors"), "a run");
}

TEST_F(FineTune, LeavesOutWhatCannotBeUsed) {
  options_.epochs = 1;
  options_.val_split = 0.0;
  const fs::path images = folder_ / "images", masks = folder_ / "masks";
  const auto write = [](const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  };
  write_png((masks / "picture0.png").string(), {10, 10, std::vector<std::uint8_t>(300)});
  write(images / "empty.jpg", "");
  write(masks / "empty.png", bytes_of(masks / "picture1.png"));
  write(images / "unmasked.png", bytes_of(images / "picture1.png"));
  write(masks / "unmasked.png", "no mask");
  ASSERT_EQ(::mkfifo((images / "pipe.jpg").c_str(), 0600), 0);
  write(images / "waits.png", bytes_of(images / "picture1.png"));
  ASSERT_EQ(::mkfifo((masks / "waits.png").c_str(), 0600), 0);
  write(images / "._picture1.png", "a resource fork");
  write(masks / "._picture1.png", "a resource fork");

  std::map<std::string, std::string> skipped;
  FineTuneCallbacks callbacks;
  callbacks.skipped = [&](const SkippedPicture& picture) {
    skipped[fs::path(picture.path).filename()] = picture.reason;
  };
  const FineTuneResult result = fine_tune(options_, callbacks);
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.steps, 2);  // six objects of three pictures
  EXPECT_EQ(result.skipped, 5);
  const std::map<std::string, std::string> want = {{"picture0.png", "has 10 x 10 pixels"},
                                                   {"empty.jpg", "the file is empty"},
                                                   {"unmasked.png", "not a picture"},
                                                   {"pipe.jpg", "no regular file"},
                                                   {"waits.png", "no regular file"}};
  for (const auto& [name, reason] : want)
    EXPECT_NE(skipped[name].find(reason), std::string::npos) << name << ": " << skipped[name];
  EXPECT_EQ(skipped.size(), want.size());
  const std::string log = bytes_of(fs::path(options_.out) / "train.log.jsonl");
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 6);
  EXPECT_NE(log.find("\"kind\":\"skip\""), std::string::npos);
}

TEST_F(FineTune, SaysThatTheLogCannotBeWritten) {
  options_.epochs = 1;
  fs::create_directories(fs::path(options_.out) / "train.log.jsonl" / "in the way");
  EXPECT_NE(error_of().find("train.log.jsonl: Is a directory"), std::string::npos);
}

TEST_F(FineTune, SaysWhatToTryWhenTheLossIsNotFinite) {
  options_.lr = 1e30;
  options_.clip = 0.0;
  options_.warmup_epochs = 0.0;
  const std::string message = error_of();
  for (const char* part : {" is not ", "Try a lower --lr (it is 1e+30)", "nothing was saved"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  options_.lr = 1e-4;
  options_.epochs = 1;
  EXPECT_TRUE(fine_tune(options_).finished);
}

TEST_F(FineTune, ReadsMasksByColour) {
  const SegmentData data = read_segment_data(folder_.string(), 128, 32);
  ASSERT_EQ(data.pictures.size(), 4u);
  ASSERT_EQ(data.objects.size(), 8u);
  EXPECT_EQ(data.pictures[0].frame.input, (ImageSize{96, 128}));
  const Mask mask = rle_to_mask(data.objects[0].mask);
  // Two pixels of 80 a cell and a half: the disc of radius 12.2 at (20, 30) or (58, 30).
  const double area = static_cast<double>(area_from_rle(data.objects[0].mask));
  EXPECT_NEAR(area, 3.1416 * 150 * (32.0 / 80) * (32.0 / 80), 6.0);
  float xy[2], box[4];
  add_centre_prompt(mask, 128, xy);
  EXPECT_NEAR(xy[0], 58 * 1.6, 4.0);  // green, the second disc, comes first
  EXPECT_NEAR(xy[1], 30 * 1.6, 4.0);
  add_box_prompt(mask, 128, nullptr, box);
  EXPECT_NEAR(box[3] - box[1], 24.5 * 1.6, 5.0);
  Rng rng(1);
  float points[6];
  add_point_prompt(mask, 128, 3, rng, points);
  for (int p = 0; p < 3; ++p)
    EXPECT_LT(std::hypot(points[2 * p] - xy[0], points[2 * p + 1] - xy[1]), 12.5 * 1.6 + 4);
}

}  // namespace fine_tune_test
}  // namespace locant
