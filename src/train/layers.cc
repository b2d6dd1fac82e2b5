#include "train/layers.h"

#include <algorithm>
#include <cmath>
#include <set>

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

/// Where a parameter is: "layers.1.blocks.0" of "layers.1.blocks.0.attn.qkv.weight", a block of a stage;
/// "layers.1" of "layers.1.downsample.weight" and "blocks.3" of "blocks.3.norm1.weight", either; empty:
/// neither.
struct Place {
  std::string_view list;  ///< "layers", "blocks"
  std::string_view path;
  bool in_stage = false;
};

Place place_of(std::string_view name) {
  std::string_view rest = name;
  bool wrapped = false;  // vit-pytorch's lists are of layers, whose parts have numbers
  for (const std::string_view wrapper : {"transformer.", "encoder.", "trunk.", "backbone."}) {
    wrapped = rest.starts_with(wrapper);
    if (wrapped) rest.remove_prefix(wrapper.size());
    if (wrapped) break;
  }
  const std::string_view after = rest;
  if (!take_numbered(rest, {"blocks_token_only", "cls_attn_blocks", "blocks", "layers", "levels", "stages",
                            "block", "layer", "stage"}))
    return {};
  Place out;
  out.list = after.substr(0, after.find_first_of(".0123456789"));
  out.in_stage = !wrapped && take_numbered(rest, {"blocks", "layers", ""});
  out.path = name.substr(0, name.size() - rest.size());
  return out;
}

}  // namespace

std::vector<double> Layers::rates(double decay) const {
  std::vector<double> out;
  for (const std::int64_t layer : of) out.push_back(std::pow(decay, static_cast<double>(last - layer)));
  return out;
}

Layers layers_of(const std::vector<Parameter>& parameters) {
  std::set<std::string_view> stages;  // lists whose entries hold blocks
  for (const Parameter& parameter : parameters) {
    const Place place = place_of(parameter.name);
    if (place.in_stage) stages.insert(place.list);
  }
  Layers out;
  std::string_view block;
  std::int64_t layer = 0;
  std::size_t last_in_block = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Place place = place_of(parameters[i].name);
    if (!place.path.empty() && (place.in_stage || stages.count(place.list) == 0)) {
      layer += place.path != block;
      block = place.path;
    }
    if (!place.path.empty()) last_in_block = i;
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
