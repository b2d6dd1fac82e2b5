#pragma once

#include <string>
#include <vector>

#include "segment/predictor.h"

namespace locant::cli {

/// "500,375" as a point; "10,20,300,400" as a box. Throws Error that repeats the text.
PromptPoint parse_point(const std::string& text);
PromptBox parse_box(const std::string& text);

/// A prompt of a file.
struct NamedPrompt {
  SamPrompt prompt;     ///< its name says where it stands in the file
  std::string id = {};  ///< the file's own, as JSON: "7" or "\"cat\""; empty without one
};

/// A JSON list of prompts (or one alone), each an object of
///   points, or point_coords    [[x, y], ..]
///   labels, or point_labels    [1, 0, ..], 1 inside, 0 outside, -1 no point; without them all lie inside
///   box                        [x0, y0, x1, y1]
///   boxes                      [[x0, y0, x1, y1], ..]: a prompt of its own each; alone
///   id                         a text or whole number, which answers repeat
/// under our words or those of the official SamPredictor. Throws Error that names the file and the prompt; an
/// empty prompt is one.
std::vector<NamedPrompt> read_prompts(const std::string& path);

}  // namespace locant::cli
