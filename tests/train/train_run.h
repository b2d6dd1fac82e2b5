#pragma once

// Training runs on some of the 500 digits, in folders of their own, and what they leave.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/tensor_file.h"
#include "train/idx.h"
#include "train/state.h"
#include "train/train.h"

namespace locant::testing {

namespace fs = std::filesystem;
using Json = nlohmann::json;

inline constexpr const char* kSwin =
    R"({"family":"swin","img_size":28,"patch_size":7,"in_chans":1,"dim":32,"depths":[2],"heads":[2],"window":2})";
inline constexpr const char* kVit =
    R"({"family":"vit","img_size":28,"patch_size":7,"in_chans":1,"dim":32,"depth":2,"heads":2})";

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_idx(const fs::path& path, const IdxArray& array) {
  std::ofstream file(path, std::ios::binary);
  file << '\0' << '\0' << '\x08' << static_cast<char>(array.extents.size());
  for (const std::int64_t extent : array.extents)
    for (int shift = 24; shift >= 0; shift -= 8) file << static_cast<char>(extent >> shift);
  file.write(reinterpret_cast<const char*>(array.values.data()),
             static_cast<std::streamsize>(array.values.size()));
}

/// Forty digits to train on, and the same to validate on.
class TrainRun : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() /
            fmt::format("locant_train_{}_{}", ::getpid(),
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
    o.augment = {.shift = 2.0, .rotate = 10.0, .zoom = 0.1};
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
      if (entry.at("kind") != "skip") {
        EXPECT_GE(entry.at("seconds").get<double>(), 0.0);
      }
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

}  // namespace locant::testing
