#pragma once

#include <utility>
#include <vector>

#include "ops/attention/inputs.h"

namespace locant {

/// A map as the kernel reads it, for a table of `rows`. Points into it.
OffsetView offset_view(const OffsetMap& map, std::int64_t rows);

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
  DenseTerm lower(const AttentionTerm::Dense& dense);
  GatherTerm lower(const AttentionTerm::Gather& gather);
  BucketTerm lower(const AttentionTerm::Bucket& bucket);
  BandTerm lower(const AttentionTerm::Band& band);
  AxisTerm lower(const AttentionTerm::Axis& axis);
  /// Zeros that get a Var's gradient; null where none is wanted.
  float* gradient(const Var& var);

  const AttentionInputs& in_;
  bool wanted_;
  std::vector<ScoreTerm> terms_;
  GatherTerm factor_;
  ValueTerm value_term_;
  std::vector<std::pair<Var, Tensor>> gradients_;
};

/// Sizes, views of q, k and v, row maps, terms and masks of a call. Buffers that the call makes (out, lse,
/// dropout, zeros for padding slots) are the caller's to fill in.
AttentionArgs lower_call(const AttentionInputs& in, const LoweredTerms& terms);

/// Throws what the kernel would say of the numbers of this call: for calls that it does not run.
void check_lowered(const AttentionInputs& in);

}  // namespace locant
