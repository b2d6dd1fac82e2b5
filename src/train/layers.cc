#include "train/layers.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/renames.h"

namespace locant {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes "blocks.3" or "layer1" off a path, up to the dot behind it; false where it does not begin with one
/// of these words and a number.
bool take_numbered(std::string_view& path, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    std::string_view rest = path;
    if (!rest.starts_with(word)) continue;
    rest.remove_prefix(word.size());
    if (!word.empty() && rest.starts_with('.')) rest.remove_prefix(1);
    std::size_t digits = 0;
    while (digits < rest.size() && is_digit(rest[digits])) ++digits;
    if (digits == 0 || (digits < rest.size() && rest[digits] != '.')) continue;
    path = rest.substr(std::min(digits + 1, rest.size()));
    return true;
  }
  return false;
}

/// "layers.1.blocks.0" of "layers.1.blocks.0.attn.qkv.weight"; empty where a name is in no block.
std::string_view block_of(std::string_view name) {
  std::string_view rest = name;
  for (const std::string_view wrapper : {"transformer.", "encoder.", "trunk.", "backbone."})
    if (rest.starts_with(wrapper)) rest.remove_prefix(wrapper.size());
  if (!take_numbered(rest, {"blocks_token_only", "cls_attn_blocks", "blocks", "layers", "levels", "stages",
                            "block", "layer", "stage"}))
    return {};
  take_numbered(rest, {"blocks", "layers", ""});  // of a stage
  return name.substr(0, name.size() - rest.size());
}

}  // namespace

std::vector<double> Layers::rates(double decay) const {
  std::vector<double> out;
  for (const std::int64_t layer : of) out.push_back(std::pow(decay, static_cast<double>(last - layer)));
  return out;
}

Layers layers_of(const std::vector<Parameter>& parameters) {
  Layers out;
  std::string_view block;
  std::int64_t layer = 0;
  std::size_t last_in_block = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::string_view here = block_of(parameters[i].name);
    if (!here.empty()) {
      layer += here != block;
      block = here;
      last_in_block = i;
    }
    out.of.push_back(layer);
  }
  out.last = layer + 1;
  if (layer > 0)
    for (std::size_t i = last_in_block + 1; i < parameters.size(); ++i) out.of[i] = out.last;
  return out;
}

std::vector<bool> frozen_parameters(const std::vector<Parameter>& parameters, std::int64_t layers,
                                    const std::vector<std::string>& patterns) {
  const Layers where = layers_of(parameters);
  require(layers >= 0 && layers <= where.last, "train",
          "--freeze {}: the model has {} layers before its head; 0 to {} of them can stand still", layers,
          where.last, where.last);
  std::vector<bool> out;
  for (const std::int64_t layer : where.of) out.push_back(layer < layers);
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (matches_any({pattern}, parameters[i].name)) out[i] = any = true;
    if (!any)
      fail("train", "--freeze {}: no parameter of the model has such a name (the first is {}, the last {})",
           pattern, parameters.front().name, parameters.back().name);
  }
  bool learns = false;
  for (std::size_t i = 0; i < parameters.size(); ++i) learns = learns || (parameters[i].learned && !out[i]);
  require(learns, "train", "--freeze leaves nothing to learn");
  return out;
}

}  // namespace locant
