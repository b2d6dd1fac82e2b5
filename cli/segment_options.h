#pragma once

#include <string>
#include <vector>

#include "cli/embeddings.h"
#include "segment/mask_generator.h"

namespace locant::cli {

/// What `locant segment` takes.
struct SegmentOptions {
  EmbeddingOptions embedding;
  std::string picture, prompts, mask, output, overlay, coco, logits;
  std::vector<std::string> points, negative_points, boxes;
  bool multimask = false, everything = false, json = false;
  MaskGeneratorOptions generator;
};

void add_segment_options(CLI::App* sub, SegmentOptions& options);

}  // namespace locant::cli
