#include "models/recipes.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace locant {
namespace {

struct Recipe {
  const char* word;  ///< begins at the name's start, or behind what is no letter
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

}  // namespace

bool recipe_of_name(const std::string& file_name, Preprocess& preprocess, std::string& word) {
  std::string name;
  for (const char c : file_name) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const Recipe& recipe : recipes()) {
    const std::size_t at = name.find(recipe.word);
    if (at == std::string::npos || (at > 0 && std::isalpha(static_cast<unsigned char>(name[at - 1]))))
      continue;
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

}  // namespace locant
