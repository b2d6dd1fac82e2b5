#pragma once

#include <string>
#include <vector>

#include "segment/transforms.h"

namespace locant::cli {

/// What one answer is asked for, in pixels of the picture.
struct SegmentPrompt {
  std::vector<PromptPoint> points = {};
  std::vector<int> labels = {};     ///< 1 inside, 0 outside
  std::vector<PromptBox> box = {};  ///< one at most
};

/// "500,375" as a point; "10,20,300,400" as a box. Throws Error that repeats the text.
PromptPoint parse_point(const std::string& text);
PromptBox parse_box(const std::string& text);

/// A JSON list of prompts, each {"points": [[x, y], ..], "labels": [1, 0, ..], "box": [x0, y0, x1, y1]};
/// points without labels lie inside. Throws Error that names the file and the prompt.
std::vector<SegmentPrompt> read_prompts(const std::string& path);

/// Throws Error when a point lies outside the picture, a box is empty or outside, or nothing is asked.
void check_prompt(const SegmentPrompt& prompt, ImageSize picture);

}  // namespace locant::cli
