#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/renames.h"
#include "nn/weights.h"
#include "verify/oracle_file.h"

namespace locant {

/// What an oracle file describes, a model or a single layer, with the formula's numbers and ready to run.
struct OracleSubject {
  /// The file's inputs in their order and layout -> its output, then its extra outputs; undefined where the
  /// subject returns none of that name (a model may show it as a stage instead).
  std::function<std::vector<Var>(const Context&, const std::vector<Var>&)> run;
  std::vector<Parameter> parameters;
  std::vector<std::string> problems;  ///< parameters that are missing, left over or of another shape
};

/// Throws Error for an unknown family or layer (with the known ones), a configuration that it lacks, or
/// inputs that it does not have. `file` and `renames` must outlive it.
OracleSubject build_subject(const OracleFile& file, const Renames& renames, WeightMode mode);

/// The order of axes that makes `from` of `to`, layouts as oracle files write them ("LNC"); empty when they
/// are equal or no order does.
std::vector<int> axes_between(const std::string& from, const std::string& to);

}  // namespace locant
