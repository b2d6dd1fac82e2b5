#include "train/color_jitter.h"

#include <algorithm>
#include <array>
#include <utility>

#include "io/pil_ops.h"
#include "train/random_streams.h"

namespace locant {

Image color_jitter(Image image, double amount, Rng& rng) {
  struct Step {
    Image (*change)(Image, double);
    double factor;
  };
  std::array<Step, 3> steps{{{pil_brightness, 1.0}, {pil_contrast, 1.0}, {pil_color, 1.0}}};
  for (Step& step : steps) step.factor = uniform_in(rng, std::max(0.0, 1.0 - amount), 1.0 + amount);
  for (std::size_t i = steps.size(); i > 1; --i) std::swap(steps[i - 1], steps[rng.below(i)]);
  for (const Step& step : steps) image = step.change(std::move(image), step.factor);
  return image;
}

}  // namespace locant
