#include "models/checkpoint.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/finite.h"
#include "models/config_json.h"

namespace locant {
namespace {

Shape piece_shape(const Shape& shape, const SourcePiece& piece) {
  if (piece.rows == 0) return shape;
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[0] = piece.rows;
  return Shape(extents);
}

Tensor initial(const Shape& shape, const Init& init) {
  require(init.kind == Init::Kind::constant, "load",
          "a tensor that a file may lack must start as a constant");
  return Tensor::full(shape, init.value);
}

/// Names that the library spells otherwise than the file.
std::unordered_map<std::string, std::size_t> spelled_names(const StateDict& state, const Renames& renames) {
  std::unordered_map<std::string, std::size_t> out;
  if (renames.aliases.empty()) return out;
  const auto& tensors = state.index().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::size_t level = 0;
    const std::string name(state.behind(tensors[i].name, level));
    if (std::string spelled = renames.spelled(name); spelled != name) out.emplace(std::move(spelled), i);
  }
  return out;
}

}  // namespace

CheckpointSource::CheckpointSource(StateDict state, const Renames& renames)
    : state_(std::move(state)), renames_(renames), spelled_(spelled_names(state_, renames_)) {}

CheckpointSource::CheckpointSource(const TensorFile& file, const Renames& renames)
    : own_index_(std::make_shared<TensorIndex>(file)),
      state_(*own_index_, ""),
      renames_(renames),
      spelled_(spelled_names(state_, renames_)) {}

std::size_t CheckpointSource::find(const std::string& library_name) const {
  const std::size_t found = state_.find(library_name);
  if (found != TensorIndex::kNone) return found;
  const auto it = spelled_.find(library_name);
  return it == spelled_.end() ? TensorIndex::kNone : it->second;
}

std::optional<Shape> CheckpointSource::shape_of(const std::string& name, bool derived) const {
  const std::vector<std::string> theirs = renames_.library_names(name);
  const std::size_t found = find(theirs[0]);
  if (found == TensorIndex::kNone || renames_.is_derived(theirs[0]) != derived ||
      (!derived && renames_.is_unused(theirs[0])))
    return std::nullopt;
  const Shape& shape = state_.index().tensors()[found].shape;
  if (theirs.size() == 1) return shape;
  for (std::size_t i = 1; i < theirs.size(); ++i)
    if (find(theirs[i]) == TensorIndex::kNone) return std::nullopt;
  if (shape.rank() == 0) return std::nullopt;
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[0] *= static_cast<std::int64_t>(theirs.size());
  return Shape(extents);
}

std::optional<Shape> CheckpointSource::shape_of(const std::string& name) const {
  return shape_of(name, false);
}

std::optional<Shape> CheckpointSource::derived_shape_of(const std::string& name) const {
  return shape_of(name, true);
}

CheckpointFit CheckpointSource::fit(const std::vector<Parameter>& parameters,
                                    const std::vector<std::string>& ignore) const {
  CheckpointFit fit;
  const auto& tensors = state_.index().tensors();
  std::vector<bool> taken(tensors.size(), false);
  for (const Parameter& parameter : parameters) {
    bool whole = true;
    for (const SourcePiece& piece : renames_.to_library(parameter.name, parameter.shape)) {
      const std::size_t found = find(piece.name);
      if (found == TensorIndex::kNone) {
        whole = false;
        if (renames_.is_optional(parameter.name))
          fit.defaulted.push_back(parameter.name);
        else
          fit.missing.push_back(piece.name);
        continue;
      }
      taken[found] = true;
      const TensorInfo& info = tensors[found];
      const Shape expected = piece_shape(parameter.shape, piece);
      if (info.shape != expected)
        fit.wrong_shape.push_back({info.name, info.shape, expected});
      else if (!is_float(info.dtype))
        fit.wrong_type.push_back(fmt::format("{} ({})", info.name, dtype_name(info)));
      else
        continue;
      whole = false;
    }
    fit.matched += whole;
  }
  sort_others(taken, ignore, fit);
  return fit;
}

/// What no parameter takes. A name behind the whole prefix stands under a module of the model's; one behind
/// less of it does so where its first part is that of a tensor that was taken there.
void CheckpointSource::sort_others(const std::vector<bool>& taken, const std::vector<std::string>& ignore,
                                   CheckpointFit& fit) const {
  const auto& tensors = state_.index().tensors();
  const auto root = [](std::size_t level, std::string_view name) {
    return std::to_string(level) + "." + std::string(name.substr(0, name.find('.')));
  };
  std::set<std::string> roots;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::size_t level = 0;
    const std::string_view name = state_.behind(tensors[i].name, level);
    if (taken[i] && level > 0) roots.insert(root(level, name));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (taken[i]) continue;
    std::size_t level = 0;
    const std::string name(state_.behind(tensors[i].name, level));
    const std::string theirs = renames_.spelled(name);
    const bool copy = find(theirs) != TensorIndex::kNone && find(theirs) != i;  // under another spelling
    if (renames_.is_derived(theirs))
      fit.derived.push_back(tensors[i].name);
    else if (renames_.is_unused(theirs) || is_left_behind(theirs) || copy)
      fit.unused.push_back(tensors[i].name);
    else if (level > 0 && roots.count(root(level, name)) == 0)
      fit.beside.push_back(tensors[i].name);
    else if (matches_any(ignore, tensors[i].name) || matches_any(ignore, name))
      fit.ignored.push_back(tensors[i].name);
    else
      fit.foreign.push_back(tensors[i].name);
  }
}

Tensor CheckpointSource::get(const std::string& name, const Shape& shape, const Init& init) {
  const TensorFile& file = state_.index().file();
  const std::vector<SourcePiece> pieces = renames_.to_library(name, shape);
  Tensor whole;
  for (const SourcePiece& piece : pieces) {
    const std::size_t found = find(piece.name);
    if (found == TensorIndex::kNone) {
      if (renames_.is_optional(name)) return initial(shape, init);
      fail("load", "{}: no tensor {}", file.path(), piece.name);
    }
    const TensorInfo* info = &file.tensors()[found];
    const Shape expected = piece_shape(shape, piece);
    if (info->shape != expected)
      fail("load", "{}: {} is {}; {} was expected", file.path(), info->name, info->shape.str(),
           expected.str());
    const Tensor part = file.read(info->name);
    const std::string bad = not_finite(part);
    require(bad.empty(), "load",
            "{}: tensor {} holds {}: the file is damaged, or its training diverged; take another",
            file.path(), info->name, bad);
    if (pieces.size() == 1 && part.is_borrowed()) {
      held_[name] = info->name;
      return part;
    }
    if (pieces.size() > 1) {
      if (!whole.defined()) whole = Tensor(shape);
      std::copy_n(part.data(), part.numel(), whole.data() + piece.row * (shape.numel() / shape[0]));
    } else {
      whole = part;  // converted, so it has left the file already
    }
    file.release(info->name);
  }
  return whole;
}

void CheckpointSource::release(const std::string& name) {
  const auto it = held_.find(name);
  if (it == held_.end()) return;
  state_.index().file().release(it->second);
  held_.erase(it);
}

namespace {

/// "3 tensors missing: a (nearest in the file: b), c, d" with at most eight names.
std::string list_names(const std::vector<std::string>& names, const std::vector<std::string>& others,
                       const char* what, const char* nearest) {
  constexpr std::size_t kShown = 8, kCompared = 400;
  if (names.empty()) return "";
  const std::vector<std::string> candidates(
      others.begin(), others.begin() + static_cast<std::ptrdiff_t>(std::min(others.size(), kCompared)));
  std::string out = fmt::format("{} tensor{} {}: ", names.size(), names.size() == 1 ? "" : "s", what);
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    const auto near = nearest_names(names[i], candidates, 1);
    out += (i == 0 ? "" : ", ") + names[i];
    if (!near.empty()) out += fmt::format(" (nearest {}: {})", nearest, near[0]);
  }
  if (names.size() > kShown) out += fmt::format(" and {} more", names.size() - kShown);
  return out;
}

}  // namespace

std::string describe(const CheckpointFit& fit) {
  std::vector<std::string> parts;
  if (!fit.missing.empty()) parts.push_back(list_names(fit.missing, fit.foreign, "missing", "in the file"));
  if (!fit.foreign.empty())
    parts.push_back(list_names(fit.foreign, fit.missing, "unknown to the model", "of the model"));
  if (!fit.wrong_type.empty())
    parts.push_back(list_names(fit.wrong_type, {}, "of a type that holds no weights", ""));
  if (!fit.wrong_shape.empty()) {
    std::string text = fmt::format("{} of another shape: ", fit.wrong_shape.size());
    for (std::size_t i = 0; i < std::min<std::size_t>(fit.wrong_shape.size(), 4); ++i) {
      const auto& wrong = fit.wrong_shape[i];
      text += fmt::format("{}{} is {}, the model has {}", i == 0 ? "" : "; ", wrong.name, wrong.in_file.str(),
                          wrong.expected.str());
    }
    if (fit.wrong_shape.size() > 4) text += fmt::format("; and {} more", fit.wrong_shape.size() - 4);
    parts.push_back(text);
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::vector<std::string> notes_of(const CheckpointFit& fit) {
  std::vector<std::string> out;
  const auto line = [&](const std::vector<std::string>& names, const char* why) {
    if (names.empty()) return;
    out.push_back(fmt::format("{} tensor{} ({}{}) {}", names.size(), names.size() == 1 ? "" : "s", names[0],
                              names.size() == 1 ? "" : ", ...", why));
  };
  line(fit.derived, "ignored: index tables and masks are computed from the shapes");
  line(fit.unused, "ignored: this model does not use them");
  line(fit.ignored, "ignored, as asked for");
  line(fit.beside, "beside the model left out");
  line(fit.defaulted, "not in the file: at their initial value, which this model never uses");
  return out;
}

}  // namespace locant
