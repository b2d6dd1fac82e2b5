#include "models/sam.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/safetensors.h"
#include "models/registry.h"
#include "models/renames.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sam_test {

using Json = nlohmann::json;
using Names = std::map<std::string, Shape>;
using testing::random_tensor;

Json read_json(const std::string& name) {
  std::ifstream in(std::string(LOCANT_TEST_DATA) + "/oracle/" + name);
  return Json::parse(in);
}

Shape shape_of(const Json& json) {
  const auto extents = json.get<std::vector<std::int64_t>>();
  return Shape(std::span<const std::int64_t>(extents));
}

/// Names of a variant's tensors in a naming.
Names names_of(const std::string& variant, const std::string& naming) {
  ShapeSource source;
  const Sam sam(find_sam_variant(variant), Weights(source, WeightMode::shapes), {});
  Names out;
  for (const Parameter& p : sam.parameters())
    for (const SourcePiece& piece : find_renames("sam", naming).to_library(p.name, p.shape))
      EXPECT_TRUE(out.emplace(piece.name, p.shape).second) << piece.name << " twice";
  return out;
}

TEST(Sam, TensorsAreThoseOfTheOfficialFilesAndOfTheHub) {
  for (const char* size : {"b", "l", "h"}) {
    const Json file = read_json(std::string("sam/names_vit_") + size + ".json");
    Names official, hub;
    for (const Json& tensor : file["tensors [official, hf, shape]"]) {
      official.emplace(tensor[0], shape_of(tensor[2]));
      hub.emplace(find_renames("sam", "transformers").normalised(tensor[1]), shape_of(tensor[2]));
    }
    EXPECT_EQ(names_of(std::string("sam_vit_") + size, "segment-anything"), official);
    EXPECT_EQ(names_of(std::string("sam_vit_") + size, "transformers"), hub);
  }
}

TEST(Sam, TensorsAreThoseOfMobileSam) {
  Names want;
  const Json file = read_json("official/mobilesam/names_mobile_sam_vit_t.json");
  for (const Json& tensor : file["tensors"])
    if (!find_renames("sam", "segment-anything").is_derived(tensor["name"]))
      want.emplace(tensor["name"], shape_of(tensor["shape"]));
  EXPECT_EQ(names_of("mobile_sam", "segment-anything"), want);
}

TEST(Sam, EncoderTensorsAreThoseOfDeepSeekOcr) {
  Names got, want;
  const Renames& renames = find_renames("sam_image_encoder", "deepseek-ai/DeepSeek-OCR");
  const std::string config = renames.configure(find_model("sam_image_encoder_vit_b").config);
  for (const Parameter& p : model_parameters("sam_image_encoder", config)) got.emplace(p.name, p.shape);
  const Json file = read_json("official/deepseek_ocr/names_sam_vit_b.json");
  for (const Json& tensor : file["tensors"]) want.emplace(tensor["name"], shape_of(tensor["shape"]));
  EXPECT_EQ(got, want);
}

class SamFile : public ::testing::Test {
 protected:
  SamFile()
      : path_(::testing::TempDir() + "/sam_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".safetensors") {
    RandomSource source(5);
    const Sam sam(find_sam_variant("mobile_sam"), Weights(source, WeightMode::train), {});
    for (const Parameter& p : sam.parameters()) tensors_.emplace_back(p.name, p.value.value());
  }
  ~SamFile() override { std::filesystem::remove(path_); }
  void write() { write_safetensors(path_, tensors_, {}); }
  std::string error_of(const LoadSamOptions& options = {}) {
    write();
    try {
      load_sam(path_, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  std::string path_;
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

TEST_F(SamFile, LoadsWholeAndWithoutItsEncoder) {
  tensors_.emplace_back("image_encoder.layers.1.blocks.0.attn.attention_bias_idxs", Tensor::zeros({49, 49}));
  write();
  const LoadedSam whole = load_sam(path_);
  EXPECT_EQ(whole.sam->variant().name, "mobile_sam");
  LoadSamOptions options;
  options.sam.parts = Sam::Parts::decoder;
  const LoadedSam part = load_sam(path_, options);
  EXPECT_FALSE(part.sam->has_image_encoder());
  EXPECT_THROW(part.sam->image_embedding({}, Var(Tensor::zeros({1, 3, 1024, 1024}))), Error);

  const Var embedding(random_tensor({1, 256, 64, 64}, 1));
  SamPrompts prompts;
  prompts.points = Tensor::from({2, 1, 2}, std::vector<float>{100, 200, 300, 50});
  prompts.labels = Tensor::from({2, 1}, std::vector<float>{1, 0});
  for (const bool several : {false, true}) {
    const SamMasks a = whole.sam->decode({}, embedding, whole.sam->encode_prompts({}, prompts), several);
    const SamMasks b = part.sam->decode({}, embedding, part.sam->encode_prompts({}, prompts), several);
    EXPECT_EQ(a.masks.shape(), (Shape{2, several ? 3 : 1, 256, 256}));
    EXPECT_EQ(a.iou.shape(), (Shape{2, several ? 3 : 1}));
    testing::expect_close(b.masks.value(), testing::to_double(a.masks.value()), 1e-6, "masks");
  }
}

TEST_F(SamFile, OtherImageSizes) {
  write();
  LoadSamOptions options;
  options.sam.image_size = 256;
  const LoadedSam small = load_sam(path_, options);
  ASSERT_FALSE(small.notes.empty());
  EXPECT_NE(small.notes.back().find("256x256"), std::string::npos);
  const Var embedding = small.sam->image_embedding({}, Var(random_tensor({1, 3, 256, 256}, 1)));
  EXPECT_EQ(embedding.shape(), small.sam->embedding_shape());
  EXPECT_EQ(embedding.shape(), (Shape{1, 256, 16, 16}));
  // No prompt at all.
  const SamMasks masks = small.sam->decode({}, embedding, small.sam->encode_prompts({}, {}), true);
  EXPECT_EQ(masks.masks.shape(), (Shape{1, 3, 64, 64}));
  options.sam.image_size = 250;
  EXPECT_THROW(load_sam(path_, options), Error);
}

TEST_F(SamFile, RefusesOthers) {
  EXPECT_NE(error_of({.model = "vit_b"}).find("does not fit sam_vit_b"), std::string::npos);
  EXPECT_NE(error_of({.model = "vit_x"}).find("no Segment Anything is called \"vit_x\""), std::string::npos);
  tensors_.pop_back();
  EXPECT_NE(error_of().find("1 tensor missing: " + std::string("mask_decoder")), std::string::npos);
  tensors_ = {{"blocks.0.weight", Tensor::zeros({2})}};
  EXPECT_NE(error_of().find("no tensor has a name of Segment Anything's"), std::string::npos);
}

TEST(Sam, PromptsThatDoNotFit) {
  ShapeSource none;
  RandomSource source(3);
  const SamPromptEncoder encoder(Weights(source, WeightMode::inference), {.rows = 4, .columns = 4});
  SamPrompts prompts;
  prompts.points = Tensor::zeros({1, 2, 2});
  EXPECT_THROW(encoder({}, prompts), Error);  // no labels
  prompts.labels = Tensor::full({1, 2}, 2.0f);
  EXPECT_THROW(encoder({}, prompts), Error);
  prompts.labels = Tensor::full({1, 3}, 1.0f);
  EXPECT_THROW(encoder({}, prompts), Error);
  prompts.labels = Tensor::full({1, 2}, 1.0f);
  prompts.boxes = Tensor::zeros({2, 4});
  EXPECT_THROW(encoder({}, prompts), Error);  // of two samples
  prompts.boxes = Tensor();
  prompts.mask = Var(Tensor::zeros({1, 1, 15, 16}));
  EXPECT_THROW(encoder({}, prompts), Error);
  prompts.mask = Var(Tensor::zeros({1, 1, 16, 16}));
  EXPECT_EQ(encoder({}, prompts).sparse.shape(), (Shape{1, 3, 256}));
}

}  // namespace sam_test
}  // namespace locant
