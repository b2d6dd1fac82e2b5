// The oracle files of the small models, forward and backward. The large ones are for the command line; all of
// them run here when LOCANT_ALL_ORACLES is set.
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

// Every layer of the official repositories.
std::vector<std::string> layer_files() {
  std::vector<std::string> out;
  for (const auto& folder : std::filesystem::directory_iterator(data("official")))
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      std::ifstream in(entry.path());
      const auto json = nlohmann::json::parse(in, nullptr, false);
      if (json.contains("build") && json["build"]["kind"] == "layer")
        out.push_back("official/" + folder.path().filename().string() + "/" +
                      entry.path().filename().string());
    }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> files() {
  std::vector<std::string> out = {
      "zoo/transformers_dinov2_84x126.json",
      "zoo/transformers_dinov2_swiglu_112x70.json",
      "zoo/transformers_dinov2_with_registers_70x112.json",
      "zoo/timm_vit_giant_patch14_dinov2_2_blocks.json",
      "zoo/vit_pytorch_simple_vit.json",
      "zoo/timm_vit_tiny_patch16_224_at_256x320.json",
      "zoo/timm_deit_tiny_distilled_patch16_224.json",
      "zoo/timm_tiny_vit_5m_224.json",
      "zoo/sam_encoder_rel_pos_interpolated.json",
      "zoo/sam_encoder_rel_pos_interpolated_low_variance.json",
      "zoo/sam_prompt_points_box_mask.json",
      "zoo/sam_prompt_points_only.json",
      "zoo/sam_mask_decoder_single.json",
      "zoo/sam_mask_decoder_multimask.json",
      "zoo/sam_mask_decoder_multimask_low_variance.json",
      "official/deepseek_ocr/sam_small_192.json",
      "official/deepseek_ocr/sam_small_192_input_160_resized_abs_and_rel_pos.json",
      "official/swin/swin_small_ape_56.json",
      "official/swin/swinv2_small_pretrained_window_64.json",
  };
  if (std::getenv("LOCANT_ALL_ORACLES") == nullptr) return out;
  out.clear();
  for (const char* folder : {"zoo", "official/swin", "official/mobilesam", "official/deepseek_ocr"})
    for (const auto& entry : std::filesystem::directory_iterator(data(folder))) {
      std::ifstream in(entry.path());
      const auto json = nlohmann::json::parse(in, nullptr, false);
      if (json.contains("build")) out.push_back(std::string(folder) + "/" + entry.path().filename().string());
    }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Files, Oracle, ::testing::ValuesIn(files()),
                         [](const auto& info) { return std::filesystem::path(info.param).stem().string(); });

INSTANTIATE_TEST_SUITE_P(Layers, Oracle, ::testing::ValuesIn(layer_files()), [](const auto& info) {
  std::string name = info.param.substr(9);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == '.' || c == '-'; }, '_');
  return name;
});

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
