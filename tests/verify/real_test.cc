// Oracles of published weights on photographs: what needs no download. CI compares the weights themselves
// through `locant verify --weights`.
#include <gtest/gtest.h>

#include <cstdio>

#include "core/error.h"
#include "models/load.h"
#include "models/registry.h"
#include "verify/verify.h"

namespace locant {
namespace real_test {

std::string data(const std::string& name) { return std::string(LOCANT_TEST_DATA) + "/" + name; }

constexpr const char* kChelsea = "oracle/real/dinov2_vits14_chelsea_224x224.json";

TEST(RealOracle, OtherWeightsAgreeOnTheInputOnly) {
  RandomSource source(1);
  const std::string config = R"({"dim":48,"depth":6,"heads":6})";
  const auto model = make_model("dinov2", config, Weights(source, WeightMode::train));
  const std::string path = ::testing::TempDir() + "locant_other_weights.safetensors";
  SaveOptions options;
  options.name = "dinov2";
  save_model(path, *model, options);
  VerifyOptions verify;
  verify.weights = path;
  verify.photos = data("photos");
  const VerifyReport report = verify_file(data(kChelsea), verify);
  std::remove(path.c_str());
  EXPECT_FALSE(report.ok());
  EXPECT_TRUE(report.problems.empty()) << report.text();  // the resized picture has the right bytes
  ASSERT_EQ(report.entries.size(), 6u);
  EXPECT_TRUE(report.entries[0].ok()) << report.text();
  for (std::size_t i = 1; i < 6; ++i) EXPECT_FALSE(report.entries[i].ok()) << report.text();
}

TEST(RealOracle, MissingWeightsOrPicturesAreErrors) {
  EXPECT_THROW(verify_file(data(kChelsea)), Error);
  VerifyOptions options;
  options.weights = data("no_such_file.safetensors");
  EXPECT_THROW(verify_file(data(kChelsea), options), Error);
}

}  // namespace real_test
}  // namespace locant
