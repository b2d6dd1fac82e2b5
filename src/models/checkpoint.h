#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/tensor_file.h"
#include "models/named_shapes.h"
#include "models/renames.h"
#include "models/state_dict.h"
#include "nn/weights.h"

namespace locant {

/// How a file's tensors and a model's parameters go together. Names are the file's where not said otherwise.
struct CheckpointFit {
  struct WrongShape {
    std::string name;
    Shape in_file, expected;
  };
  std::size_t matched = 0;           ///< parameters that the file gives
  std::vector<std::string> missing;  ///< names the file lacks, as its library writes them
  /// Under a module of the model's, and no parameter of it: with them the model would compute something else.
  std::vector<std::string> foreign;
  std::vector<WrongShape> wrong_shape;
  std::vector<std::string> wrong_type;  ///< whole numbers, or numbers that are not read: "norm.weight (I64)"
  std::vector<std::string> derived;     ///< buffers that are recomputed
  std::vector<std::string> unused;      ///< tensors of the library's that this model has no use for
  std::vector<std::string> beside;      ///< under other prefixes
  std::vector<std::string> ignored;     ///< foreign, but left out on request
  std::vector<std::string> defaulted;   ///< our parameters that the file may lack and lacks
  std::size_t faults() const {
    return missing.size() + foreign.size() + wrong_shape.size() + wrong_type.size();
  }
};

/// A file's tensors under a model's names. Float32 tensors of a mapped file are borrowed, split ones are
/// assembled. get() throws Error that names the file's tensor where a number is NaN or infinite: every model
/// loads through here.
class CheckpointSource final : public WeightSource, public ShapeTable {
 public:
  /// The renames and the file behind `state` must outlive it.
  CheckpointSource(StateDict state, const Renames& renames);
  /// Of all tensors of a file, without a prefix.
  CheckpointSource(const TensorFile& file, const Renames& renames);

  const StateDict& state() const { return state_; }
  /// `ignore`: glob patterns of foreign names.
  CheckpointFit fit(const std::vector<Parameter>& parameters,
                    const std::vector<std::string>& ignore = {}) const;

  std::optional<Shape> shape_of(const std::string& name) const override;
  std::optional<Shape> derived_shape_of(const std::string& name) const override;
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override;
  void release(const std::string& name) override;

 private:
  /// TensorIndex::kNone where there is none.
  std::size_t find(const std::string& library_name) const;
  std::optional<Shape> shape_of(const std::string& name, bool derived) const;
  void sort_others(const std::vector<bool>& taken, const std::vector<std::string>& ignore,
                   CheckpointFit& fit) const;

  std::shared_ptr<const TensorIndex> own_index_;  // of the second constructor
  StateDict state_;
  const Renames& renames_;
  std::unordered_map<std::string, std::size_t> spelled_;  // names that the library spells otherwise
  std::unordered_map<std::string, std::string> held_;     // our name -> the file's, lent and not yet released
};

/// "2 tensors missing: a (nearest in the file: b), ...; 1 tensor unknown: ..."; empty when all fits.
std::string describe(const CheckpointFit& fit);

/// Lines for people: what of the file was left out, and why.
std::vector<std::string> notes_of(const CheckpointFit& fit);

}  // namespace locant
