#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace locant {

struct VerifyOptions {
  bool gradients = true;  ///< also the backward pass
  bool inference = true;  ///< also a second run with weights packed for inference
  /// Checkpoint for oracles of real weights; empty: such a file is an Error.
  std::string weights;
  /// Folder of the photographs; empty: "photos" beside the file or up to two levels above it.
  std::string photos;
  bool bits = false;  ///< also a hash of every tensor that is compared, to tell two builds apart
};

/// One comparison.
struct VerifyEntry {
  std::string kind;    ///< "input", "output", "stage", "gradient", "zero gradient" or "inference"
  std::string name;    ///< in the library's names
  double error = 0.0;  ///< worst sample in units of norm / sqrt(count), or relative error of the norm
  double bound = 0.0;
  std::string problem = {};  ///< why nothing was compared; empty otherwise
  std::string bits =
      {};  ///< first half of the SHA-256 of the tensor's floats, in hex; empty unless asked for
  bool ok() const { return problem.empty() && error <= bound; }
};

struct VerifyReport {
  std::string file, family, naming;
  std::string note;                   ///< what the file lacks, so that nothing was compared; or empty
  std::vector<std::string> problems;  ///< parameters that are missing, left over or of another shape
  std::vector<VerifyEntry> entries;   ///< in the order of computation, then gradients, then the inference run
  double build_ms = 0.0, forward_ms = 0.0, backward_ms = 0.0, inference_ms = 0.0;

  bool ok() const;
  /// The entry with the largest error in bounds of this kind ("" for any); null when there is none.
  const VerifyEntry* worst(std::string_view kind = "") const;
  /// The first entry out of bounds; null when there is none.
  const VerifyEntry* first_failure() const;
  /// Lines for people: a line per stage, the worst gradients, whatever fails. `all`: every entry.
  std::string text(bool all = false) const;
  /// One JSON object: file, family, naming, ok, problems, worst (by kind), entries, ms.
  std::string json() const;
};

/// Builds the model or layer that an oracle file's `build` key describes, gives its weights and input by the
/// file's formula, runs it forward and backward, and compares outputs, stages and the gradient of every
/// parameter. Bound of each: the larger of 5e-5 (gradients 2e-4) and ten times the error of torch's own
/// float32 run. A gradient that is zero by structure may reach 2e-4 units of our tensor that holds it (all of
/// a joint bias), of the median gradient where it is a tensor of its own. A parameter or stage that only one
/// side has is a failure. A file may hold outputs only: then stages and gradients are left out, and the
/// report says so. Throws Error for an unreadable file, an unknown family or layer (with the known
/// ones) or a configuration that it lacks.
VerifyReport verify_oracle(const std::string& json_path, const VerifyOptions& options = {});

/// The same for real weights on a photograph: decoding and resizing (to the bit), input, embeddings, a block,
/// all tokens, class token and its attention. Throws Error also for weights or pictures that cannot be read.
VerifyReport verify_real(const std::string& json_path, const std::string& weights,
                         const std::string& photo_dir = "");

/// Whichever of the two the file's content asks for.
VerifyReport verify_file(const std::string& json_path, const VerifyOptions& options = {});

}  // namespace locant
