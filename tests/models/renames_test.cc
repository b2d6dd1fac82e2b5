#include "models/renames.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "models/config_json.h"
#include "models/family.h"
#include "models/registry.h"

namespace locant {
namespace renames_test {

using Json = nlohmann::json;

const std::string kOracle = std::string(LOCANT_TEST_DATA) + "/oracle";

Json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

/// Every whole-model oracle file.
std::vector<std::filesystem::path> oracle_files() {
  std::vector<std::filesystem::path> out;
  for (const char* folder : {"/zoo", "/official/swin"})
    for (const auto& entry : std::filesystem::directory_iterator(kOracle + folder))
      if (entry.path().extension() == ".json") {
        const Json file = read_json(entry.path());
        if (file.contains("build") && file["build"]["kind"] == "model") out.push_back(entry.path());
      }
  std::sort(out.begin(), out.end());
  return out;
}

/// The model's configuration in a file's `build` key: what describes naming, layout or input is no part of
/// it.
std::string config_of(const Json& build) {
  Json kwargs = build["kwargs"];
  for (const char* key :
       {"naming", "name_prefix", "in_layout", "out_layout", "input_size", "inputs", "outputs"})
    kwargs.erase(key);
  for (const std::string& key : find_family(build["family"]).call_options()) kwargs.erase(key);
  if (build["family"] == "dinov2")
    for (const char* key : {"num_classes", "prefix_tokens", "act"})
      kwargs.erase(key);  // fixed in this family
  return kwargs.dump();
}

Shape shape_of(const Json& json) { return Shape(json.get<std::vector<std::int64_t>>()); }

TEST(Renames, GiveExactlyTheTensorsOfEveryOracleFile) {
  const auto files = oracle_files();
  ASSERT_GE(files.size(), 18u);
  for (const auto& path : files) {
    const Json file = read_json(path);
    const Json& build = file["build"];
    if (build["kwargs"].contains("inputs")) continue;  // a part of a model, which is built as a layer
    const auto prefix = build["kwargs"].value("name_prefix", "");
    const Family& family = find_family(build["family"]);
    const Renames& renames = find_renames(family.name, build["kwargs"]["naming"],
                                          merge_config(family.default_config(family), config_of(build)));
    std::map<std::string, Shape> got, want;
    for (const Json& p : file["parameters"]) want.emplace(p["name"].get<std::string>(), shape_of(p["shape"]));
    for (const Parameter& p : model_parameters(build["family"], renames.complete(config_of(build)))) {
      std::int64_t rows = 0;
      for (const SourcePiece& piece : renames.to_library(p.name, p.shape)) {
        std::vector<std::int64_t> extents(p.shape.extents().begin(), p.shape.extents().end());
        if (piece.rows > 0) extents[0] = piece.rows;
        EXPECT_EQ(piece.row, rows) << piece.name;
        rows += piece.rows;
        // Models with a head have the naming's prefix on some of their names.
        const bool prefixed = prefix.empty() && want.count(renames.prefix + piece.name) != 0;
        const std::string name = (prefixed ? renames.prefix : prefix) + piece.name;
        EXPECT_TRUE(got.emplace(name, Shape(extents)).second) << piece.name << " twice";
      }
      EXPECT_TRUE(rows == 0 || rows == p.shape[0]) << p.name;
    }
    for (const auto& [name, shape] : want) {
      if (renames.is_unused(name)) continue;  // its class makes it and never uses it
      ASSERT_EQ(got.count(name), 1u) << path.filename() << ": " << name << " is not made";
      EXPECT_EQ(got[name], shape) << path.filename() << ": " << name;
    }
    for (const auto& [name, shape] : got)
      EXPECT_EQ(want.count(name), 1u) << path.filename() << ": " << name << " is not there";
    for (const Json& derived : file.value("derived", Json::array()))
      EXPECT_TRUE(renames.is_derived(derived["name"])) << derived["name"];
  }
}

TEST(Renames, WorkBothWaysInEveryNamingOfEveryFamily) {
  // Where two of ours have one name in a library, the way back gives the first.
  const std::set<std::string> ambiguous = {"mlp.w12", "mlp.w3"};
  std::set<const Renames*> seen;  // by the first variant that each suits
  for (const ModelEntry& entry : model_entries()) {
    const Family& family = find_family(entry.family);
    const std::string whole = merge_config(family.default_config(family), entry.config);
    for (const Renames& renames : renames_of(entry.family)) {
      if (!renames.suits(whole)) continue;
      if (!seen.insert(&renames).second && entry.family != "dinov2") continue;
      for (const Parameter& p : model_parameters(entry.family, renames.configure(entry.config))) {
        const auto pieces = renames.to_library(p.name, p.shape);
        for (std::size_t i = 0; i < pieces.size(); ++i) {
          const OurPiece back = renames.piece_to_ours(pieces[i].name);
          const bool shared = renames.naming == "timm" &&
                              std::any_of(ambiguous.begin(), ambiguous.end(), [&](const std::string& part) {
                                return p.name.find(part) != std::string::npos;
                              });
          if (shared) {
            EXPECT_EQ(renames.to_library(back.name, p.shape)[0].name, pieces[i].name);
            continue;
          }
          EXPECT_EQ(back.name, p.name) << renames.naming << ": " << pieces[i].name;
          EXPECT_EQ(back.part, i);
          EXPECT_EQ(back.parts, pieces.size());
          EXPECT_EQ(renames.spelled(pieces[i].name), pieces[i].name);
        }
      }
    }
  }
}

TEST(Renames, OfficialSwinToTimmIsAsTheLibrariesWereCompared) {
  const Json file = read_json(kOracle + "/official/swin/rename_swin_tiny_patch4_window7_224.json");
  const Renames& timm = find_renames("swin", "timm");
  for (const Json& same : file["equal"])
    EXPECT_EQ(timm.to_library(same, {1})[0].name, same.get<std::string>());
  for (const Json& pair : file["renamed"]) {
    EXPECT_EQ(timm.to_library(pair["official"], {1})[0].name, pair["timm"].get<std::string>());
    EXPECT_EQ(timm.to_ours(pair["timm"]), pair["official"].get<std::string>());
  }
  for (const Json& dropped : file["dropped_in_timm"])
    EXPECT_TRUE(find_renames("swin", "microsoft/Swin-Transformer").is_derived(dropped["official"]));
  EXPECT_EQ(file["equal"].size() + file["renamed"].size(), model_parameters("swin", "{}").size());
}

TEST(Renames, StagesOfSwinMeanTheSameValue) {
  const Renames& timm = find_renames("swin", "timm");
  EXPECT_EQ(timm.to_ours("layers.1"), "layers.1.blocks");  // before the merging that our layers.1 includes
  EXPECT_EQ(timm.to_ours("layers.2.blocks.3"), "layers.2.blocks.3");
  EXPECT_EQ(timm.to_ours("layers.1.downsample"), "layers.0.downsample");
  EXPECT_EQ(timm.path_to_library("layers.0"), "layers.1.downsample");
  EXPECT_EQ(timm.path_to_library("layers.0.blocks"), "layers.0");
  const Renames& torchvision = find_renames("swin", "torchvision");
  EXPECT_EQ(torchvision.to_ours("features.0"), "patch_embed");
  EXPECT_EQ(torchvision.to_ours("features.5.3"), "layers.2.blocks.3");
  EXPECT_EQ(torchvision.to_ours("features.5"), "layers.2.blocks");
  EXPECT_EQ(torchvision.to_ours("features.6"), "layers.2.downsample");
  EXPECT_EQ(torchvision.path_to_library("layers.3.blocks"), "features.7");
  const Renames& transformers = find_renames("swin", "transformers");
  EXPECT_EQ(transformers.to_ours("encoder.layers.2.blocks.1"), "layers.2.blocks.1");
  EXPECT_EQ(transformers.to_ours("encoder.layers.2"), "layers.2");
}

TEST(Renames, LibraryNamesByHand) {
  const auto piece = [](const char* family, const char* naming, const char* ours, std::size_t part = 0) {
    return find_renames(family, naming).to_library(ours, {9, 3})[part].name;
  };
  EXPECT_EQ(piece("swin", "torchvision", "layers.2.blocks.5.mlp.fc2.weight"), "features.5.5.mlp.3.weight");
  EXPECT_EQ(piece("swin", "torchvision", "layers.1.downsample.reduction.weight"),
            "features.4.reduction.weight");
  EXPECT_EQ(piece("swin", "transformers", "layers.3.blocks.1.attn.qkv.bias", 2),
            "encoder.layers.3.blocks.1.attention.self.value.bias");
  EXPECT_EQ(piece("swin", "transformers", "head.bias"), "classifier.bias");
  EXPECT_EQ(piece("vit", "torchvision", "blocks.11.attn.qkv.weight"),
            "encoder.layers.encoder_layer_11.self_attention.in_proj_weight");
  EXPECT_EQ(piece("vit", "torchvision", "head.weight"), "heads.head.weight");
  EXPECT_EQ(piece("vit", "transformers", "blocks.3.mlp.fc1.weight"),
            "encoder.layer.3.intermediate.dense.weight");
  EXPECT_EQ(piece("vit", "transformers", "blocks.3.attn.qkv.weight", 1),
            "encoder.layer.3.attention.attention.key.weight");
  EXPECT_EQ(piece("deit", "transformers", "dist_token"), "embeddings.distillation_token");
  EXPECT_EQ(piece("dinov2", "transformers", "blocks.39.mlp.w12.weight"),
            "encoder.layer.39.mlp.weights_in.weight");
  EXPECT_EQ(piece("dinov2", "timm", "register_tokens"), "reg_token");
  EXPECT_EQ(piece("dinov2", "timm", "blocks.0.mlp.w3.bias"), "blocks.0.mlp.fc2.bias");
}

TEST(Renames, OtherSpellingsAreRead) {
  EXPECT_EQ(find_renames("swin", "transformers").spelled("layernorm.weight"), "layernorm.weight");
  EXPECT_EQ(find_renames("vit", "torchvision").spelled("encoder.layers.encoder_layer_7.mlp.linear_2.bias"),
            "encoder.layers.encoder_layer_7.mlp.3.bias");
  EXPECT_EQ(find_renames("dinov2", "facebookresearch/dinov2").spelled("blocks.3.31.norm1.weight"),
            "blocks.31.norm1.weight");
  EXPECT_EQ(find_renames("dinov2", "facebookresearch/dinov2").spelled("blocks.3.norm1.weight"),
            "blocks.3.norm1.weight");
  EXPECT_EQ(find_renames("dinov2", "transformers").spelled("encoder.layer.2.attention.q_proj.bias"),
            "encoder.layer.2.attention.attention.query.bias");
  // transformers 5 halves the gated matrix: the second set of rules of the same naming.
  const Renames& halves = renames_of("dinov2").back();
  ASSERT_EQ(halves.naming, "transformers");
  const auto pieces = halves.to_library("blocks.1.mlp.w12.bias", {8});
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].name, "encoder.layer.1.mlp.gate_proj.bias");
  EXPECT_EQ(pieces[1].name, "encoder.layer.1.mlp.up_proj.bias");
  EXPECT_EQ(pieces[1].row, 4);
}

TEST(Renames, OverridesFollowTheNaming) {
  const auto value = [](const std::string& config, const char* key) { return Json::parse(config)[key]; };
  const Renames& meta = find_renames("dinov2", "facebookresearch/dinov2");
  EXPECT_EQ(value(meta.configure(R"({"registers":0})"), "pos_resize"), "bicubic_offset");
  EXPECT_EQ(value(meta.configure(R"({"registers":4})"), "pos_resize"), "bicubic_antialias");
  const Renames& timm = find_renames("dinov2", "timm");
  EXPECT_EQ(value(timm.configure(R"({"registers":4})"), "pos_embed_prefix"), false);
  EXPECT_FALSE(Json::parse(timm.configure("{}")).contains("pos_embed_prefix"));
  EXPECT_EQ(value(timm.complete(R"({"pos_resize":"none"})"), "pos_resize"), "none");
  EXPECT_EQ(value(timm.configure(R"({"pos_resize":"none"})"), "pos_resize"), "bicubic_antialias");
  const Renames& microsoft = find_renames("swin", "microsoft/Swin-Transformer");
  EXPECT_EQ(value(microsoft.configure_preprocess(R"({"rows":224,"crop_pct":0.9})"), "crop_pct"), 0.875);
  EXPECT_EQ(value(microsoft.configure_preprocess(R"({"rows":384,"crop_pct":1.0})"), "mode"), "squash");
}

TEST(PathPattern, InvertsItsArithmetic) {
  const auto number = [](const char* pattern, const char* path) {
    PathPattern::Numbers numbers;
    std::string_view rest;
    return PathPattern(pattern).match(path, numbers, rest) ? numbers.value['s' - 'a'] : -1;
  };
  EXPECT_EQ(number("features.{2s+1}", "features.5.0.norm"), 2);
  EXPECT_EQ(number("features.{2s+1}", "features.4"), -1);
  EXPECT_EQ(number("features.{2s+2}", "features.0"), -1);
  EXPECT_EQ(number("layers.{s+1}", "layers.0"), -1);
  EXPECT_EQ(number("layers.{s}", "layers.12"), 12);
  EXPECT_EQ(number("layers.{s}", "layers.-1"), -1);
  EXPECT_EQ(number("layers.{s}", "layers.99999999999999999999"), -1);
  EXPECT_EQ(number("layers.{s}", "layers.1x"), -1);
  EXPECT_EQ(number("a.{s}.b.{s}", "a.3.b.3"), 3);
  EXPECT_EQ(number("a.{s}.b.{s}", "a.3.b.4"), -1);
  EXPECT_THROW(PathPattern("a.{s"), Error);
  EXPECT_THROW(PathPattern("a.{}"), Error);
  EXPECT_THROW(PathPattern("a.{s-1}"), Error);
}

TEST(Renames, UnknownNamingListsTheKnown) {
  try {
    find_renames("swin", "keras");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("microsoft/Swin-Transformer, timm, torchvision, transformers"),
              std::string::npos);
  }
  EXPECT_THROW(renames_of("swing"), Error);
  EXPECT_THROW(find_renames("swin", "transformers").to_library("layers.0.blocks.0.attn.qkv.weight", {10, 3}),
               Error);
}

}  // namespace renames_test
}  // namespace locant
