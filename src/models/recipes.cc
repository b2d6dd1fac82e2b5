#include "models/recipes.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <vector>

namespace locant {
namespace {

struct Recipe {
  const char* word;  ///< of the name, between what are no letters and digits
  std::vector<float> mean, std;
  double crop_pct;
  ResizeFilter filter;
};

/// Sources: the evaluation transforms of the repositories; timm's default_cfgs.
const std::vector<Recipe>& recipes() {
  static const std::vector<float> kMean = {0.485f, 0.456f, 0.406f}, kStd = {0.229f, 0.224f, 0.225f};
  static const std::vector<Recipe> kRecipes = {
      {"deit", kMean, kStd, 0.875, ResizeFilter::bicubic},
      {"dino", kMean, kStd, 0.875, ResizeFilter::bicubic},
      {"mae", kMean, kStd, 0.875, ResizeFilter::bicubic},
      {"moco", kMean, kStd, 0.875, ResizeFilter::bicubic},
      {"miil", {0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f}, 0.875, ResizeFilter::bilinear},
      {"clip",
       {0.48145466f, 0.4578275f, 0.40821073f},
       {0.26862954f, 0.26130258f, 0.27577711f},
       1.0,
       ResizeFilter::bicubic}};
  return kRecipes;
}

/// In small letters, parted by what is no letter and no digit.
std::vector<std::string> words_of(const std::string& name) {
  std::vector<std::string> out(1);
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)))
      out.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!out.back().empty())
      out.emplace_back();
  return out;
}

}  // namespace

bool recipe_of_name(const std::string& file_name, Preprocess& preprocess, std::string& word) {
  const std::vector<std::string> words = words_of(file_name);
  for (const Recipe& recipe : recipes()) {
    if (std::find(words.begin(), words.end(), recipe.word) == words.end()) continue;
    if (preprocess.channels != static_cast<std::int64_t>(recipe.mean.size())) return false;
    preprocess.mode = Preprocess::Mode::resize_short;
    preprocess.resize_to = 0;
    preprocess.crop_pct = recipe.crop_pct;
    preprocess.filter = recipe.filter;
    preprocess.mean = recipe.mean;
    preprocess.std = recipe.std;
    word = recipe.word;
    return true;
  }
  return false;
}

std::string untold_computation(const std::string& name) {
  const std::vector<std::string> words = words_of(name);
  const auto has = [&](const char* word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (!has("vit")) return "";
  if (has("rope") || has("dinov3")) return "rotary positions";
  if (has("rpn")) return "norms behind the branches";
  const bool tanh = (has("so400m") && has("patch16")) || has("giantopt") || (has("base") && has("patch32")) ||
                    (has("large") && has("512"));
  if (has("siglip") && tanh) return "GELU by its tanh formula";
  return "";
}

std::string untold_fields(const std::string& name) {
  // timm's, whose heads are not 64 channels wide.
  static const std::map<std::string, std::string> kFields = {{"vit_base_patch16_gap_224", R"({"heads":16})"},
                                                             {"test_vit", R"({"heads":2})"}};
  const auto found = kFields.find(name);
  return found == kFields.end() ? "" : found->second;
}

}  // namespace locant
