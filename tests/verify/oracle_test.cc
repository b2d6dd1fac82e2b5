// The oracle files of layers and small models, forward and backward.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "verify/verify.h"

namespace locant {
namespace oracle_test {

std::string data(const std::string& name) { return std::string(LOCANT_TEST_DATA) + "/oracle/" + name; }

class Oracle : public ::testing::TestWithParam<std::string> {};

TEST_P(Oracle, AgreesForwardAndBackward) {
  const VerifyReport report = verify_oracle(data(GetParam()));
  EXPECT_TRUE(report.ok()) << report.text();
  for (const char* kind : {"output", "gradient", "inference"}) EXPECT_NE(report.worst(kind), nullptr) << kind;
  std::ifstream in(data(GetParam()));
  EXPECT_EQ(report.worst("stage") != nullptr, !nlohmann::json::parse(in)["stages"].empty());
}

// What runs here; the command line verifies the others in a step of their own, and all run here when
// LOCANT_ALL_ORACLES is set. The sanitizers' plain loops are a hundred times as slow.
struct Limits {
  std::int64_t parameters, input;  // numbers
};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif
constexpr Limits kLimits = kSanitized ? Limits{3'000'000, 200'000} : Limits{5'000'000, 1'100'000};

std::int64_t numbers_of(const nlohmann::json& tensor) {
  std::int64_t out = 1;
  for (const auto& extent : tensor["shape"]) out *= extent.get<std::int64_t>();
  return out;
}

bool is_small(const nlohmann::json& file) {
  std::int64_t parameters = 0;
  for (const auto& parameter : file["parameters"]) parameters += numbers_of(parameter);
  return parameters <= kLimits.parameters && numbers_of(file["input"][0]) <= kLimits.input;
}

/// Oracle files of a kind, by their paths below the folder of all: models that are small enough, or layers.
std::vector<std::string> files_of(const char* kind) {
  const bool all = std::getenv("LOCANT_ALL_ORACLES") != nullptr || std::string(kind) == "layer";
  std::vector<std::string> out;
  for (const char* folder : {"zoo", "official"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(data(folder))) {
      if (entry.path().extension() != ".json") continue;
      std::ifstream in(entry.path());
      const auto json = nlohmann::json::parse(in, nullptr, false);
      if (!json.contains("build") || json["build"]["kind"] != kind || !(all || is_small(json))) continue;
      out.push_back(std::filesystem::relative(entry.path(), data("")).string());
    }
  std::sort(out.begin(), out.end());
  return out;
}

std::string name_of(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = std::filesystem::path(info.param).replace_extension().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, Oracle, ::testing::ValuesIn(files_of("model")), name_of);
INSTANTIATE_TEST_SUITE_P(Layers, Oracle, ::testing::ValuesIn(files_of("layer")), name_of);

TEST(VerifyReport, JsonSaysWhatTheTextSays) {
  const VerifyReport report = verify_file(data("zoo/vit_pytorch_simple_vit.json"));
  const auto json = nlohmann::json::parse(report.json());
  EXPECT_EQ(json["family"], "simple_vit");
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["entries"].size(), report.entries.size());
  EXPECT_EQ(json["worst"]["stage"]["name"], report.worst("stage")->name);
  EXPECT_GT(json["ms"]["backward"].get<double>(), 0.0);
  EXPECT_NE(report.text().find("stage transformer"), std::string::npos) << report.text();
  EXPECT_NE(report.text(true).find("gradient linear_head.weight"), std::string::npos);
}

TEST(VerifyReport, BitsTellTensorsApart) {
  VerifyOptions options;
  options.bits = true;
  const VerifyReport first = verify_oracle(data("zoo/vit_pytorch_simple_vit.json"), options);
  const VerifyReport again = verify_oracle(data("zoo/vit_pytorch_simple_vit.json"), options);
  std::set<std::string> seen;
  for (std::size_t i = 0; i < first.entries.size(); ++i) {
    EXPECT_EQ(first.entries[i].bits.size(), 32u);
    EXPECT_EQ(first.entries[i].bits, again.entries[i].bits) << first.entries[i].name;
    seen.insert(first.entries[i].bits);
  }
  EXPECT_GT(seen.size(), first.entries.size() / 2);
  EXPECT_EQ(verify_oracle(data("zoo/vit_pytorch_simple_vit.json")).entries[0].bits, "");
}

TEST(VerifyReport, PassesAreOptional) {
  VerifyOptions options;
  options.gradients = options.inference = false;
  const VerifyReport report = verify_oracle(data("zoo/vit_pytorch_simple_vit.json"), options);
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.worst("gradient"), nullptr);
  EXPECT_EQ(report.worst("inference"), nullptr);
}

}  // namespace oracle_test
}  // namespace locant
