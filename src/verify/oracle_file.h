#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/shape.h"
#include "core/tensor.h"

namespace locant {

/// What an oracle says about one tensor: its norm and some of its numbers.
struct OracleTensor {
  std::string name;  ///< tensor, module path or output
  std::string layout;
  Shape shape{0};  ///< of a gradient: taken from its parameter
  double norm = 0.0;
  std::vector<std::pair<std::int64_t, double>> samples;  ///< flat index, value
};

/// Numbers that a tensor of an oracle may have: a file of a few bytes can ask for any shape.
constexpr std::int64_t kLargestOracleTensor = std::int64_t{1} << 26;

/// A tensor that the formula gives.
struct OracleFormula {
  std::string name;
  Shape shape{0};
  double offset = 0.0, scale = 1.0;
  std::vector<double> values = {};  ///< instead of the formula's
};

/// Numbers that replace the formula's in a parameter.
struct OracleOverride {
  std::string name;
  bool identity = false;       ///< a unit matrix
  std::vector<double> values;  ///< one for all, or one each in row-major order
};

/// One file of numbers of a library's model, or of one of its layers.
struct OracleFile {
  std::string path;
  std::string family, naming, name_prefix;
  std::string layer;   ///< `build.layer`; empty: a whole model
  std::string config;  ///< JSON object: build.kwargs without what describes the run; build.args of a layer
  std::string in_layout, out_layout;  ///< "NCHW"; empty where the file does not say
  std::vector<OracleOverride> overrides;
  std::vector<OracleFormula> inputs, parameters;
  OracleTensor output;
  std::vector<OracleTensor> extra_outputs, stages, gradients;  ///< empty: outputs only
  std::vector<std::string> dense_stages, zero_gradients;
  double output_error = 0.0, stage_error = 0.0, gradient_error = 0.0;  ///< of torch's float32 run

  /// What the file calls a tensor of this name: behind name_prefix, or behind the naming's `prefix`, which
  /// models with a head have on some of their names.
  std::string name_in_file(const std::string& name, const std::string& prefix) const;
};

/// Throws Error ("[verify] FILE: ...") for a file that is no such oracle.
OracleFile read_oracle(const std::string& path);

/// Numbers of published weights on one photograph.
struct RealOracle {
  std::string path;
  std::string photo;  ///< file name
  std::int64_t columns = 0, rows = 0;
  std::string resized_sha256;         ///< empty: not told
  std::vector<OracleTensor> tensors;  ///< in the order of computation
};
RealOracle read_real_oracle(const std::string& path);

enum class OracleKind { model, real };
/// By content. Throws Error when it is neither.
OracleKind oracle_kind(const std::string& path);

/// Worst of the samples in units of norm / sqrt(count), and of the norm, relative; NaN when a number is NaN.
double oracle_error(std::span<const float> values, const OracleTensor& want);

}  // namespace locant
