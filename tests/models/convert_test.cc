// Checkpoints out again: names and config.json as the official fixtures have them, the same answers, and
// refusals that name the field.
#include "models/convert.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/tensor_file.h"
#include "models/registry.h"

namespace locant {
namespace convert_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

fs::path fixture(const std::string& name) { return fs::path(LOCANT_TEST_DATA) / "hub" / name / "model"; }

Json read(const fs::path& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

class Convert : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    work_ = fs::temp_directory_path() / ("locant_convert_" + name + "_" + std::to_string(::getpid()));
    fs::create_directories(work_);
  }
  void TearDown() override { fs::remove_all(work_); }

  Converted to(const std::string& target, const std::string& name, const std::string& output = "out") {
    ConvertOptions options;
    options.to = target;
    return convert_model(fixture(name).string(), (work_ / output).string(), options);
  }
  std::string refusal(const std::string& target, const std::string& name) {
    try {
      to(target, name, "refused");
    } catch (const Error& error) {
      EXPECT_TRUE(!fs::exists(work_ / "refused"));
      return error.what();
    }
    return "";
  }
  fs::path work_;
};

/// Without counts of batches, and the pooler: no answer here needs them.
std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> out;
  const auto file = open_tensor_file((folder / "model.safetensors").string());
  for (const auto& tensor : file->tensors())
    if (!tensor.name.ends_with(".num_batches_tracked") && !tensor.name.starts_with("pooler."))
      out.insert(tensor.name);
  return out;
}

Tensor answer(const std::string& path) {
  const LoadedModel loaded = load_model(path);
  const Json config = Json::parse(loaded.model->config());
  Tensor x(Shape({1, config["in_chans"].get<std::int64_t>(), config["img_size"][0].get<std::int64_t>(),
                  config["img_size"][1].get<std::int64_t>()}));
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  if (loaded.model->num_classes() == 0) return loaded.model->features(Context{}, Var(x)).cls.value();
  return loaded.model->forward(Context{}, Var(x)).value();
}

void expect_same_answer(const std::string& one, const std::string& other) {
  const Tensor a = answer(one), b = answer(other);
  ASSERT_EQ(a.numel(), b.numel());
  for (std::int64_t i = 0; i < a.numel(); ++i) EXPECT_EQ(a[i], b[i]);
}

/// Keys that say nothing of the model.
bool is_beside(const std::string& key) {
  static const std::set<std::string> kBeside = {"transformers_version", "out_features", "out_indices",
                                                "stage_names", "tie_word_embeddings"};
  return kBeside.count(key) > 0;
}

TEST_F(Convert, TransformersFoldersComeBack) {
  for (const char* name :
       {"vit_5_labels", "vit_12x20", "vit_multi_label", "vit_no_qkv_bias", "deit_with_teacher",
        "deit_two_tokens_one_head", "deit_headless", "dinov2_classifier", "dinov2_swiglu",
        "dinov2_registers_classifier", "dinov2_registers_headless", "swin_classifier", "swin_absolute",
        "swin_epsilon", "swin_v2_classifier", "swin_v2_headless_pretrained_windows"}) {
    SCOPED_TRACE(name);
    const Converted done = to("transformers", name, name);
    EXPECT_EQ(names_in(work_ / name), names_in(fixture(name)));
    const Json got = read(work_ / name / "config.json"), want = read(fixture(name) / "config.json");
    for (const auto& [key, value] : want.items()) {
      if (is_beside(key) || (key == "label2id" && !got.contains(key)) ||
          (key == "id2label" && !got.contains(key)))
        continue;
      if (key == "pretrained_window_sizes") continue;  // the class fills it up to four stages
      EXPECT_EQ(got.value(key, Json("absent")), value) << key;
    }
    EXPECT_EQ(done.architecture, want["architectures"][0].get<std::string>());
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
}

TEST_F(Convert, TimmFoldersComeBack) {
  for (const char* name :
       {"timm_vit", "timm_vit_48", "timm_vit_grey", "timm_vit_headless", "timm_vit_heads",
        "timm_vit_mean_pool", "timm_vit_mean_pool_norm", "timm_deit3", "timm_deit_distilled", "timm_dinov2",
        "timm_dinov2_registers", "timm_swin", "timm_swin_v2", "timm_convit", "timm_tiny_vit", "timm_samvit",
        "timm_samvit_classifier"}) {
    SCOPED_TRACE(name);
    to("timm", name, name);
    EXPECT_EQ(names_in(work_ / name), names_in(fixture(name)));
    const Json got = read(work_ / name / "config.json"), want = read(fixture(name) / "config.json");
    for (const auto& [key, value] : want["model_args"].items())
      EXPECT_EQ(got["model_args"].value(key, Json("absent")), value) << key;
    for (const char* key : {"num_classes", "num_features", "global_pool"})
      EXPECT_EQ(got[key], want[key]) << key;
    for (const char* key : {"first_conv", "classifier", "mean", "std", "interpolation"})
      EXPECT_EQ(got["pretrained_cfg"][key], want["pretrained_cfg"][key]) << key;
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
}

TEST_F(Convert, SaysThatItsTensorsAreOfPyTorch) {
  to("transformers", "vit_5_labels");
  EXPECT_EQ(open_tensor_file((work_ / "out" / "model.safetensors").string())->metadata().at("format"), "pt");
}

TEST_F(Convert, OneLibrarysModelInAnothersForm) {
  for (const char* name : {"timm_vit", "timm_swin", "timm_swin_v2", "timm_deit_distilled"}) {
    SCOPED_TRACE(name);
    to("transformers", name, name);
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
  for (const char* name : {"swin_classifier", "swin_v2_classifier"}) {
    SCOPED_TRACE(name);
    to("timm", name, name);
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
}

TEST_F(Convert, RefusesByName) {
  const auto names = [&](const char* target, const char* name, const char* field) {
    const std::string text = refusal(target, name);
    EXPECT_NE(text.find(field), std::string::npos) << name << " to " << target << ": " << text;
  };
  names("timm", "vit_5_labels", "norm_eps");
  names("timm", "vit_epsilon", "norm_eps");
  names("timm", "swin_epsilon", "norm_eps");
  names("timm", "swin_absolute", "absolute_pos");
  names("timm", "dinov2_classifier", "head_input");
  names("timm", "dinov2_registers_headless", "pos_embed_prefix");
  names("transformers", "timm_dinov2_registers", "pos_embed_prefix");
  names("transformers", "timm_vit_mean_pool", "pool");
  names("transformers", "timm_vit_mean_pool_norm", "pool");
  names("transformers", "timm_deit3", "pos_embed_prefix");
  names("transformers", "timm_dinov2", "mlp_hidden");
  names("transformers", "timm_convit", "convit");
}

TEST_F(Convert, LeavesWhatIsThere) {
  to("timm", "timm_vit");
  EXPECT_THROW(to("timm", "timm_vit"), Error);
  ConvertOptions options;
  options.to = "timm";
  options.force = true;
  const std::string folder = (work_ / "out").string();
  EXPECT_NO_THROW(convert_model(fixture("timm_vit").string(), folder, options));
  EXPECT_THROW(convert_model(folder, folder, options), Error);
  EXPECT_THROW(convert_model(folder + "/model.safetensors", folder + "/", options), Error);
}

TEST_F(Convert, OurOwnFormKeepsAll) {
  to("locant", "timm_vit", "own.safetensors");
  const LoadedModel own = load_model((work_ / "own.safetensors").string());
  EXPECT_EQ(own.classes, load_model(fixture("timm_vit").string()).classes);
  expect_same_answer(fixture("timm_vit").string(), (work_ / "own.safetensors").string());
}

// Families without a target of their own: timm's name of a registered variant says what its constructor is
// told, and classes, channels and pictures are said beside it.
TEST_F(Convert, RegisteredVariantsByTimmsName) {
  RandomSource numbers(7);
  const auto model =
      make_model("pvt_v2", merge_config(find_model("pvt_v2_b0").config, R"({"num_classes":5})"),
                 Weights(numbers, WeightMode::train));
  const std::string input = (work_ / "tuned.safetensors").string(), output = (work_ / "timm").string();
  save_model(input, *model, {"pvt_v2_b0", {}, {"a", "b", "c", "d", "e"}, {}});
  ConvertOptions options;
  options.to = "timm";
  EXPECT_EQ(convert_model(input, output, options).architecture, "pvt_v2_b0");
  const Json config = read(fs::path(output) / "config.json");
  EXPECT_EQ(config["architecture"], "pvt_v2_b0");
  EXPECT_EQ(config["model_args"], Json({{"num_classes", 5}}));
  EXPECT_EQ(config["num_features"], 256);
  EXPECT_EQ(config["label_names"], Json({"a", "b", "c", "d", "e"}));
  EXPECT_EQ(config["pretrained_cfg"]["first_conv"], "patch_embed.proj");
  EXPECT_EQ(config["pretrained_cfg"]["classifier"], "head");
  const auto file = open_tensor_file((fs::path(output) / "model.safetensors").string());
  EXPECT_NE(file->find("stages.0.blocks.0.attn.sr.weight"), nullptr);
  expect_same_answer(input, output);
}

TEST_F(Convert, WhatNoNameOfTimmsSaysIsRefused) {
  RandomSource numbers(7);
  const auto model =
      make_model("pvt_v2", merge_config(find_model("pvt_v2_b0").config, R"({"norm_eps":0.001})"),
                 Weights(numbers, WeightMode::train));
  const std::string input = (work_ / "odd.safetensors").string();
  save_model(input, *model, {"pvt_v2_b0", {}, {}, {}});
  ConvertOptions options;
  options.to = "timm";
  try {
    convert_model(input, (work_ / "timm").string(), options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("pvt_v2_b0 differs in norm_eps"), std::string::npos)
        << error.what();
  }
}

}  // namespace convert_test
}  // namespace locant
