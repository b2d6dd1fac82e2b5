// Verification must be able to fail, and say where.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "verify/verify.h"

namespace locant {
namespace failure_test {

using Json = nlohmann::ordered_json;

std::string data(const std::string& name) { return std::string(LOCANT_TEST_DATA) + "/oracle/" + name; }

/// A changed copy of an oracle file, gone at the end of the test.
class Changed {
 public:
  Changed(const std::string& name, const std::function<void(Json&)>& change) {
    std::ifstream in(data(name));
    Json json = Json::parse(in);
    change(json);
    write(json.dump());
  }
  explicit Changed(const std::string& text) { write(text); }
  ~Changed() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  void write(const std::string& text) {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = ::testing::TempDir() + "locant_oracle_" + test->name() + ".json";
    std::ofstream(path_) << text;
  }
  std::string path_;
};

VerifyReport verify_changed(const std::string& name, const std::function<void(Json&)>& change) {
  const Changed changed(name, change);
  return verify_oracle(changed.path());
}

VerifyReport verify_forward(const std::string& name, const std::function<void(Json&)>& change) {
  const Changed changed(name, change);
  VerifyOptions options;
  options.gradients = options.inference = false;
  return verify_oracle(changed.path(), options);
}

std::string error_of(const std::string& path) {
  try {
    verify_file(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string first_failure(const VerifyReport& report) {
  const VerifyEntry* entry = report.first_failure();
  return entry == nullptr ? "none" : entry->kind + " " + entry->name;
}

constexpr const char* kSimple = "zoo/vit_pytorch_simple_vit.json";
constexpr const char* kRegisters = "zoo/transformers_dinov2_with_registers_70x112.json";

TEST(VerifyFailure, WrongPatchOrderShowsAtThePatchEmbedding) {
  const VerifyReport report = verify_changed(
      kSimple, [](Json& json) { json["build"]["kwargs"]["patch_order"] = "channel_row_column"; });
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(first_failure(report), "stage to_patch_embedding");
  EXPECT_NE(report.text().find("stage to_patch_embedding"), std::string::npos);
  EXPECT_EQ(Json::parse(report.json())["ok"], false);
}

TEST(VerifyFailure, WrongTemperatureShowsBehindThePatchEmbedding) {
  const VerifyReport report =
      verify_forward(kSimple, [](Json& json) { json["build"]["kwargs"]["temperature"] = 9900; });
  EXPECT_EQ(first_failure(report), "stage transformer");
}

TEST(VerifyFailure, WrongEpsilonShowsAtTheFirstBlock) {
  const VerifyReport report = verify_forward("zoo/timm_vit_tiny_patch16_224_low_variance.json",
                                             [](Json& json) { json["build"]["kwargs"]["norm_eps"] = 1e-5; });
  EXPECT_EQ(first_failure(report), "stage blocks.0");
  EXPECT_GT(report.worst("output")->error, 0.1);
}

TEST(VerifyFailure, WrongResizeRuleShowsAtTheTable) {
  const VerifyReport report =
      verify_forward(kRegisters, [](Json& json) { json["build"]["kwargs"]["pos_resize"] = "bicubic"; });
  EXPECT_EQ(first_failure(report), "stage embeddings");
  for (const VerifyEntry& entry : report.entries)
    if (entry.name == "resized position_embeddings") {
      EXPECT_FALSE(entry.ok());
    }
}

TEST(VerifyFailure, WrongHeadsOfAStageShowInItsBlocks) {
  const VerifyReport report = verify_forward("official/swin/swin_small_ape_56.json", [](Json& json) {
    json["build"]["kwargs"]["heads"] = {4, 2};
    for (Json& parameter : json["parameters"]) {
      const std::string name = parameter["name"];
      if (name.find("relative_position_bias_table") == std::string::npos) continue;
      parameter["shape"][1] = name.rfind("layers.0", 0) == 0 ? 4 : 2;
    }
  });
  EXPECT_EQ(first_failure(report), "stage layers.0.blocks.1");
}

TEST(VerifyFailure, WrongHeadCountFailsGradientsToo) {
  const VerifyReport report =
      verify_changed(kRegisters, [](Json& json) { json["build"]["kwargs"]["heads"] = 4; });
  EXPECT_EQ(first_failure(report), "stage encoder.layer.0");
  EXPECT_FALSE(report.worst("gradient")->ok());
  EXPECT_FALSE(report.worst("inference")->ok());
}

TEST(VerifyFailure, OneWrongGradientIsFound) {
  const VerifyReport report = verify_changed(kSimple, [](Json& json) {
    for (Json& gradient : json["gradients"])
      if (gradient["name"] == "transformer.norm.weight")
        gradient["norm"] = gradient["norm"].get<double>() * 1.001;
  });
  EXPECT_EQ(first_failure(report), "gradient transformer.norm.weight");
}

TEST(VerifyFailure, GradientThatShouldBeZeroIsFound) {
  const VerifyReport report = verify_changed(kSimple, [](Json& json) {
    json["zero_gradients"].push_back("linear_head.bias");
    json["zero_gradients"].push_back("no.such.bias");
  });
  EXPECT_EQ(first_failure(report), "zero gradient linear_head.bias");
  EXPECT_EQ(report.worst("zero gradient")->problem.empty(), false);
}

TEST(VerifyFailure, MissingStagesAndParametersAreNamed) {
  const VerifyReport stage = verify_forward(kSimple, [](Json& json) {
    Json extra = json["stages"][0];
    extra["path"] = "no.such.stage";
    json["stages"].push_back(extra);
  });
  EXPECT_EQ(first_failure(stage), "stage no.such.stage");

  const VerifyReport parameter = verify_changed(kSimple, [](Json& json) {
    json["parameters"][0]["name"] = "no.such.weight";
    json["parameters"][1]["shape"] = {2, 192};
  });
  EXPECT_FALSE(parameter.ok());
  ASSERT_EQ(parameter.problems.size(), 3u);
  EXPECT_NE(parameter.problems[0].find("missing in the file: to_patch_embedding.1.weight"),
            std::string::npos);
  EXPECT_NE(parameter.problems[1].find("to_patch_embedding.1.bias is (2, 192) in the file, (384) here"),
            std::string::npos)
      << parameter.problems[1];
  EXPECT_NE(parameter.problems[2].find("the model has no no.such.weight"), std::string::npos);
  EXPECT_NE(parameter.text().find("no.such.weight"), std::string::npos);
}

TEST(VerifyFailure, OutputOfAnotherShapeIsAFailure) {
  const VerifyReport report =
      verify_forward(kRegisters, [](Json& json) { json["build"]["kwargs"]["pool"] = "cls"; });
  EXPECT_EQ(first_failure(report), "output last_hidden_state");
}

TEST(VerifyFailure, UnknownFamiliesAndLayersAreErrors) {
  const auto with = [](const char* key, const char* value) {
    const Changed changed(kSimple, [&](Json& json) { json["build"][key] = value; });
    return error_of(changed.path());
  };
  const std::string family = with("family", "perceiver");
  EXPECT_NE(family.find("unsupported family \"perceiver\"; there are swin, "), std::string::npos) << family;
  EXPECT_NE(with("kind", "block").find("\"model\" or \"layer\" was expected"), std::string::npos);
  const auto layer = [](const char* key, const Json& value) {
    const Changed changed("official/shaw/shaw_kv_L9_K2.json", [&](Json& json) {
      (std::string(key) == "layer" ? json["build"] : json["build"]["args"])[key] = value;
    });
    return error_of(changed.path());
  };
  EXPECT_NE(layer("layer", "perceiver").find("unsupported layer \"perceiver\"; there are peg"),
            std::string::npos);
  EXPECT_NE(layer("layer", "perceiver").find("shaw_attention"), std::string::npos);
  EXPECT_NE(layer("no_such_option", 1).find("does not know the options no_such_option"), std::string::npos);
  EXPECT_NE(layer("heads", "four").find("the layer's option \"heads\""), std::string::npos);
}

TEST(VerifyFailure, ImpossibleSizesOfLayersAreErrors) {
  const auto error = [](const char* file, const char* key, const Json& value) {
    const Changed changed(std::string("official/") + file,
                          [&](Json& json) { json["build"]["args"][key] = value; });
    return error_of(changed.path());
  };
  const char* kMasked = "video_swin/window_attention_mask_2x2x2.json";
  EXPECT_NE(error(kMasked, "window", {2, 0, 2}), "no error");
  EXPECT_NE(error(kMasked, "mask_grid", {1 << 15, 1 << 15, 1}).find("for the mask"), std::string::npos);
  EXPECT_NE(error("conformer/conv_module_T10.json", "dim", 0).find("groups do not divide 0 channels"),
            std::string::npos);
  EXPECT_NE(error("shaw/shaw_kv_L9_K2.json", "dim", std::int64_t{1} << 62).find("\"dim\" is 4611"),
            std::string::npos);
  EXPECT_NE(error("shaw/shaw_kv_L9_K2.json", "dim", 1 << 20).find("numbers can be made"), std::string::npos);
  EXPECT_NE(error("convit/gpsa_h4_d16_7x7.json", "height", 30).find("30 x 7 tokens"), std::string::npos);
  const Changed none("official/shaw/shaw_kv_L9_K2.json", [](Json& json) { json["input"] = Json::array(); });
  EXPECT_NE(error_of(none.path()).find("0 inputs"), std::string::npos);
  EXPECT_NE(error("swin/v2_window_attention_4x6.json", "window", {4, 32768}).find("32768"),
            std::string::npos);
}

// A file of outputs alone: no stages, no gradients, nothing about their errors.
void keep_outputs(Json& json) {
  for (const char* key : {"stages", "dense_stages", "gradients", "zero_gradients", "loss", "float32_error"})
    json.erase(key);
}

TEST(VerifyOutputsOnly, ModelsAndLayersAgree) {
  for (const char* name : {kSimple, "official/shaw/shaw_kv_L9_K2.json", "zoo/sam_prompt_points_only.json"}) {
    const VerifyReport report = verify_changed(name, keep_outputs);
    EXPECT_TRUE(report.ok()) << report.text();
    EXPECT_EQ(report.note, "the file holds outputs only");
    EXPECT_NE(report.text().find(report.note), std::string::npos);
    EXPECT_EQ(Json::parse(report.json())["note"], report.note);
    EXPECT_EQ(report.worst("gradient"), nullptr);
    EXPECT_EQ(report.worst("stage"), nullptr);
    EXPECT_NE(report.worst("inference"), nullptr);
    EXPECT_EQ(report.backward_ms, 0.0);
  }
}

TEST(VerifyOutputsOnly, AWrongOutputIsFound) {
  const VerifyReport report = verify_changed(kSimple, [](Json& json) {
    keep_outputs(json);
    json["output"]["samples"][3][1] = json["output"]["samples"][3][1].get<double>() + 0.01;
  });
  EXPECT_EQ(first_failure(report), "output output");
}

TEST(VerifyOutputsOnly, WhatCannotBeBuiltGetsASentence) {
  const auto without = [](const char* key) {
    const Changed changed(kSimple, [&](Json& json) { json.erase(key); });
    return error_of(changed.path());
  };
  for (const char* key : {"input", "parameters", "output"})
    EXPECT_NE(without(key).find(fmt::format("no key \"{}\"", key)), std::string::npos) << without(key);
  EXPECT_NE(without("gradients").find("\"gradients\" is missing"), std::string::npos);
  EXPECT_NE(error_of(data("official/irpe/irpe_buckets.json")).find("no key \"build\" says what to construct"),
            std::string::npos);
}

TEST(VerifyFailure, DamagedFilesAreErrors) {
  EXPECT_NE(error_of(data("zoo/nothing.json")).find("[verify]"), std::string::npos);
  for (const char* text :
       {"", "[1, 2]", "{\"build\": {", "{\"build\": 3}", "{\"build\": {\"kind\": \"model\"}}", "{}"}) {
    const Changed changed{std::string(text)};
    EXPECT_NE(error_of(changed.path()).find("[verify]"), std::string::npos) << text;
  }
  const std::vector<std::function<void(Json&)>> changes = {
      [](Json& json) { json["stages"][0]["samples"][0][0] = 1 << 30; },
      [](Json& json) { json["stages"][0]["samples"][0][0] = -1; },
      [](Json& json) { json["stages"][0]["norm"] = "much"; },
      [](Json& json) {
        json["output"]["shape"] = {2, -10};
      },
      [](Json& json) {
        json["input"][0]["shape"] = {2, 3};
      },
      [](Json& json) {
        json["input"][0]["shape"] = {1 << 20, 1 << 20, 1 << 20, 1 << 20};
      },
      [](Json& json) { json["build"]["kwargs"]["naming"] = "nobody"; },
      [](Json& json) { json["build"]["kwargs"]["no_such_key"] = 1; },
      [](Json& json) { json.erase("gradients"); },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const Changed changed(kSimple, changes[i]);
    EXPECT_THROW(verify_file(changed.path()), Error) << "change " << i;
  }
}

}  // namespace failure_test
}  // namespace locant
