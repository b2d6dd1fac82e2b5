#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "models/renames.h"
#include "nn/weights.h"
#include "verify/oracle_file.h"

namespace locant {

/// Whether a parameter of the file is one that its class makes and never uses, and that we have not.
bool is_unused(const OracleFile& file, const Renames& renames, const std::string& name);

/// Numbers by the formula, asked for under our names and made under the library's.
class FormulaSource final : public WeightSource {
 public:
  FormulaSource(const OracleFile& file, const Renames& renames) : file_(file), renames_(renames) {
    for (const OracleFormula& parameter : file.parameters) by_name_[parameter.name] = &parameter;
  }
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override;
  /// What did not fit, and what nobody asked for.
  std::vector<std::string> problems() const;

 private:
  const OracleFile& file_;
  const Renames& renames_;
  std::map<std::string, const OracleFormula*> by_name_;
  std::set<std::string> used_;
  std::vector<std::string> problems_;
};

}  // namespace locant
