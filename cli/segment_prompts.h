#pragma once

#include <string>
#include <vector>

#include "segment/predictor.h"

namespace locant::cli {

/// "500,375" as a point; "10,20,300,400" as a box. Throws Error that repeats the text.
PromptPoint parse_point(const std::string& text);
PromptBox parse_box(const std::string& text);

/// A JSON list of prompts, each {"points": [[x, y], ..], "labels": [1, 0, ..], "box": [x0, y0, x1, y1]};
/// points without labels lie inside. Throws Error that names the file and the prompt.
std::vector<SamPrompt> read_prompts(const std::string& path);

/// The mask of a --logits file with the highest predicted IoU, as a prompt. Throws Error that names the file.
Tensor read_mask_prompt(const std::string& path);

}  // namespace locant::cli
