#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/shape.h"

namespace locant {

/// One piece of a library's tensor that makes up (part of) one of ours.
struct SourcePiece {
  std::string name;       ///< the library's name, without prefix
  std::int64_t row = 0;   ///< first row (axis 0) of our tensor that it fills
  std::int64_t rows = 0;  ///< rows it fills; 0: all
};

/// One of our tensors (or part of it) behind a library's name.
struct OurPiece {
  std::string name;
  std::size_t part = 0;  ///< which of `parts` equal parts along axis 0
  std::size_t parts = 1;
};

/// A path with places for numbers: "features.{2s+1}.{b}.attn". {as+c} holds a*s + c for a whole s
/// >= 0; a variable that comes twice must agree. Matches a leading part of a path that ends at a dot or at
/// the path's end.
class PathPattern {
 public:
  /// Throws Error where a place is written wrongly.
  PathPattern(const char* text);  // NOLINT: rules are written as plain texts
  /// Numbers of the variables a..z, -1 where unset.
  struct Numbers {
    std::int64_t value[26];
    Numbers() {
      for (auto& v : value) v = -1;
    }
  };
  /// True when `path` starts with it; `rest` is what follows (empty, or from the dot on).
  bool match(std::string_view path, Numbers& numbers, std::string_view& rest) const;
  std::string fill(const Numbers& numbers) const;
  const std::string& text() const { return text_; }

 private:
  struct Part {
    std::string_view literal;  ///< before the number
    char variable = 0;         ///< 0: no number follows, this is the last
    std::int64_t factor = 1, offset = 0;
  };
  /// Takes the next part off a pattern. Read anew each time: most patterns of a run are never matched.
  static Part take_part(std::string_view& pattern);

  std::string text_;
};

/// A library's names for a model family, as data: an ordered list of two-way rules between canonical names
/// (ours) and the library's, for tensors, gradients and module paths (stages) alike. The first rule that
/// matches is the only one used; a name that none matches is the same on both sides.
class Renames {
 public:
  struct Rule {
    PathPattern ours;
    /// One path, or several: ours then consists of equal parts along axis 0 (q, k, v), one each.
    std::vector<PathPattern> theirs;
    bool exact = false;  ///< matches the whole path only, not what lies below it
    Rule(const char* our_path, const char* their_path, bool whole = false);
    Rule(const char* our_path, std::initializer_list<const char*> their_paths);
  };
  /// Other spellings found in files, read as the first: {"mlp.{i}.linear_1", "mlp.{i}.0"}.
  struct Alias {
    PathPattern spelling, name;
  };
  /// Values that checkpoints of this naming were made with.
  struct Override {
    /// A key of the object at hand that must be non-zero; "!key": zero or absent; "key=number" or "key=text";
    /// "": any object. A dot leads into a list: "depths.0=4".
    std::string when;
    std::string values;  ///< JSON object
    bool always =
        false;  ///< holds also where a description says otherwise: this library means something else by it
  };

  std::string naming;  ///< "timm", "torchvision", "transformers", "microsoft/Swin-Transformer", ...
  /// Conditions on the configuration, all of which hold for models that these names are for: "depths.0=4", as
  /// Override::when. Where a library counts on through the stages, its names depend on their depths.
  std::vector<std::string> of;
  std::string prefix;  ///< what the library writes before the names of the model without its head: "swin."
  std::vector<Rule> rules;
  std::vector<Alias> aliases;
  std::vector<std::string>
      derived;  ///< glob patterns of buffers that are recomputed: "*.relative_position_index"
  std::vector<std::string> unused;    ///< glob patterns of tensors that this model has no use for: "pooler.*"
  std::vector<std::string> optional;  ///< our tensors that a file may lack: they keep their initial value
  std::vector<Override> overrides;    ///< of the model's configuration
  std::vector<Override> preprocess;   ///< of the registered model's preprocessing (Preprocess::to_json)

  /// Library pieces that make up our tensor, in row order. Throws Error when a split does not divide axis 0.
  std::vector<SourcePiece> to_library(const std::string& ours, const Shape& shape) const;
  /// Names of those pieces.
  std::vector<std::string> library_names(const std::string& ours) const;
  /// Our module path or name for the library's; unchanged where no rule applies, the first where several
  /// share one.
  std::string to_ours(const std::string& theirs) const;
  /// The same with the part of our tensor that it is.
  OurPiece piece_to_ours(const std::string& theirs) const;
  /// The library's module path for ours (stages); the first where ours is split.
  std::string path_to_library(const std::string& ours) const;
  /// The spelling that the rules know of a name in a file, without what stands before it there.
  std::string spelled(const std::string& in_file) const;
  /// Whether these are names for a model of this configuration (JSON object, all fields).
  bool suits(const std::string& config) const;
  bool is_derived(const std::string& theirs) const;
  bool is_unused(const std::string& theirs) const;
  bool is_optional(const std::string& ours) const;
  /// The overrides of a configuration that apply to it; JSON objects.
  std::string overridden(const std::string& config) const;
  /// `config` with them: what to build for a file of this naming.
  std::string configure(const std::string& config) const;
  /// `config` with those of them that it does not set itself, or that hold always (a description that says
  /// more than the naming: verify).
  std::string complete(const std::string& config) const;
  /// Preprocessing (Preprocess::to_json) of a registered model with the overrides that apply.
  std::string configure_preprocess(const std::string& preprocess) const;
};

/// Whether one of the glob patterns ('*' for any characters, dots included) is the whole of `text`.
bool matches_any(const std::vector<std::string>& patterns, std::string_view text);

/// Whether a tensor of this name is what training leaves beside and within any model, and no model uses.
bool is_left_behind(std::string_view name);

/// Libraries that call everything as we do.
std::vector<Renames> same_names(std::initializer_list<const char*> namings);

/// Every naming that a family's checkpoints come in; our own (or what equals it) first. One naming may come
/// several times (older and newer spellings): the first is the one written.
const std::vector<Renames>& renames_of(const std::string& family);
/// Throws Error that lists the known namings.
const Renames& find_renames(const std::string& family, const std::string& naming);
/// The first of the naming that suits the configuration (JSON object, all fields); throws Error where none
/// does.
const Renames& find_renames(const std::string& family, const std::string& naming, const std::string& config);

}  // namespace locant
