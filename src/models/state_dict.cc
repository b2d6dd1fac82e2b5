#include "models/state_dict.h"

#include <algorithm>

namespace locant {

TensorIndex::TensorIndex(const TensorFile& file) : file_(file) {
  by_name_.reserve(tensors().size());
  for (std::size_t i = 0; i < tensors().size(); ++i) by_name_.emplace(tensors()[i].name, i);
}

std::size_t TensorIndex::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? kNone : it->second;
}

std::vector<std::string> TensorIndex::prefixes_of(std::string_view name) const {
  std::vector<std::string> out;
  for (const TensorInfo& tensor : tensors()) {
    const std::string_view whole = tensor.name;
    if (whole.size() < name.size() || whole.substr(whole.size() - name.size()) != name) continue;
    const std::string_view before = whole.substr(0, whole.size() - name.size());
    if (before.empty() || before.back() == '.') out.emplace_back(before);
  }
  return out;
}

StateDict::StateDict(const TensorIndex& index, std::string prefix)
    : index_(&index), prefix_(std::move(prefix)), lengths_{prefix_.size()} {
  while (lengths_.back() > 0) {
    const std::size_t dot = lengths_.back() < 2 ? std::string::npos : prefix_.rfind('.', lengths_.back() - 2);
    lengths_.push_back(dot == std::string::npos ? 0 : dot + 1);
  }
}

std::size_t StateDict::find(const std::string& name) const {
  for (const std::size_t length : lengths_) {
    const std::size_t found =
        length == 0 ? index_->find(name) : index_->find(prefix_.substr(0, length) + name);
    if (found != TensorIndex::kNone) return found;
  }
  return TensorIndex::kNone;
}

std::string_view StateDict::behind(std::string_view in_file, std::size_t& level) const {
  for (level = 0; level < lengths_.size(); ++level) {
    const std::size_t length = lengths_[level];
    if (in_file.substr(0, length) == std::string_view(prefix_).substr(0, length)) break;
  }
  return in_file.substr(lengths_[level]);
}

int secondness(std::string_view prefix) {
  const auto any = [](std::string_view part, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), part) != words.end();
  };
  int out = 1;
  while (!prefix.empty()) {
    const std::size_t dot = prefix.find('.');
    const std::string_view part = prefix.substr(0, dot);
    if (any(part, {"state_dict_ema", "model_ema", "ema", "ema_model", "params_ema", "teacher"})) return 0;
    if (any(part, {"student"})) out = 2;
    prefix.remove_prefix(dot == std::string_view::npos ? prefix.size() : dot + 1);
  }
  return out;
}

}  // namespace locant
