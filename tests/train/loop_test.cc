// The training loop on real digits: it learns, it resumes to the bit, it keeps what a user has.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/parallel.h"
#include "io/tensor_file.h"
#include "models/load.h"
#include "train/evaluate.h"
#include "train/idx.h"
#include "train/state.h"
#include "train/train.h"

namespace locant {
namespace loop_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kSwin =
    R"({"family":"swin","img_size":28,"patch_size":7,"in_chans":1,"dim":32,"depths":[2],"heads":[2],"window":2})";
constexpr const char* kVit =
    R"({"family":"vit","img_size":28,"patch_size":7,"in_chans":1,"dim":32,"depth":2,"heads":2})";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_idx(const fs::path& path, const IdxArray& array) {
  std::ofstream file(path, std::ios::binary);
  file << '\0' << '\0' << '\x08' << static_cast<char>(array.extents.size());
  for (const std::int64_t extent : array.extents)
    for (int shift = 24; shift >= 0; shift -= 8) file << static_cast<char>(extent >> shift);
  file.write(reinterpret_cast<const char*>(array.values.data()),
             static_cast<std::streamsize>(array.values.size()));
}

class Loop : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() /
            fmt::format("locant_loop_{}_{}", ::getpid(),
                        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(root_ / "data");
    write_part("train", "train", 0, 40);
    write_part("train", "t10k", 0, 40);
  }
  void TearDown() override { fs::remove_all(root_); }

  // Pictures [begin, end) of a part of the subset as a part of the test's data.
  void write_part(const std::string& from, const std::string& to, std::int64_t begin, std::int64_t end) {
    const std::string source = LOCANT_TEST_DATA "/digits500/";
    IdxArray images = read_idx(source + from + "-images-idx3-ubyte", 3),
             labels = read_idx(source + from + "-labels-idx1-ubyte", 1);
    images.values = {images.values.begin() + begin * 784, images.values.begin() + end * 784};
    labels.values = {labels.values.begin() + begin, labels.values.begin() + end};
    images.extents[0] = labels.extents[0] = end - begin;
    write_idx(root_ / "data" / (to + "-images-idx3-ubyte"), images);
    write_idx(root_ / "data" / (to + "-labels-idx1-ubyte"), labels);
  }

  TrainOptions options(const std::string& out, const char* config = kSwin) const {
    TrainOptions o;
    o.data.path = (root_ / "data").string();
    o.config = config;
    o.out = (root_ / out).string();
    o.epochs = 3;
    o.batch = 16;
    o.lr = 3e-3;
    o.warmup_epochs = 1;
    o.drop_path = 0.2;
    o.ema = 0.9;
    o.augment = {2.0, 10.0, 0.1};
    o.seed = 7;
    o.threads = 1;  // small steps: waiting for another thread would cost more than it does
    o.log_interval = 2;
    return o;
  }

  static std::string error_of(const TrainOptions& o) {
    try {
      train(o);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  // The log without its times.
  static std::vector<std::string> log_of(const TrainOptions& o) {
    std::vector<std::string> lines;
    std::istringstream text(read_file(log_path(o.out)));
    for (std::string line; std::getline(text, line);) {
      Json entry = Json::parse(line);
      EXPECT_GE(entry.at("seconds").get<double>(), 0.0);
      entry.erase("seconds");
      lines.push_back(entry.dump());
    }
    return lines;
  }

  static std::map<std::string, std::vector<float>> tensors_of(const std::string& path) {
    std::map<std::string, std::vector<float>> out;
    const auto file = open_tensor_file(path);
    for (const TensorInfo& info : file->tensors()) {
      const Tensor t = file->read(info.name);
      out[info.name] = {t.values().begin(), t.values().end()};
    }
    return out;
  }

  // Names the tensors that differ, not their numbers.
  static void expect_same_tensors(const std::string& a, const std::string& b) {
    const auto left = tensors_of(a), right = tensors_of(b);
    EXPECT_EQ(left.size(), right.size());
    for (const auto& [name, values] : left)
      EXPECT_TRUE(right.count(name) == 1 && right.at(name) == values) << name;
  }

  static void expect_same_run(const TrainOptions& a, const TrainOptions& b) {
    expect_same_tensors(state_path(a.out), state_path(b.out));
    expect_same_tensors(model_path(a.out), model_path(b.out));
    EXPECT_EQ(log_of(a), log_of(b));
  }

  fs::path root_;
};

TEST_F(Loop, LearnsFortyDigitsByHeart) {
  for (const char* config : {kSwin, kVit}) {
    TrainOptions o = options(config == kSwin ? "swin" : "vit", config);
    o.epochs = 100;
    o.batch = 10;
    o.lr = 5e-3;
    o.warmup_epochs = 5;
    o.drop_path = 0.0;
    o.label_smoothing = 0.0;
    o.augment = {};
    o.val_interval = 100;
    const TrainResult result = train(o);
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.step, 100 * 4);
    EXPECT_EQ(result.val_accuracy, 1.0) << config;
    EXPECT_EQ(result.ema_val_accuracy, 1.0) << config;
    const std::vector<std::string> log = log_of(o);
    EXPECT_LT(Json::parse(log.back()).at("loss").get<double>(), 0.3);
    EXPECT_GT(Json::parse(log.front()).at("loss").get<double>(), 1.5);
  }
}

TEST_F(Loop, WritesACheckpointThatClassifies) {
  TrainOptions o = options("run");
  o.epochs = 2;
  const TrainResult result = train(o);
  const LoadedModel loaded = load_model(model_path(o.out));
  EXPECT_EQ(loaded.classes.size(), 10u);
  EXPECT_EQ(loaded.preprocess.channels, 1);
  EXPECT_EQ(loaded.preprocess.rows, 28);
  const Datasets data = open_datasets(o.data, loaded.preprocess, {});
  // The file holds the averages; inference multiplies in another order than training, so a tie may break.
  EXPECT_NEAR(evaluate(*loaded.model, *data.val, loaded.preprocess, 16).accuracy, result.ema_val_accuracy,
              0.026);
}

TEST_F(Loop, ResumesToTheBitAfterAnEpoch) {
  const TrainOptions straight = options("straight");
  train(straight);
  const TrainOptions stopped = options("stopped");
  int steps = 0;
  const auto stop = [&steps] { return steps >= 3; };  // three steps are an epoch
  const auto count = [&steps](const TrainProgress& p) { steps += p.phase == TrainProgress::Phase::training; };
  const TrainResult first = train(stopped, {count, {}, {}, stop});
  EXPECT_FALSE(first.finished);
  EXPECT_EQ(first.step, 3);
  const TrainResult second = train(resume_options(stopped.out));
  EXPECT_TRUE(second.finished);
  EXPECT_EQ(second.step, 9);
  expect_same_run(straight, stopped);
}

TEST_F(Loop, ResumesToTheBitWithinAnEpochAgainAndAgain) {
  const TrainOptions straight = options("straight"), stopped = options("stopped");
  train(straight);
  TrainOptions next = stopped;
  int runs = 0;
  for (bool finished = false; !finished; ++runs) {
    int asked = 0;  // loading asks twice, an epoch three times for its steps and six for its validation
    finished = train(next, {{}, {}, {}, [&] { return ++asked == 10; }}).finished;
    next = resume_options(stopped.out);
  }
  EXPECT_GT(runs, 2);
  expect_same_run(straight, stopped);
}

TEST_F(Loop, ForgetsLogLinesAfterTheLastState) {
  const TrainOptions straight = options("straight"), killed = options("killed");
  train(straight);
  int steps = 0;
  train(killed, {[&](const TrainProgress&) { ++steps; }, {}, {}, [&] { return steps > 5; }});
  std::ofstream(log_path(killed.out), std::ios::app) << R"({"kind":"step","loss":0})"
                                                     << "\n";
  train(resume_options(killed.out));
  expect_same_run(straight, killed);
}

TEST_F(Loop, RepeatsItselfAndFollowsItsSeed) {
  TrainOptions a = options("a"), b = options("b"), c = options("c");
  a.epochs = b.epochs = c.epochs = 1;
  c.seed = 8;
  train(a);
  train(b);
  train(c);
  expect_same_run(a, b);
  EXPECT_NE(log_of(a), log_of(c));
}

TEST_F(Loop, KeepsAnOlderRun) {
  TrainOptions o = options("run");
  o.epochs = 1;
  train(o);
  const std::string model = read_file(model_path(o.out));
  EXPECT_NE(error_of(o).find("holds a run already"), std::string::npos);
  TrainOptions wrong = o;
  wrong.force = true;
  wrong.data.path = (root_ / "nowhere").string();
  EXPECT_NE(error_of(wrong).find("not a folder"), std::string::npos);
  EXPECT_EQ(read_file(model_path(o.out)), model);
  o.force = true;
  o.seed = 8;
  train(o);
  EXPECT_NE(read_file(model_path(o.out)), model);
}

TEST_F(Loop, RefusesToResumeSomethingElse) {
  TrainOptions o = options("run");
  EXPECT_THROW(resume_options(o.out), Error);
  o.resume = true;
  EXPECT_NE(error_of(o).find("no run to resume"), std::string::npos);
  o.resume = false;
  o.epochs = 1;
  train(o);
  TrainOptions other = resume_options(o.out);
  other.lr = 1.0;
  EXPECT_NE(error_of(other).find("has lr"), std::string::npos);
  write_part("train", "train", 40, 80);
  EXPECT_NE(error_of(resume_options(o.out)).find("not the data"), std::string::npos);
}

TEST_F(Loop, FineTunesWithAnotherHead) {
  TrainOptions o = options("run");
  o.epochs = 1;
  train(o);
  // Only the digits 0 and 1 now.
  IdxArray images = read_idx(o.data.path + "/train-images-idx3-ubyte", 3),
           labels = read_idx(o.data.path + "/train-labels-idx1-ubyte", 1);
  IdxArray few_images{{8, 28, 28}, {}}, few_labels{{8}, {}};
  for (std::int64_t i = 0; i < 40; ++i) {
    if (labels.values[static_cast<std::size_t>(i)] > 1) continue;
    few_images.values.insert(few_images.values.end(), images.values.begin() + i * 784,
                             images.values.begin() + (i + 1) * 784);
    few_labels.values.push_back(labels.values[static_cast<std::size_t>(i)]);
  }
  for (const char* part : {"train", "t10k"}) {
    write_idx(root_ / "data" / fmt::format("{}-images-idx3-ubyte", part), few_images);
    write_idx(root_ / "data" / fmt::format("{}-labels-idx1-ubyte", part), few_labels);
  }
  TrainOptions fine = options("fine", "");
  fine.init = model_path(o.out);
  fine.epochs = 1;
  fine.lr = fine.min_lr = 0.0;  // what it starts from is what it ends with
  std::string notes;
  train(fine, {{}, [&notes](const std::string& line) { notes += line + "\n"; }, {}, {}});
  EXPECT_NE(notes.find("the head starts at random, 2 classes instead of 10: head.weight, head.bias"),
            std::string::npos)
      << notes;
  const auto before = tensors_of(model_path(o.out)), after = tensors_of(model_path(fine.out));
  for (const auto& [name, values] : before)
    EXPECT_EQ(values == after.at(name), name.find("head") != 0) << name;
  EXPECT_EQ(after.at("head.bias").size(), 2u);
}

TEST_F(Loop, StopsWhenTheLossIsNotFinite) {
  TrainOptions o = options("run");
  o.lr = 1e3;
  o.clip = 0.0;
  o.warmup_epochs = 0;
  o.weight_decay = 1e3;
  o.epochs = 30;
  EXPECT_NE(error_of(o).find("the loss is"), std::string::npos);
}

TEST(BundledDigits, KnowsPicturesItNeverSaw) {
  const LoadedModel loaded = load_model(LOCANT_SOURCE_DIR "/examples/digits/digits.safetensors");
  const Datasets data = open_datasets({.path = LOCANT_TEST_DATA "/digits500"}, loaded.preprocess, {});
  EXPECT_EQ(loaded.classes, data.classes);
  // 988 of all 1,000 held-out pictures are right, 96 of the 100 that are here.
  EXPECT_GE(evaluate(*loaded.model, *data.val, loaded.preprocess, 50).accuracy, 0.95);
}

TEST(TrainOptions, SurviveJson) {
  TrainOptions o;
  o.data.path = "a \"b\"";
  o.config = kVit;
  o.lr = 0.1 + 0.2;
  o.seed = ~std::uint64_t{0};
  o.threads = 3;
  o.augment.rotate = 1.0 / 3.0;
  const TrainOptions back = TrainOptions::from_json(o.to_json());
  EXPECT_EQ(back.to_json(), o.to_json());
  EXPECT_EQ(back.lr, o.lr);
  EXPECT_EQ(back.seed, o.seed);
  EXPECT_THROW(TrainOptions::from_json("{\"epoch\":1}"), Error);
  EXPECT_THROW(TrainOptions::from_json("{\"seed\":\"x\"}"), Error);
}

TEST(TrainOptions, AreChecked) {
  TrainOptions good;
  good.out = "x";
  good.model = "swin_digits";
  good.check();
  const auto refuses = [&good](auto change) {
    TrainOptions bad = good;
    change(bad);
    EXPECT_THROW(bad.check(), Error);
  };
  refuses([](TrainOptions& o) { o.out.clear(); });
  refuses([](TrainOptions& o) { o.model.clear(); });
  refuses([](TrainOptions& o) { o.epochs = 0; });
  refuses([](TrainOptions& o) { o.batch = 0; });
  refuses([](TrainOptions& o) { o.lr = NAN; });
  refuses([](TrainOptions& o) { o.min_lr = 1.0; });
  refuses([](TrainOptions& o) { o.ema = 1.0; });
  refuses([](TrainOptions& o) { o.label_smoothing = 1.0; });
  refuses([](TrainOptions& o) { o.augment.shift = -1.0; });
}

}  // namespace loop_test
}  // namespace locant
