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
  Names out;
  for (const Parameter& p : model_parameters("sam", find_model(variant).config))
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
      hub.emplace(find_renames("sam", "transformers").spelled(tensor[1]), shape_of(tensor[2]));
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
    const auto sam = build_sam(find_model("mobile_sam").config, Weights(source, WeightMode::train));
    for (const Parameter& p : sam->parameters()) tensors_.emplace_back(p.name, p.value.value());
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
  EXPECT_EQ(whole.name, "mobile_sam");
  LoadSamOptions options;
  options.parts = Sam::Parts::decoder;
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

// Its image encoder is a family too, and fits a part of the file.
TEST_F(SamFile, IsToldWholeAmongAllModels) {
  write();
  const auto file = open_tensor_file(path_);
  const std::vector<ModelGuess> guesses = guess_model(*file);
  ASSERT_FALSE(guesses.empty());
  EXPECT_EQ(guesses[0].name, "mobile_sam");
  EXPECT_EQ(guesses[0].missing + guesses[0].unexpected, 0u);
  for (std::size_t i = 1; i < guesses.size(); ++i) EXPECT_NE(guesses[i].name, "mobile_sam");
  const LoadedModel loaded = load_model(path_);
  EXPECT_EQ(loaded.name, "mobile_sam");
  for (const std::string& note : loaded.notes) EXPECT_EQ(note.find("as well"), std::string::npos) << note;
}

TEST_F(SamFile, OtherImageSizes) {
  write();
  LoadSamOptions options;
  options.image_size = 256;
  const LoadedSam small = load_sam(path_, options);
  ASSERT_FALSE(small.notes.empty());
  EXPECT_NE(small.notes.back().find("256x256"), std::string::npos);
  const Var embedding = small.sam->image_embedding({}, Var(random_tensor({1, 3, 256, 256}, 1)));
  EXPECT_EQ(embedding.shape(), small.sam->embedding_shape());
  EXPECT_EQ(embedding.shape(), (Shape{1, 256, 16, 16}));
  // No prompt at all.
  const SamMasks masks = small.sam->decode({}, embedding, small.sam->encode_prompts({}, {}), true);
  EXPECT_EQ(masks.masks.shape(), (Shape{1, 3, 64, 64}));
  options.image_size = 250;
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
  RandomSource source(3);
  const SamPromptEncoder encoder(kSamPromptEncoder, {.grid = {4, 4}}, Weights(source, WeightMode::inference));
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

/// A whole one of a few thousand numbers.
constexpr const char* kSmall =
    R"({"encoder_config":{"img_size":64,"dim":16,"depth":4,"heads":2,"window":3,"global_blocks":[1,3],)"
    R"("out_chans":16},"image_size":64,"dim":16,"mask_chans":4,"heads":2,"mlp_dim":24,"iou_hidden":20})";

void expect_same(const Var& got, const Var& want) {
  ASSERT_EQ(got.shape(), want.shape());
  for (std::int64_t i = 0; i < want.value().numel(); ++i) ASSERT_EQ(got.value()[i], want.value()[i]);
}

TEST(Sam, RunsByNames) {
  RandomSource source(3);
  const auto sam = build_sam(kSmall, Weights(source, WeightMode::inference));
  const Var images(random_tensor({1, 3, 64, 64}, 1));
  const Values encoded = sam->run({}, {{"images", images}});
  EXPECT_EQ(encoded.size(), 1u);
  const Var embedding = encoded.at("image_embedding");
  expect_same(embedding, sam->image_embedding({}, images));
  expect_same(sam->forward({}, images), embedding);

  const SamPrompts prompts{.points = Tensor::from({2, 1, 2}, std::vector<float>{10, 20, 30, 5}),
                           .labels = Tensor::from({2, 1}, std::vector<float>{1, -1})};
  for (const bool several : {false, true}) {
    const SamMasks want = sam->decode({}, embedding, sam->encode_prompts({}, prompts), several);
    for (const auto& [name, picture] :
         {std::pair{"images", images}, std::pair{"image_embedding", embedding}}) {
      const Values got = sam->run({}, {{name, picture},
                                       {"points", Var(prompts.points)},
                                       {"labels", Var(prompts.labels)},
                                       {"multimask_output", Var(Tensor::full({1}, several ? 1.0f : 0.0f))}});
      expect_same(got.at("masks"), want.masks);
      expect_same(got.at("iou"), want.iou);
      expect_same(got.at("image_embedding"), embedding);
    }
  }
  EXPECT_THROW(sam->run({}, {}), Error);
  EXPECT_THROW(sam->run({}, {{"images", images}, {"image_embedding", embedding}}), Error);
  EXPECT_THROW(sam->run({}, {{"images", images}, {"points", Var(prompts.points)}}), Error);
}

TEST(Sam, PartsRunByNamesToo) {
  RandomSource source(3);
  const auto sam = build_sam(kSmall, Weights(source, WeightMode::inference));
  const auto part = [&](const char* name, const char* config) {
    return make_model(std::string("sam_") + name, config, Weights(source, WeightMode::inference) / name);
  };
  const auto encoder = part("prompt_encoder", R"({"img_size":64,"grid":4,"dim":16,"mask_chans":4})");
  const auto decoder = part("mask_decoder", R"({"grid":4,"dim":16,"heads":2,"mlp_dim":24,"iou_hidden":20})");
  const Var box(Tensor::from({1, 4}, std::vector<float>{3, 4, 50, 60})),
      mask(random_tensor({1, 1, 16, 16}, 2));
  const Values encoded = encoder->run({}, {{"boxes", box}, {"mask_input", mask}});
  EXPECT_EQ(encoded.at("dense").shape(), (Shape{1, 16, 4, 4}));
  const Var embedding(random_tensor({1, 16, 4, 4}, 1));
  const Values got = decoder->run({}, {{"input", embedding},
                                       {"image_pe", encoded.at("dense_pe")},
                                       {"sparse", encoded.at("sparse")},
                                       {"dense", encoded.at("dense")}});
  const Values want = sam->run({}, {{"image_embedding", embedding}, {"boxes", box}, {"mask_input", mask}});
  expect_same(got.at("masks"), want.at("masks"));
  expect_same(got.at("iou"), want.at("iou"));
}

TEST(Sam, ConfigurationsAreToldByShapes) {
  const auto shapes_of = [](const std::string& family, const std::string& config) {
    std::map<std::string, Shape> out;
    for (const Parameter& p : model_parameters(family, config)) out.emplace(p.name, p.shape);
    return out;
  };
  const std::string other = merge_config(kSmall, R"({"heads":8,"iou_depth":2,"mask_tokens":3})");
  for (const std::string& config : {find_model("sam_vit_b").config, find_model("sam_vit_h").config,
                                    find_model("mobile_sam").config, other}) {
    const NamedShapes shapes("sam", shapes_of("sam", config));
    const std::string told = kSam.from_shapes(kSam, shapes, "");
    EXPECT_EQ(shapes_of("sam", told), shapes_of("sam", config)) << told;
    EXPECT_FALSE(shapes.assumed().empty());
  }
  for (const char* name : {"sam_image_encoder_vit_l", "samvit_base_patch16_224"}) {
    const std::string config = find_model(name).config;
    const NamedShapes shapes("sam_image_encoder", shapes_of("sam_image_encoder", config));
    const std::string told = kSamImageEncoder.from_shapes(kSamImageEncoder, shapes, "");
    ShapeSource source;
    EXPECT_EQ(told, make_model("sam_image_encoder", config, Weights(source, WeightMode::shapes))->config());
  }
}

TEST(Sam, BuildsItselfAgain) {
  for (const char* change : {"{}", R"({"parts":"decoder"})"}) {
    ShapeSource source;
    const Weights weights(source, WeightMode::shapes);
    const auto sam = build_sam(merge_config(kSmall, change), weights);
    const auto again = model_parameters("sam", sam->config());
    ASSERT_EQ(again.size(), sam->parameters().size());
    for (std::size_t n = 0; n < again.size(); ++n) {
      EXPECT_EQ(again[n].name, sam->parameters()[n].name);
      EXPECT_EQ(again[n].shape, sam->parameters()[n].shape);
    }
  }
  for (const char* change : {R"({"image_size":100})", R"({"image_size":8192})", R"({"dim":12})",
                             R"({"mask_chans":3})", R"({"parts":"encoder"})", R"({"encoder":"vit"})",
                             R"({"encoder_config":{"dims":[1]}})", R"({"heads":3})"})
    EXPECT_THROW(model_parameters("sam", merge_config(kSmall, change)), Error) << change;
}

}  // namespace sam_test
}  // namespace locant
