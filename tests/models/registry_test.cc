#include "models/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "models/config_json.h"
#include "models/family.h"
#include "models/renames.h"

namespace locant {
namespace registry_test {

std::int64_t count(const std::vector<Parameter>& parameters) {
  std::int64_t out = 0;
  for (const Parameter& parameter : parameters) out += parameter.shape.numel();
  return out;
}

TEST(Registry, NamesAndAliasesAreUnique) {
  std::set<std::string> names;
  for (const ModelEntry& entry : model_entries()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    for (const std::string& alias : entry.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    EXPECT_EQ(&find_model(entry.name), &entry);
    EXPECT_FALSE(entry.note.empty());
  }
}

TEST(Registry, EveryVariantBuildsAndSplitsIntoEveryNaming) {
  for (const ModelEntry& entry : model_entries()) {
    const std::vector<Parameter> parameters = model_parameters(entry.family, entry.config);
    EXPECT_GT(parameters.size(), 20u) << entry.name;
    const Family& family = find_family(entry.family);
    const std::string whole = merge_config(family.default_config(family), entry.config);
    for (const Renames& renames : renames_of(entry.family)) {
      if (!renames.suits(whole)) continue;
      std::set<std::string> names;
      for (const Parameter& p : model_parameters(entry.family, renames.configure(entry.config)))
        for (const SourcePiece& piece : renames.to_library(p.name, p.shape))
          EXPECT_TRUE(names.insert(piece.name).second) << renames.naming << ": " << piece.name;
    }
    EXPECT_EQ(Preprocess::from_json(entry.preprocess.to_json()).rows, entry.preprocess.rows);
  }
}

TEST(Registry, ParameterCountsArePublished) {
  const std::vector<std::pair<const char*, std::int64_t>> published = {
      {"swin_tiny_patch4_window7_224", 28'288'354},
      {"swin_small_patch4_window7_224", 49'606'258},
      {"swin_base_patch4_window7_224", 87'768'224},
      {"swin_base_patch4_window12_384", 87'903'584},
      {"swin_large_patch4_window7_224", 196'532'476},
      {"swin_large_patch4_window12_384", 196'735'516},
      {"swin_t", 28'288'354},
      {"swin3d_t", 28'158'070},
      {"swin3d_s", 49'816'678},
      {"swin3d_b", 88'048'984},
      {"vit_tiny_patch16_224", 5'717'416},
      {"vit_small_patch16_224", 22'050'664},
      {"vit_base_patch16_224", 86'567'656},
      {"vit_large_patch16_224", 304'326'632},
      {"deit_tiny_distilled_patch16_224", 5'910'800},
      {"dinov2_vits14", 22'056'576},
      {"dinov2_vitb14_reg", 86'583'552},
      {"dinov2_vitg14", 1'136'480'768},
      {"simple_vit_small", 21'958'504},
  };
  for (const auto& [name, parameters] : published) {
    const ModelEntry& entry = find_model(name);
    EXPECT_EQ(count(model_parameters(entry.family, entry.config)), parameters) << name;
  }
}

TEST(Registry, ShortNamesMeanTheUsualModel) {
  EXPECT_EQ(find_model("swin_tiny").name, "swin_tiny_patch4_window7_224");
  EXPECT_EQ(find_model("swin_base_384").name, "swin_base_patch4_window12_384");
  EXPECT_EQ(find_model("torchvision/swin_t").name, "swin_t");
  EXPECT_EQ(find_model("vit_tiny_16").name, "vit_tiny_patch16_224");
}

TEST(Registry, TorchvisionVariantsHaveItsPreprocessing) {
  EXPECT_EQ(find_model("swin_t").preprocess.resize_to, 232);
  EXPECT_EQ(find_model("swin_s").preprocess.resize_to, 246);
  EXPECT_EQ(find_model("swin_b").preprocess.resize_to, 238);
}

TEST(Registry, UnknownNamesGetTheNearest) {
  const auto message = [](auto&& action) -> std::string {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message([] { find_model("swin_tinny"); }).find("swin_tiny"), std::string::npos);
  ShapeSource source;
  const Weights weights(source, WeightMode::shapes);
  EXPECT_NE(message([&] {
              make_model("swing", "{}", weights);
            }).find("swin, swin_v2, video_swin, aim_swin, vit, deit"),
            std::string::npos);
}

TEST(ImagenetClasses, AreAThousandInOrder) {
  const std::vector<std::string>& classes = imagenet_classes();
  ASSERT_EQ(classes.size(), 1000u);
  EXPECT_EQ(classes[0], "tench");
  EXPECT_EQ(classes[1], "goldfish");
  EXPECT_EQ(classes[999], "toilet tissue");
  for (const std::string& name : classes) EXPECT_FALSE(name.empty());
}

TEST(ImagenetClasses, SynsetsAreInTheSameOrder) {
  const std::vector<std::string>& synsets = imagenet_synsets();
  ASSERT_EQ(synsets.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(synsets.begin(), synsets.end()));
  EXPECT_EQ(std::set<std::string>(synsets.begin(), synsets.end()).size(), 1000u);
  // imagenette's
  const std::vector<std::pair<std::string, std::string>> known = {
      {"n01440764", "tench"},         {"n02102040", "English springer"}, {"n02979186", "cassette player"},
      {"n03000684", "chain saw"},     {"n03028079", "church"},           {"n03394916", "French horn"},
      {"n03417042", "garbage truck"}, {"n03425413", "gas pump"},         {"n03445777", "golf ball"},
      {"n03888257", "parachute"},     {"n15075141", "toilet tissue"}};
  for (const auto& [synset, name] : known) {
    const auto at = std::find(synsets.begin(), synsets.end(), synset);
    ASSERT_NE(at, synsets.end()) << synset;
    EXPECT_EQ(imagenet_classes()[static_cast<std::size_t>(at - synsets.begin())], name);
  }
}

}  // namespace registry_test
}  // namespace locant
