#include "models/load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "core/error.h"
#include "models/checkpoint.h"
#include "models/recipes.h"
#include "models/registry.h"
#include "models/renames.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace load_test {

using Tensors = std::vector<std::pair<std::string, Tensor>>;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Load : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("locant_load_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  /// A model's random weights as a library would store them.
  Tensors library_tensors(const std::string& model, const Renames& renames,
                          const std::string& prefix = "") const {
    const ModelEntry& entry = find_model(model);
    RandomSource source(1);
    const auto built =
        make_model(entry.family, renames.configure(entry.config), Weights(source, WeightMode::train));
    Tensors out;
    for (const Parameter& p : built->parameters())
      for (const SourcePiece& piece : renames.to_library(p.name, p.shape)) {
        const Tensor& value = p.value.value();
        out.emplace_back(prefix + piece.name,
                         piece.rows == 0 ? value : value.slice(piece.row, piece.row + piece.rows).clone());
      }
    return out;
  }
  std::string write(const char* name, const Tensors& tensors) const {
    write_safetensors(path(name), tensors, {});
    return path(name);
  }

 private:
  std::filesystem::path folder_;
};

Tensor run(const Model& model, std::int64_t channels = 1, std::int64_t side = 28) {
  return model.forward(Context{}, Var(testing::random_tensor({2, channels, side, side}, 3))).value();
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.values().begin(), a.values().end(), b.values().begin());
}

std::unique_ptr<Model> digits(WeightMode mode) {
  RandomSource source(1);
  return make_model("swin", find_model("swin_digits").config, Weights(source, mode));
}

TEST_F(Load, OwnFilesNeedNothingElse) {
  const auto model = digits(WeightMode::train);
  SaveOptions options;
  options.name = "swin_digits";
  options.preprocess = find_model("swin_digits").preprocess;
  options.preprocess.crop_pct = 0.75;
  options.classes = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "\"nine\""};
  options.extra = {{"epoch", "3"}};
  save_model(path("own.safetensors"), *model, options);

  const LoadedModel loaded = load_model(path("own.safetensors"));
  EXPECT_EQ(loaded.name, "swin_digits");
  EXPECT_EQ(loaded.naming, "locant");
  EXPECT_EQ(loaded.classes, options.classes);
  EXPECT_EQ(loaded.preprocess.to_json(), options.preprocess.to_json());
  EXPECT_EQ(loaded.model->config(), model->config());
  EXPECT_TRUE(loaded.notes.empty());
  EXPECT_TRUE(same(run(*loaded.model), run(*digits(WeightMode::inference))));
  const LoadedModel trainable = load_model(path("own.safetensors"), {.mode = WeightMode::train});
  EXPECT_TRUE(same(run(*trainable.model), run(*model)));
  const auto file = open_tensor_file(path("own.safetensors"));
  EXPECT_EQ(file->metadata().at("epoch"), "3");
  const auto guesses = guess_model(*file);
  ASSERT_EQ(guesses.size(), 1u);
  EXPECT_EQ(guesses[0].missing + guesses[0].unexpected, 0u);
  EXPECT_EQ(guesses[0].matched, model->parameters().size());
}

TEST_F(Load, ConfigurationsOfTheirOwnLoadByTheirMetadata) {
  RandomSource source(2);
  const std::string config =
      R"({"img_size":16,"patch_size":2,"in_chans":1,"num_classes":3,"dim":8,"depths":[1,1],)"
      R"("heads":[1,2],"window":4})";
  const auto model = make_model("swin", config, Weights(source, WeightMode::train));
  save_model(path("own.safetensors"), *model, {});
  const LoadedModel loaded = load_model(path("own.safetensors"), {.mode = WeightMode::train});
  EXPECT_EQ(loaded.name, "swin");
  EXPECT_TRUE(same(run(*loaded.model, 1, 16), run(*model, 1, 16)));
}

TEST_F(Load, EveryNamingIsToldByItsTensors) {
  const Tensor want = run(*digits(WeightMode::inference));
  for (const Renames& renames : renames_of("swin"))
    for (const std::string& prefix : {renames.prefix, "state_dict.module." + renames.prefix}) {
      const LoadedModel loaded =
          load_model(write("library.safetensors", library_tensors("swin_digits", renames, prefix)));
      EXPECT_EQ(loaded.name, "swin_digits") << renames.naming;
      EXPECT_EQ(loaded.naming, renames.naming);
      // At 28 the conventions agree: the same numbers come out, so every tensor went where it belongs.
      EXPECT_TRUE(same(run(*loaded.model), want)) << renames.naming;
    }
}

TEST_F(Load, EveryFamilyIsReadFromEveryNaming) {
  const std::pair<const char*, const char*> models[] = {
      {"vit", R"({"img_size":32,"dim":16,"depth":2,"heads":2,"num_classes":3})"},
      {"deit", R"({"img_size":32,"dim":16,"depth":2,"heads":2,"num_classes":3,)"
               R"("prefix_tokens":["cls_token","dist_token"],"pool":"mean_two_heads"})"},
      {"dinov2", R"({"img_size":28,"dim":16,"depth":2,"heads":2,"registers":4,"mlp":"swiglu_packed"})"},
      {"simple_vit",
       R"({"img_size":32,"dim":16,"depth":2,"heads":2,"head_dim":8,"mlp_dim":32,"num_classes":3})"}};
  for (const auto& [family, config] : models)
    for (const Renames& renames : renames_of(family)) {
      RandomSource random(1);
      const auto want = make_model(family, renames.configure(config), Weights(random, WeightMode::train));
      Tensors tensors;
      for (const Parameter& p : want->parameters())
        for (const SourcePiece& piece : renames.to_library(p.name, p.shape)) {
          const Tensor& value = p.value.value();
          tensors.emplace_back(
              piece.name, piece.rows == 0 ? value : value.slice(piece.row, piece.row + piece.rows).clone());
        }
      const auto file = open_tensor_file(write("library.safetensors", tensors));
      CheckpointSource source(*file, renames);
      EXPECT_EQ(source.fit(want->parameters()).faults(), 0u) << family << " in " << renames.naming;
      const auto got = make_model(family, want->config(), Weights(source, WeightMode::train));
      for (std::size_t i = 0; i < got->parameters().size(); ++i)
        EXPECT_TRUE(same(got->parameters()[i].value.value(), want->parameters()[i].value.value()))
            << renames.naming << ": " << got->parameters()[i].name;
    }
}

TEST_F(Load, HuggingFaceViTKeepsItsEpsilonAndPreprocessing) {
  const Renames& renames = find_renames("vit", "transformers");
  Tensors tensors;
  for (const Parameter& p : model_parameters("vit", find_model("vit_tiny_patch16_224").config))
    for (const SourcePiece& piece : renames.to_library(p.name, p.shape)) {
      std::vector<std::int64_t> extents(p.shape.extents().begin(), p.shape.extents().end());
      if (piece.rows > 0) extents[0] = piece.rows;
      tensors.emplace_back((piece.name.substr(0, 10) == "classifier" ? "" : "vit.") + piece.name,
                           Tensor::zeros(Shape(extents)));
    }
  tensors.emplace_back("vit.pooler.dense.weight", Tensor::zeros({192, 192}));
  const LoadedModel loaded = load_model(write("vit.safetensors", tensors));
  EXPECT_EQ(loaded.name, "vit_tiny_patch16_224");
  EXPECT_EQ(loaded.naming, "transformers");
  EXPECT_TRUE(contains(loaded.model->config(), R"("norm_eps":1e-12)")) << loaded.model->config();
  EXPECT_TRUE(contains(loaded.model->config(), R"("pos_resize":"bicubic")")) << loaded.model->config();
  EXPECT_EQ(loaded.preprocess.mode, Preprocess::Mode::squash);
  EXPECT_EQ(loaded.preprocess.filter, ResizeFilter::bilinear);
  EXPECT_EQ(loaded.preprocess.mean[0], 0.5f);
  ASSERT_EQ(loaded.classes.size(), 1000u);
  EXPECT_EQ(loaded.classes[0], "tench");
  ASSERT_FALSE(loaded.notes.empty());
  EXPECT_TRUE(
      contains(loaded.notes[0], "1 tensor (vit.pooler.dense.weight) ignored: this model does not use"))
      << loaded.notes[0];
}

TEST_F(Load, ATensorThatIsNeverUsedMayBeAbsent) {
  const Renames& renames = find_renames("dinov2", "transformers");
  RandomSource random(1);
  const std::string config = R"({"img_size":28,"dim":16,"depth":2,"heads":2})";
  Tensors tensors;
  for (const Parameter& p : model_parameters("dinov2", config))
    if (p.name != "mask_token")
      for (const SourcePiece& piece : renames.to_library(p.name, p.shape)) {
        std::vector<std::int64_t> extents(p.shape.extents().begin(), p.shape.extents().end());
        if (piece.rows > 0) extents[0] = piece.rows;
        tensors.emplace_back(piece.name, Tensor::zeros(Shape(extents)));
      }
  const auto file = open_tensor_file(write("dinov2.safetensors", tensors));
  CheckpointSource source(*file, renames);
  const CheckpointFit fit = source.fit(model_parameters("dinov2", config));
  EXPECT_EQ(fit.faults(), 0u) << describe(fit);
  EXPECT_EQ(fit.defaulted, std::vector<std::string>{"mask_token"});
  EXPECT_NO_THROW(make_model("dinov2", config, Weights(source, WeightMode::inference)));
}

TEST_F(Load, DerivedBuffersAreIgnoredWithOneLine) {
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "microsoft/Swin-Transformer"));
  tensors.emplace_back("layers.0.blocks.0.attn.relative_position_index", Tensor::zeros({49, 49}));
  tensors.emplace_back("layers.0.blocks.1.attn_mask", Tensor::zeros({4, 49, 49}));
  const LoadedModel loaded = load_model(write("official.safetensors", tensors));
  ASSERT_EQ(loaded.notes.size(), 1u);
  EXPECT_TRUE(
      contains(loaded.notes[0], "2 tensors (layers.0.blocks.0.attn.relative_position_index, ...) ignored"))
      << loaded.notes[0];
}

TEST_F(Load, MissingAndUnexpectedNamesComeWithTheNearest) {
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "timm"));
  for (auto& [name, tensor] : tensors)
    if (name == "layers.0.blocks.1.norm1.weight") name = "layers.0.blocks.1.norn1.weight";
  tensors.emplace_back("stranger", Tensor::zeros({3}));
  const std::string file = write("odd.safetensors", tensors);
  for (const char* told : {"", "swin_digits"}) {
    const std::string message = message_of([&] { load_model(file, {.model = told}); });
    EXPECT_TRUE(contains(message,
                         "1 tensor missing: layers.0.blocks.1.norm1.weight (nearest in the file: "
                         "layers.0.blocks.1.norn1.weight)"))
        << message;
    EXPECT_TRUE(contains(message, "2 tensors unknown to the model: ")) << message;
    EXPECT_TRUE(contains(message, "stranger (nearest of the model: ")) << message;
    EXPECT_TRUE(contains(message, "swin_digits (timm names)")) << message;
  }
}

TEST_F(Load, AnyNumberOfClassesLoads) {
  for (const std::int64_t classes : {2, 21841}) {
    Tensors tensors = library_tensors("swin_digits", find_renames("swin", "torchvision"));
    for (auto& [name, tensor] : tensors) {
      if (name == "head.weight") tensor = testing::random_tensor({classes, tensor.dim(1)}, 1);
      if (name == "head.bias") tensor = testing::random_tensor({classes}, 2);
    }
    const std::string file = write("other.safetensors", tensors);
    for (const char* told : {"", "swin_digits"}) {
      const LoadedModel loaded = load_model(file, {.model = told});
      EXPECT_EQ(loaded.name, "swin_digits");
      EXPECT_EQ(run(*loaded.model).shape(), (Shape{2, classes}));
      EXPECT_TRUE(loaded.classes.empty());
    }
  }
}

TEST_F(Load, NamesOfFilesTellTheRecipe) {
  const std::string config = R"({"img_size":32,"dim":64,"depth":1,"heads":1,"num_classes":0})";
  RandomSource source(1);
  const auto model = make_model("vit", config, Weights(source, WeightMode::train));
  Tensors tensors;
  for (const Parameter& p : model->parameters()) tensors.emplace_back(p.name, p.value.value());
  const auto mean_of = [&](const char* name) { return load_model(write(name, tensors)).preprocess.mean[0]; };
  EXPECT_EQ(mean_of("mine.safetensors"), 0.5f);
  EXPECT_EQ(mean_of("mae_pretrain_vit.safetensors"), 0.485f);
  EXPECT_EQ(mean_of("dino_deitsmall16_pretrain.safetensors"), 0.485f);
  EXPECT_EQ(mean_of("vit_in21k_miil.safetensors"), 0.0f);
  EXPECT_EQ(mean_of("simmae.safetensors"), 0.5f);  // within a word
  EXPECT_EQ(mean_of("maerz_mydino_deit3.safetensors"), 0.5f);
  const auto assumed_of = [&](const char* name) {
    return fmt::format("{}", fmt::join(load_model(path(name)).assumed, "; "));
  };
  EXPECT_TRUE(contains(assumed_of("mae_pretrain_vit.safetensors"), "preprocessing of mae"));
  EXPECT_TRUE(contains(assumed_of("mine.safetensors"), "preprocessing of vit"));
  // Seven classes are somebody's own, trained on whatever they had.
  tensors.emplace_back("head.weight", testing::random_tensor({7, 64}, 1));
  tensors.emplace_back("head.bias", testing::random_tensor({7}, 2));
  EXPECT_EQ(mean_of("mae_finetuned.safetensors"), 0.5f);
}

/// A plain transformer of 96 channels, which no usual number of heads divides.
TEST_F(Load, HeadsThatNothingTellsAreAskedFor) {
  const std::string config = R"({"img_size":32,"patch_size":8,"dim":96,"depth":1,"heads":3,"num_classes":4})";
  RandomSource source(1);
  const auto model = make_model("vit", config, Weights(source, WeightMode::train));
  Tensors tensors;
  for (const Parameter& p : model->parameters()) tensors.emplace_back(p.name, p.value.value());
  const std::string file = write("own.safetensors", tensors);
  const std::string message = message_of([&] { load_model(file); });
  EXPECT_TRUE(contains(message, "heads must be told")) << message;
  EXPECT_TRUE(contains(message, "--config")) << message;
  const LoadedModel loaded = load_model(file, {.config = R"({"heads":3})"});
  for (const std::string& what : loaded.assumed) EXPECT_FALSE(contains(what, "heads")) << what;
  const Var pictures(testing::random_tensor({1, 3, 32, 32}, 3));
  const Tensor want = model->forward({}, pictures).value(), got = loaded.model->forward({}, pictures).value();
  for (std::int64_t i = 0; i < want.numel(); ++i) EXPECT_NEAR(got[i], want[i], 2e-5f);
  EXPECT_TRUE(contains(message_of([&] { load_model(file, {.config = R"({"heads":5})"}); }), "heads"));
  EXPECT_TRUE(contains(message_of([&] { load_model(file, {.config = R"({"haeds":3})"}); }), "haeds"));
  EXPECT_TRUE(contains(message_of([&] { load_model(file, {.config = R"({"heads":3,"dim":48})"}); }), "dim"));
}

/// {"img_size": 160} beside a table of 160 / 16 is what the table says, too.
TEST_F(Load, APictureSizeThatIsSaidTwiceCounts) {
  RandomSource source(1);
  const auto model = make_model("vit", R"({"img_size":160,"dim":192,"depth":1,"heads":3,"num_classes":4})",
                                Weights(source, WeightMode::train));
  Tensors tensors;
  for (const Parameter& p : model->parameters()) tensors.emplace_back(p.name, p.value.value());
  const std::string file = write("model.safetensors", tensors);
  std::ofstream(path("config.json"))
      << R"({"architecture":"vit_tiny_patch16_224","model_args":{"img_size":160}})";
  EXPECT_EQ(load_model(file).preprocess.rows, 160);
  std::ofstream(path("config.json"))
      << R"({"architecture":"vit_of_mine","model_args":{"img_size":160,"num_heads":6}})";
  const LoadedModel loaded = load_model(file);
  EXPECT_EQ(loaded.preprocess.rows, 160);
  EXPECT_TRUE(contains(loaded.model->config(), "\"heads\":6")) << loaded.model->config();
  std::filesystem::remove(path("config.json"));
}

TEST_F(Load, PreprocessingAsTheCallerSays) {
  const std::string file =
      write("digits.safetensors", library_tensors("swin_digits", find_renames("swin", "timm")));
  const auto with = [&](const char* text) { return load_model(file, {.preprocess = text}); };
  const Preprocess own = load_model(file).preprocess, mean = with(R"({"mean":[0.25]})").preprocess;
  EXPECT_EQ(mean.mean, std::vector<float>{0.25f});
  EXPECT_EQ(mean.std, own.std);
  const Preprocess theirs =
      with(R"({"image_processor_type":"ViTImageProcessor","image_mean":[0.75],"image_std":[0.5],
                                     "size":{"height":28,"width":28}})")
          .preprocess;
  EXPECT_EQ(theirs.mean, std::vector<float>{0.75f});
  EXPECT_EQ(with(R"({"input_size":[1,56,28]})").preprocess.rows, 56);
  EXPECT_TRUE(contains(message_of([&] { with(R"({"maen":[0.25]})"); }), "maen"));
  EXPECT_TRUE(contains(message_of([&] { with("[1]"); }), "JSON object"));
}

/// Names of timm's models whose tensors are those of another and whose answers are not.
TEST_F(Load, NamesThatSayAnotherComputation) {
  RandomSource source(1);
  const auto model = make_model("vit", R"({"img_size":32,"dim":64,"depth":1,"heads":1})",
                                Weights(source, WeightMode::train));
  Tensors tensors;
  for (const Parameter& p : model->parameters()) tensors.emplace_back(p.name, p.value.value());
  for (const char* name :
       {"vit_base_patch16_rope_ape_224", "vit_base_patch16_rpn_224", "vit_so400m_patch16_siglip_gap_256"}) {
    const std::string file = write(fmt::format("{}.safetensors", name).c_str(), tensors);
    EXPECT_TRUE(contains(message_of([&] { load_model(file); }), "no tensor shows")) << name;
    std::filesystem::remove(file);
  }
  for (const char* name :
       {"vit_small_patch16_dinov3", "vit_base_patch16_rpn_224", "vit_large_patch16_siglip_gap_512"}) {
    write("model.safetensors", tensors);
    std::ofstream(path("config.json")) << fmt::format(R"({{"architecture":"{}"}})", name);
    EXPECT_TRUE(contains(message_of([&] { load_model(path("model.safetensors")); }), "no tensor shows"))
        << name;
    std::filesystem::remove(path("config.json"));
  }
}

TEST_F(Load, NamesThatSayNoOtherComputation) {
  for (const char* name :
       {"vit_base_patch16_siglip_gap_256", "vit_so400m_patch14_siglip_gap_224", "deit_rope"})
    EXPECT_EQ(untold_computation(name), "") << name;
}

/// The tensors of DeiT III turn where the name of the file, or the folder, says so.
TEST_F(Load, NamesThatSayRotaryPositions) {
  const ModelEntry& entry = find_model("vit_small_patch16_rope_ape_224");
  Tensors tensors;
  for (const Parameter& p : model_parameters(entry.family, entry.config))
    tensors.emplace_back(p.name, Tensor::zeros(p.shape));
  const LoadOptions shapes = {.mode = WeightMode::shapes};
  const std::string unnamed = write("weights.safetensors", tensors);
  const LoadedModel deit3 = load_model(unnamed, shapes);
  EXPECT_EQ(deit3.model->family().name, std::string("deit"));
  EXPECT_TRUE(contains(fmt::format("{}", fmt::join(deit3.assumed, "; ")), "no rotary positions"));
  std::filesystem::rename(unnamed, path("vit_small_patch16_rope_ape_224.safetensors"));
  const LoadedModel told = load_model(path("vit_small_patch16_rope_ape_224.safetensors"), shapes);
  EXPECT_EQ(told.model->family().name, std::string("vit_rope"));
  EXPECT_TRUE(contains(told.model->config(), R"("rope":"axial","rope_freqs":"by_head","rope_order":"xy")"));
}

/// What timm's name says and no tensor does.
TEST_F(Load, HeadsOfAnArchitectureThatIsNoVariant) {
  RandomSource source(1);
  const auto model = make_model("vit", R"({"img_size":32,"dim":64,"depth":1,"heads":16})",
                                Weights(source, WeightMode::train));
  Tensors tensors;
  for (const Parameter& p : model->parameters()) tensors.emplace_back(p.name, p.value.value());
  const std::string file = write("model.safetensors", tensors);
  std::ofstream(path("config.json")) << R"({"architecture":"vit_base_patch16_gap_224"})";
  EXPECT_TRUE(contains(load_model(file).model->config(), "\"heads\":16"));
  std::filesystem::remove(path("config.json"));
}

TEST_F(Load, WrongModelsAndKeysAreToldApart) {
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "timm")), below;
  for (const auto& [name, tensor] : tensors) below.emplace_back("student." + name, tensor);
  const std::string file = write("below.safetensors", below);
  EXPECT_EQ(load_model(file, {.key = "student"}).key, "student.");
  const std::string key = message_of([&] { load_model(file, {.key = "teacher"}); });
  EXPECT_TRUE(contains(key, "under \"teacher\"")) << key;
  EXPECT_TRUE(contains(key, "one stands under \"student.\"")) << key;
  const std::string sizes = message_of([&] { load_model(file, {.model = "swin_tiny"}); });
  EXPECT_TRUE(contains(sizes, "its sizes are not: ")) << sizes;
  EXPECT_TRUE(contains(sizes, "dim ")) << sizes;
}

/// Names and shapes alone: the numbers of this file are not there to be read.
TEST_F(Load, ShapesModeReadsNoNumber) {
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "timm"));
  for (auto& [name, tensor] : tensors)
    if (name == "norm.bias") tensor = Tensor::full(tensor.shape(), std::nanf(""));
  const std::string file = write("nan.safetensors", tensors);
  EXPECT_TRUE(contains(message_of([&] { load_model(file); }), "norm.bias"));
  EXPECT_EQ(load_model(file, {.mode = WeightMode::shapes}).name, "swin_digits");
}

TEST_F(Load, AFileWithoutAHeadHasFeatures) {
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "timm"));
  std::erase_if(tensors, [](const auto& entry) { return entry.first.find("head.") == 0; });
  const LoadedModel loaded = load_model(write("headless.safetensors", tensors));
  EXPECT_EQ(loaded.name, "swin_digits");
  EXPECT_EQ(loaded.model->num_classes(), 0);
}

TEST_F(Load, WrongShapesAreListed) {
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "timm"));
  for (auto& [name, tensor] : tensors)
    if (name == "norm.bias") tensor = Tensor::zeros({5});
  const std::string message = message_of([&] { load_model(write("odd.safetensors", tensors)); });
  EXPECT_TRUE(contains(message, "norm.bias is (5), the model has (")) << message;
}

TEST_F(Load, NumbersThatAreNotFiniteAreNamed) {
  // Whole tensors and one of three that make a parameter, weights and running statistics, in any mode.
  struct Case {
    const char *model, *family, *naming, *tensor;
  };
  for (const Case& c :
       {Case{"swin_digits", "swin", "timm", "layers.0.blocks.1.attn.relative_position_bias_table"},
        Case{"swin_digits", "swin", "transformers", "layers.1.blocks.0.attention.self.key.weight"},
        Case{"swin_digits", "swin", "microsoft/Swin-Transformer", "norm.bias"}}) {
    SCOPED_TRACE(c.naming);
    Tensors tensors = library_tensors(c.model, find_renames(c.family, c.naming));
    EXPECT_EQ(message_of([&] { load_model(write("good.safetensors", tensors)); }), "nothing was thrown");
    std::string name;
    for (auto& [stored, tensor] : tensors)
      if (name.empty() && stored.find(c.tensor) != std::string::npos) {
        name = stored;
        tensor[tensor.numel() - 1] = -INFINITY;
      }
    ASSERT_FALSE(name.empty());
    for (const WeightMode mode : {WeightMode::inference, WeightMode::train}) {
      const std::string message =
          message_of([&] { load_model(write("bad.safetensors", tensors), {.mode = mode}); });
      EXPECT_TRUE(contains(message, "tensor " + name + " holds -inf at (")) << message;
      EXPECT_TRUE(contains(message, path("bad.safetensors"))) << message;
    }
  }
  // What the model does not read harms nobody: masks of windows hold -inf in some libraries' files.
  Tensors tensors = library_tensors("swin_digits", find_renames("swin", "microsoft/Swin-Transformer"));
  tensors.emplace_back("layers.0.blocks.1.attn_mask", Tensor::full({4, 49, 49}, -INFINITY));
  EXPECT_NO_THROW(load_model(write("masks.safetensors", tensors)));
}

TEST_F(Load, FilesOfNoModelAreRefused) {
  const std::string message = message_of([&] {
    load_model(write("none.safetensors", {{"a", Tensor::zeros({2})}}));
  });
  EXPECT_TRUE(contains(message, "no known model")) << message;
  EXPECT_THROW(load_model(path("absent.safetensors")), Error);
  EXPECT_TRUE(guess_model(*open_tensor_file(path("none.safetensors"))).empty());
}

TEST_F(Load, DamagedMetadataIsRefused) {
  const Tensors tensors = library_tensors("swin_digits", find_renames("swin", "microsoft/Swin-Transformer"));
  const auto with = [&](const std::map<std::string, std::string>& metadata) {
    write_safetensors(path("odd.safetensors"), tensors, metadata);
    return message_of([&] { load_model(path("odd.safetensors")); });
  };
  const std::string config = find_model("swin_digits").config;
  EXPECT_TRUE(contains(with({{"locant.family", "swin"}}), "locant.config"));
  EXPECT_TRUE(contains(with({{"locant.family", "swing"}, {"locant.config", config}}), "swing"));
  EXPECT_TRUE(contains(with({{"locant.family", "swin"}, {"locant.config", "{"}}), "locant.config"));
  EXPECT_TRUE(contains(with({{"locant.family", "vit"}, {"locant.config", R"({"depth":1000000})"}}),
                       "depth is 1000000"));
  EXPECT_TRUE(contains(with({{"locant.family", "vit"}, {"locant.config", R"({"depth":1000})"}}),
                       "asks for more than"));
  EXPECT_TRUE(
      contains(with({{"locant.family", "swin"}, {"locant.config", config}, {"locant.classes", "[1]"}}),
               "locant.classes"));
  EXPECT_TRUE(contains(
      with({{"locant.family", "swin"}, {"locant.config", config}, {"locant.preprocess", R"({"rows":-1})"}}),
      "preprocess"));
  EXPECT_EQ(with({{"locant.family", "swin"}, {"locant.config", config}}), "nothing was thrown");
}

TEST_F(Load, SavingRefusesWhatIsNotThere) {
  const auto packed = digits(WeightMode::inference);
  EXPECT_TRUE(
      contains(message_of([&] { save_model(path("x.safetensors"), *packed, {}); }), "WeightMode::train"));
  const auto model = digits(WeightMode::train);
  EXPECT_TRUE(contains(message_of([&] { save_model(path("x.safetensors"), *model, Tensors{}, {}); }),
                       "no numbers for patch_embed.proj.weight"));
  EXPECT_FALSE(std::filesystem::exists(path("x.safetensors")));
}

TEST_F(Load, GivenNumbersAreSavedUnderTheModelsNames) {
  const auto model = digits(WeightMode::train);
  Tensors averaged;
  for (const Parameter& p : model->parameters()) averaged.emplace_back(p.name, Tensor::full(p.shape, 0.25f));
  save_model(path("ema.safetensors"), *model, averaged, {});
  const LoadedModel loaded = load_model(path("ema.safetensors"), {.mode = WeightMode::train});
  for (const Parameter& p : loaded.model->parameters()) EXPECT_EQ(p.value.value()[0], 0.25f);
}

/// Names and shapes alone: enough to be told apart.
class ShapesOnly final : public TensorFile {
 public:
  explicit ShapesOnly(std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {}
  const std::string& path() const override { return name_; }
  const std::string& format() const override { return name_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::vector<std::string>& notes() const override { return notes_; }
  Tensor read(const std::string&) const override { return {}; }
  void release(const std::string&) const override {}

 private:
  std::string name_ = "shapes";
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;
};

TEST(GuessModel, TellsEveryRegisteredModel) {
  std::size_t turn = 0;
  for (const ModelEntry& entry : model_entries()) {
    const auto& namings = renames_of(entry.family);
    const Renames* its = &namings[turn++ % namings.size()];
    for (const Renames& naming : namings)  // made for one library's files
      if (naming.naming == entry.naming) its = &naming;
    const Renames& renames = *its;
    std::vector<TensorInfo> tensors;
    for (const Parameter& p : model_parameters(entry.family, renames.configure(entry.config)))
      for (const SourcePiece& piece : renames.to_library(p.name, p.shape)) {
        std::vector<std::int64_t> extents(p.shape.extents().begin(), p.shape.extents().end());
        if (piece.rows > 0) extents[0] = piece.rows;
        tensors.push_back({piece.name, DType::f32, Shape(extents), 0});
      }
    const auto guesses = guess_model(ShapesOnly(tensors));
    ASSERT_FALSE(guesses.empty()) << entry.name;
    EXPECT_EQ(guesses[0].missing + guesses[0].unexpected, 0u) << entry.name << " in " << renames.naming;
    const bool listed = std::any_of(guesses.begin(), guesses.end(), [&](const ModelGuess& guess) {
      return guess.name == entry.name && guess.missing + guess.unexpected == 0;
    });
    EXPECT_TRUE(listed) << entry.name << " in " << renames.naming << ", but first " << guesses[0].name;
  }
}

TEST(GuessModel, PrefersTheVariantOfTheNaming) {
  for (const auto& [naming, name] :
       {std::pair{"timm", "swin_tiny_patch4_window7_224"}, std::pair{"torchvision", "swin_t"}}) {
    const Renames& renames = find_renames("swin", naming);
    std::vector<TensorInfo> tensors;
    for (const Parameter& p : model_parameters("swin", "{}"))
      tensors.push_back({renames.to_library(p.name, p.shape)[0].name, DType::f32, p.shape, 0});
    const auto guesses = guess_model(ShapesOnly(tensors));
    ASSERT_FALSE(guesses.empty());
    EXPECT_EQ(guesses[0].name, name);
    EXPECT_EQ(guesses[0].naming, naming);
  }
}

}  // namespace load_test
}  // namespace locant
