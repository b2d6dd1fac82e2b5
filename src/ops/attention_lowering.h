#pragma once

#include <utility>
#include <vector>

#include "ops/attention_inputs.h"

namespace locant {

/// Terms, factor and value term of a call as the kernel wants them (kernels/score_term.h), and the gradients
/// of their tables while a backward runs. Points into `in`, which must outlive it.
class LoweredTerms {
 public:
  enum class Gradients { none, wanted };
  LoweredTerms(const AttentionInputs& in, Gradients gradients);
  LoweredTerms(const LoweredTerms&) = delete;
  LoweredTerms& operator=(const LoweredTerms&) = delete;

  /// Puts spans and pointers into `args`; they live as long as this.
  void put(AttentionArgs& args) const;
  /// Hands the gradients that the kernel has filled to their Vars.
  void accumulate();

 private:
  ScoreTerm lower(const AttentionTerm& term);
  OffsetMap offset(const GatherMap& map, std::int64_t rows) const;
  GatherTerm lower_gather(const AttentionTerm& term);
  AxisTerm lower_axis(const AttentionTerm& term);
  /// Zeros that get a Var's gradient; null where none is wanted.
  float* gradient(const Var& var);

  const AttentionInputs& in_;
  bool wanted_;
  std::vector<ScoreTerm> terms_;
  GatherTerm factor_;
  ValueTerm value_term_;
  std::vector<std::pair<Var, Tensor>> gradients_;
};

}  // namespace locant
