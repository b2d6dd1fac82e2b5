// Loads a checkpoint and classifies pictures. Run it in the root of the repository.
#include <locant/locant.h>

#include <cstdio>

int main() {
  // [readme]
  const locant::LoadedModel model = locant::load_model("examples/digits/digits.safetensors");
  std::vector<locant::Image> pictures;
  for (const char* file : {"examples/digits/3_a.png", "examples/digits/7_b.png"})
    pictures.push_back(locant::read_image(file));
  for (const locant::Prediction& prediction : locant::classify(model, pictures)) {
    const locant::ClassScore& best = prediction.top.front();
    std::printf("%s with %.0f %%\n", best.label.c_str(), best.probability * 100);
  }
  // [readme]
}
