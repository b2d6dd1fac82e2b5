#pragma once

// Every registered configuration made tiny, and inputs that fit any model's ports.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "models/family.h"
#include "models/registry.h"

namespace locant::testing {

/// A configuration of a family, all its keys, made tiny whatever the family calls things: sizes go by parts
/// of their names.
inline nlohmann::json tiny(const Family& family, const std::string& of) {
  using Json = nlohmann::json;
  const auto has = [](const std::string& key, const char* part) {
    return key.find(part) != std::string::npos;
  };
  Json config = Json::parse(merge_config(family.default_config(family), of));
  for (const auto& [key, value] : config.items()) {
    const auto put = [&value = value](std::int64_t number) {
      if (value.is_number_integer()) value = number;
      if (value.is_array())
        for (Json& part : value)
          if (part.is_number_integer()) part = number;
    };
    if (value == 0 || value == Json::array()) continue;  // what the model does without
    const bool clips = key == "img_size" && value.size() == 3;
    if (clips) value = {4, 16, 16};
    if (has(key, "_size") && value.is_array() && value.size() == 3 && !clips) value = {2, 4, 4};
    if (has(key, "im") && has(key, "_size") && !clips) put(32);  // img_size, image_size
    if (key == "pretrain_size") put(24);
    if (key == "grid") put(4);
    if (key == "patch_size" && value.size() == 2)
      put(config.contains("depths") ? 4 : 8);  // a pyramid's first
    if (key == "in_chans") put(1);
    if (key == "num_classes") put(3);
    if (has(key, "depth") || has(key, "heads") || has(key, "window")) put(2);
    if (key == "depths")  // a plain and a shifted block, then one a stage
      for (std::size_t stage = 1; stage < value.size(); ++stage) value[stage] = 1;
    if (has(key, "dim") && key != "head_dim") put(16);
    if (has(key, "out_chans") || has(key, "net_chans") || has(key, "neck_chans")) put(16);
    if (has(key, "hidden") || has(key, "pyramid_chans") || has(key, "max_")) put(16);
    if (key == "reduction") put(4);    // of hidden channels
    if (key == "stem_chans") put(16);  // LeViT's, whose last is its first dim
    if (key == "local_up_to_layer") put(1);
    if (has(key, "_blocks")) value = {has(key, "residual") || has(key, "global") ? 1 : 0};
    if (key == "attention_blocks") value = {{0, 1}, {2, 0}, {3, 0}};  // of ResNets: one, and two that halve
    if (key == "block_size") put(4);
    if (key == "value_dims" || key == "group_size") put(2);
    if (key == "widths") put(8);
    if (key == "num_features") put(16);
    if (key == "dilations") value = Json::array();  // one a block
    if (key == "vocab_size") put(20);
    if (key == "cutoffs") value = {8, 14};  // of a vocabulary of 20
    if (has(key, "buckets")) put(8);
    if (key == "er_len") put(16);
    if (key == "mem_len") put(4);
  }
  for (const char* key : {"heads", "head_dims", "key_dims", "value_dims"})  // of each of attention_blocks
    if (config.contains("attention_blocks") && config.contains(key) && config[key].is_array())
      config[key] = std::vector<std::int64_t>(3, config[key][0]);
  if (config.contains("drop_path")) config["drop_path"] = 0.1;
  if (config.contains("encoder_config"))  // a model within one: SAM's
    config["encoder_config"] =
        tiny(find_family(config["encoder"].get<std::string>()), config["encoder_config"].dump());
  return config;
}

/// What goes in, by the words of ports.
struct TinySize {
  std::int64_t rows = 32, columns = 32, tokens = 9;
};

/// Random inputs of a tiny model: first those that it must have, then what it can have besides. Of options
/// SAM's, which asks other tensors, and those without which there is no answer: GPSA's sides, a square of its
/// tokens. The rest check what is there.
inline std::vector<Values> tiny_inputs(const Model& model, const TinySize& size, std::int64_t batch,
                                       std::uint64_t seed) {
  const nlohmann::json config = nlohmann::json::parse(model.config());
  const auto told = [&](const char* key) {
    return config.contains(key) && config[key].is_number() ? config[key].get<std::int64_t>() : 0;
  };
  const auto extent = [&](const Port& port, const std::string& axis) -> std::int64_t {
    const bool pictures = port.name == "images" || port.name == "clips";
    // Features have a place for eight pixels, MobileSAM's for sixteen; masks for SAM have four for a place.
    const bool mobile = config.contains("encoder") && config["encoder"] == "tiny_vit";
    const auto places = [&](std::int64_t pixels) {
      return (port.name == "mask_input" ? 4 : 1) * (pixels / (mobile ? 16 : 8));
    };
    if (axis == "B") return batch;
    if (axis == "H") return pictures ? size.rows : places(size.rows);
    if (axis == "W") return pictures ? size.columns : places(size.columns);
    if (axis == "F") return 4;
    if (axis == "N") return config.contains("window") ? size.tokens - 5 : size.tokens;  // a window's are 4
    if (axis == "C" && pictures) return 1;
    if (axis == "C")
      for (const char* key : {"in_chans", "input_dim", "dim"})
        if (told(key) > 0) return told(key);
    if (axis == "P" || axis == "Q" || axis == "S") return 3;
    return std::stoll(axis);
  };
  Rng rng(seed);
  const auto make = [&](const Port& port) {
    std::vector<std::int64_t> extents;
    std::istringstream axes(port.axes.empty() ? "1" : port.axes);
    for (std::string axis; axes >> axis;) extents.push_back(extent(port, axis));
    Tensor out{Shape(extents)};
    const std::int64_t last = extents.back();
    for (std::int64_t i = 0; i < out.numel(); ++i) {
      float& x = out[i];
      if (port.kind == Port::Kind::ids)
        x = static_cast<float>(rng.below(static_cast<std::uint64_t>(told("vocab_size"))));
      else if (port.kind == Port::Kind::mask)
        x = i % last < last - 1 ? 1.0f : 0.0f;  // the end is padding
      else if (port.kind == Port::Kind::lengths)
        x = static_cast<float>(size.tokens - 1 - i % 2);
      else if (port.kind == Port::Kind::option)
        x = port.name == "multimask_output" ? 1.0f : static_cast<float>(std::sqrt(size.tokens));
      else if (port.name == "labels")
        x = static_cast<float>(i % 3) - 1.0f;
      else if (port.name == "points")
        x = 32.0f * rng.uniform();
      else if (port.name == "boxes")
        x = (i % 4 < 2 ? 2.0f : 18.0f) + 12.0f * rng.uniform();
      else
        x = 2.0f * rng.uniform() - 1.0f;
    }
    return Var(std::move(out));
  };
  Values must, all;
  for (const Port& port : model.inputs()) {
    const bool other = port.kind == Port::Kind::option && port.optional && port.name != "multimask_output";
    if (other || port.kind == Port::Kind::state || port.name == "image_embedding") continue;
    const Var value = make(port);
    // SAM without a prompt gives no masks.
    if (!port.optional || port.name == "images" || port.name == "points" || port.name == "labels")
      must.set(port.name, value);
    all.set(port.name, value);
  }
  return {std::move(must), std::move(all)};
}

/// A tiny model of the zoo.
struct Tiny {
  const Family* family;
  std::string name;  ///< of the first variant that becomes it, or the family's
  std::string config;
};

/// Every family's variants made tiny, each configuration once; a family without variants as it is by default.
inline const std::vector<Tiny>& tiny_zoo() {
  static const std::vector<Tiny> zoo = [] {
    std::vector<Tiny> out;
    for (const Family* family : families()) {
      std::set<std::string> configs;
      const auto add = [&](const std::string& name, const std::string& of) {
        const std::string text = tiny(*family, of).dump();
        if (configs.insert(text).second) out.push_back({family, name, text});
      };
      for (const ModelEntry& entry : entries_of(*family)) add(entry.name, entry.config);
      if (configs.empty()) add(family->name, "");
    }
    return out;
  }();
  return zoo;
}

}  // namespace locant::testing
