#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/shape.h"

namespace locant {

/// One piece of a library's tensor that makes up (part of) one of ours.
struct SourcePiece {
  std::string name;          ///< the library's name
  std::int64_t row = 0;      ///< first row (axis 0) of our tensor that it fills
  std::int64_t rows = 0;     ///< rows it fills; 0: all
};

/// A library's names for a model family, as data: an ordered list of two-way patterns between canonical names (ours) and
/// the library's, for tensors and for module paths (stages) alike, and of tensors that are split (q, k, v).
class Renames {
 public:
  struct Rule {
    std::string ours;    ///< "layers.{s}.blocks.{b}.attn.qkv"; {s} captures a number
    std::string theirs;  ///< "features.{2s+1}.{b}.attn.qkv"; arithmetic {a*s+c} is inverted on the way back
  };
  struct Split {
    std::string ours;                 ///< ".attn.qkv" (a path that holds weight and bias)
    std::vector<std::string> theirs;  ///< ".attn.query", ".attn.key", ".attn.value": equal parts along axis 0
  };
  std::string naming;  ///< "timm", "torchvision", "transformers", "microsoft/Swin-Transformer", ...
  std::string prefix;  ///< stands before every tensor name in files: "swin."; optional on reading
  std::vector<Rule> rules;
  std::vector<Split> splits;
  std::vector<std::string> derived;  ///< patterns of buffers that are recomputed: "*.relative_position_index"

  /// Library pieces that make up our tensor, in row order.
  std::vector<SourcePiece> to_library(const std::string& ours, const Shape& shape) const;
  /// Our module path or name for the library's; unchanged where no rule applies.
  std::string to_ours(const std::string& theirs) const;
  /// The library's module path for ours (stages).
  std::string path_to_library(const std::string& ours) const;
  bool is_derived(const std::string& theirs) const;
};

/// Every naming that a family's checkpoints come in; our own first.
const std::vector<Renames>& renames_of(const std::string& family);
/// Throws Error that lists the known namings.
const Renames& find_renames(const std::string& family, const std::string& naming);

}  // namespace locant
