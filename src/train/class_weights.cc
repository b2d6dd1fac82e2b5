#include "train/class_weights.h"

#include "core/error.h"

namespace locant {

std::vector<float> class_weights(const std::string& rule, const Dataset& data,
                                 const std::vector<std::string>& classes,
                                 const std::function<void(const std::string&)>& note) {
  if (rule == "none") return {};
  require(rule == "balanced", "train", "class weights \"{}\" are neither none nor balanced", rule);
  std::vector<double> counts(classes.size());
  for (std::int64_t i = 0; i < data.size(); ++i) ++counts[static_cast<std::size_t>(data.label(i))];
  constexpr std::size_t kShown = 20;
  std::vector<float> out;
  std::string line;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    require(counts[c] > 0.0, "train", "class \"{}\" has no picture to train on, so that it cannot be weighed",
            classes[c]);
    out.push_back(static_cast<float>(static_cast<double>(data.size()) /
                                     (static_cast<double>(classes.size()) * counts[c])));
    if (c < kShown) line += fmt::format("{}{} {:.3g}", c == 0 ? "" : ", ", classes[c], out.back());
  }
  if (note) note(fmt::format("weights of classes: {}{}", line, classes.size() > kShown ? ", ..." : ""));
  return out;
}

}  // namespace locant
