#include "verify/formula_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "verify/formula.h"

namespace locant {
namespace {

void apply(const OracleOverride& change, Tensor& x) {
  if (change.identity) {
    require(x.shape().rank() == 2, "verify", "{} of shape {} cannot be a unit matrix", change.name,
            x.shape().str());
    for (std::int64_t i = 0; i < x.numel(); ++i) x[i] = i / x.dim(1) == i % x.dim(1) ? 1.0f : 0.0f;
    return;
  }
  const auto count = static_cast<std::int64_t>(change.values.size());
  require(count == 1 || count == x.numel(), "verify", "{} of shape {} is overridden by {} numbers",
          change.name, x.shape().str(), count);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x[i] = static_cast<float>(change.values[static_cast<std::size_t>(count == 1 ? 0 : i)]);
}

}  // namespace

bool is_unused(const OracleFile& file, const Renames& renames, const std::string& name) {
  return renames.is_unused(name.starts_with(file.name_prefix) ? name.substr(file.name_prefix.size()) : name);
}

Tensor FormulaSource::get(const std::string& name, const Shape& shape, const Init& init) {
  require(shape.numel() <= kLargestOracleTensor, "verify", "{} of shape {}; at most {} numbers can be made",
          name, shape.str(), kLargestOracleTensor);
  Tensor out = Tensor::full(shape, init.kind == Init::Kind::constant ? init.value : 0.0f);
  for (const SourcePiece& piece : renames_.to_library(name, shape)) {
    const std::string theirs = file_.name_in_file(piece.name, renames_.prefix);
    const auto found = by_name_.find(theirs);
    if (found == by_name_.end()) {
      if (!renames_.is_optional(name))
        problems_.push_back(fmt::format("missing in the file: {} (our {})", theirs, name));
      continue;
    }
    const OracleFormula& formula = *found->second;
    Tensor rows = piece.rows == 0 ? out : out.slice(piece.row, piece.row + piece.rows);
    used_.insert(theirs);
    if (formula.shape != rows.shape()) {
      problems_.push_back(
          fmt::format("{} is {} in the file, {} here", theirs, formula.shape.str(), rows.shape().str()));
      continue;
    }
    const Tensor numbers = formula_tensor(formula.shape, theirs, formula.offset, formula.scale);
    std::copy(numbers.values().begin(), numbers.values().end(), rows.data());
    for (const OracleOverride& change : file_.overrides)
      if (change.name == theirs) apply(change, rows);
  }
  return out;
}

std::vector<std::string> FormulaSource::problems() const {
  std::vector<std::string> out = problems_;
  for (const OracleFormula& parameter : file_.parameters)
    if (used_.count(parameter.name) == 0 && !is_unused(file_, renames_, parameter.name))
      out.push_back(fmt::format("the model has no {}", parameter.name));
  return out;
}

}  // namespace locant
