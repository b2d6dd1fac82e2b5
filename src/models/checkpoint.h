#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "io/tensor_file.h"
#include "models/renames.h"
#include "nn/weights.h"

namespace locant {

/// How a file's tensors and a model's parameters go together.
struct CheckpointFit {
  struct WrongShape {
    std::string name;  ///< the file's
    Shape in_file, expected;
  };
  std::size_t matched = 0;              ///< parameters that the file gives
  std::vector<std::string> missing;     ///< names the file lacks, as its library writes them
  std::vector<std::string> unexpected;  ///< the file's names that no parameter takes
  std::vector<WrongShape> wrong_shape;
  std::vector<std::string> derived;    ///< buffers that are recomputed
  std::vector<std::string> unused;     ///< tensors of the library's that this model has no use for
  std::vector<std::string> defaulted;  ///< our parameters that the file may lack and lacks
  std::size_t faults() const { return missing.size() + unexpected.size() + wrong_shape.size(); }
};

/// A file's tensors under a model's names. Float32 tensors of a mapped file are borrowed, split ones are
/// assembled. get() throws Error that names the file's tensor where a number is NaN or infinite: every model
/// loads through here.
class CheckpointSource final : public WeightSource {
 public:
  /// Both must outlive it.
  CheckpointSource(const TensorFile& file, const Renames& renames);

  CheckpointFit fit(const std::vector<Parameter>& parameters) const;
  /// Whether the file has (the first piece of) this parameter, whatever its shape.
  bool has(const Parameter& parameter) const;

  Tensor get(const std::string& name, const Shape& shape, const Init& init) override;
  void release(const std::string& name) override;

 private:
  const TensorInfo* find(const std::string& library_name) const;

  const TensorFile& file_;
  const Renames& renames_;
  std::unordered_map<std::string, std::size_t> by_name_;  // normalised name -> index in the file
  std::unordered_map<std::string, std::string> held_;     // our name -> the file's, lent and not yet released
};

/// "2 tensors missing: a (nearest in the file: b), ...; 1 tensor unexpected: ..."; empty when all fits.
std::string describe(const CheckpointFit& fit);

}  // namespace locant
