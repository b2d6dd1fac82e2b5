#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/embeddings.h"

namespace locant::cli {

/// Writes what `--logits` asks for, and which picture it is of: its name and pixels_key() in the metadata.
void write_logits(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& logits,
                  const PictureFile& picture);

/// A mask out of such a file.
struct MaskPrompt {
  Tensor logits;             ///< (side, side), of the highest predicted IoU
  std::string picture, key;  ///< name and pixels_key(); empty where the file does not say
  ImageSize size;            ///< of the picture, by the large logits; 0 without them
};

/// Throws Error that names the file: for one of several prompts, another format, numbers that are not finite.
MaskPrompt read_mask_prompt(const std::string& path);

/// Why a mask may not belong to this picture: it was made from another one, or does not say from which. Empty
/// when it was made from this one.
std::string foreign(const MaskPrompt& mask, const PictureFile& picture);

}  // namespace locant::cli
