#include "models/hub.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"
#include "models/family.h"
#include "models/hub_fields.h"
#include "models/recipes.h"
#include "models/registry.h"

namespace locant {

namespace {

/// "vision_config.hidden_size" as a path into objects within objects.
HubJson::json_pointer path_of(std::string key) {
  std::replace(key.begin(), key.end(), '.', '/');
  return HubJson::json_pointer("/" + key);
}

/// Keys that transformers writes for every model and that change no answer here.
bool is_inert(const std::string& key) {
  static const std::vector<std::string> kInert = {
      "_*", "transformers_version", "initializer_range", "encoder_stride", "return_dict", "output_*",
      "use_cache", "chunk_size_feed_forward", "is_encoder_decoder", "is_decoder", "tie_*", "path_norm",
      "model_type", "architectures", "id2label", "label2id", "num_labels", "problem_type", "dtype",
      "torch_dtype", "hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate", "out_features",
      "out_indices", "stage_names", "apply_layernorm", "reshape_hidden_states", "pooler_*",
      "initializer_factor",
      // text generation, in files of 2022-23
      "max_length", "min_length", "num_beams", "num_beam_groups", "do_sample", "early_stopping",
      "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
      "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences",
      "diversity_penalty", "prefix", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id",
      "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
      "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "task_specific_params",
      "finetuning_task", "pruned_heads", "tokenizer_class", "torchscript", "use_bfloat16", "tf_legacy_loss",
      "add_cross_attention", "cross_attention_hidden_size"};
  return matches_any(kInert, key);
}

HubJson parse(const std::string& text) {
  HubJson json = HubJson::parse(text, nullptr, false);
  require(json.is_object(), "hub", "config.json is no JSON object: {}", text.substr(0, 60));
  return json;
}

/// [[1, 8], [1]] as [1, 8, 1]: what lists of lists say of the blocks of stages.
HubJson in_one_list(HubJson value) {
  if (!value.is_array() || value.empty() || !value.front().is_array()) return value;
  HubJson out = HubJson::array();
  for (const HubJson& part : value)
    if (part.is_array()) out.insert(out.end(), part.begin(), part.end());
  return out;
}

/// [3, 3, 3] as 3; other lists as they are.
HubJson one_of_all(HubJson value) {
  const auto same = [&](const HubJson& item) { return item == value.front(); };
  if (!value.is_array() || value.empty() || !std::all_of(value.begin(), value.end(), same)) return value;
  return HubJson(value.front());
}

std::string text_at(const HubJson& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// Names of an object number -> name, sorted as numbers, or of a list. Empty where they are LABEL_0, LABEL_1
/// or have gaps.
std::vector<std::string> names_in(const HubJson& names) {
  constexpr std::size_t kMost = 1 << 20;
  std::map<std::int64_t, std::string> by_number;
  if (!names.is_structured() || names.size() > kMost) return {};
  std::int64_t next = 0;
  for (const auto& item : names.items()) {
    if (!item.value().is_string()) return {};
    std::int64_t number = next++;
    if (names.is_object()) {
      const std::string& key = item.key();
      if (key.empty() || key.size() > 8 || key.find_first_not_of("0123456789") != std::string::npos)
        return {};
      number = std::stoll(key);
    }
    by_number.emplace(number, item.value().get<std::string>());
  }
  std::vector<std::string> out;
  bool named = false;
  for (auto& [number, name] : by_number) {
    if (number != static_cast<std::int64_t>(out.size())) return {};
    named = named || name != fmt::format("LABEL_{}", number);
    out.push_back(std::move(name));
  }
  return named ? out : std::vector<std::string>{};
}

/// "ViTForImageClassification" is of vit: the longest model type that its letters begin with.
std::string type_of_class(const std::string& architecture) {
  std::string lower;
  for (const char c : architecture) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string best;
  for (const Family* family : families())
    for (const HubKeys& keys : family->hub()) {
      std::string type = keys.model_type;
      std::erase(type, '_');
      if (lower.rfind(type, 0) == 0 && type.size() > best.size()) best = keys.model_type;
    }
  return best;
}

std::string known_types() {
  std::vector<std::string> out;
  for (const Family* family : families())
    for (const HubKeys& keys : family->hub()) out.push_back(keys.model_type);
  std::sort(out.begin(), out.end());
  return fmt::format("{}", fmt::join(out, ", "));
}

void read_head(const HubJson& json, HubConfig& out) {
  const auto names = json.find("id2label");
  if (names != json.end()) out.classes = names_in(*names);
  const std::string problem = text_at(json, "problem_type");
  if (problem == "multi_label_classification") out.answer = HubConfig::Answer::each_class;
  if (problem == "regression") out.answer = HubConfig::Answer::values;
}

/// One note for keys that nothing here reads.
void note_unknown(const HubJson& json, const HubKeys& hub, HubConfig& out) {
  std::vector<std::string> unknown;
  for (const auto& item : json.items()) {
    const std::string& key = item.key();
    const auto reads = [&](const auto& pair) {
      return pair.first == key || pair.first.rfind(key + ".", 0) == 0;
    };
    if (std::any_of(hub.keys.begin(), hub.keys.end(), reads) || is_inert(key) || matches_any(hub.inert, key))
      continue;
    unknown.push_back(key);
  }
  constexpr std::size_t kShown = 6;
  const std::size_t count = unknown.size();
  if (count > kShown) unknown.resize(kShown);
  if (count > 0)
    out.notes.push_back(fmt::format("config.json: passed over {}{}", fmt::join(unknown, ", "),
                                    count > kShown ? fmt::format(" and {} more keys", count - kShown) : ""));
}

HubConfig read_transformers(const HubJson& json, const std::string& type) {
  HubConfig out;
  out.model_type = type;
  for (const Family* family : families())
    for (const HubKeys& keys : family->hub()) {
      if (keys.model_type != type) continue;
      out.family = family;
      out.config = from_hub(keys, json.dump());
      HubJson config = HubJson::parse(out.config);
      config.erase("num_classes");  // the head's rows say it
      out.config = config.dump();
      note_unknown(json, keys, out);
      read_head(json, out);
      return out;
    }
  for (const char* key : {"backbone_config", "backbone"})
    if (json.contains(key))
      fail("hub",
           "config.json: a {} is a head that Locant has not, around a backbone; save the backbone alone (its "
           "tensors, and its own config.json)",
           type);
  fail("hub", "config.json: model_type is {}; Locant reads {}, and timm's models", type, known_types());
}

/// A field of the family that an argument of timm's constructors sets; empty where there is none.
std::string field_of(const std::string& argument, const HubJson& fields) {
  static const std::map<std::string, std::vector<std::string>> kCalled = {
      {"embed_dim", {"dim"}},
      {"embed_dims", {"dims"}},
      {"num_heads", {"heads"}},
      {"window_size", {"window"}},
      {"window_sizes", {"windows"}},
      {"global_attn_indexes", {"global_blocks"}},
      {"drop_path_rate", {"drop_path"}},
      {"wss", {"windows"}}};
  const auto called = kCalled.find(argument);
  for (const std::string& name :
       called != kCalled.end() ? called->second : std::vector<std::string>{argument})
    if (fields.contains(name)) return name;
  return "";
}

/// Arguments of timm's constructors that tensors tell anyway, or that change no answer.
bool tensors_tell(const std::string& argument) {
  static const std::vector<std::string> kTold = {
      "num_classes",  "in_chans",    "embed_dim*",    "depth*",          "num_heads",      "mlp_ratio*",
      "qkv_bias",     "init_values", "class_token",   "reg_tokens",      "no_embed_class", "neck_chans",
      "qk_norm",      "pre_norm",    "fc_norm",       "final_norm",      "global_pool",    "pos_embed",
      "drop_*",       "*_drop_rate", "dynamic_img_*", "strict_img_size", "img_size",       "always_partition",
      "window_sizes", "cache_dir",   "features_only", "scriptable",      "exportable",     "no_jit",
      "width_factor", "stem_chs"};
  return matches_any(kTold, argument);
}

/// What timm's model_args say of the family's fields; JSON object.
HubJson read_model_args(const HubJson& args, const HubConfig& hub) {
  const HubJson fields = hub.family == nullptr ? HubJson{{"heads", 0}, {"img_size", 0}, {"window", 0}}
                                               : HubJson::parse(hub.family->default_config(*hub.family));
  HubJson out = HubJson::object();
  for (const auto& item : args.items()) {
    const std::string& key = item.key();
    const HubJson& value = item.value();
    if (value.is_null() || key == "num_classes" || key == "qkv_bias" || key == "pos_embed") continue;
    if (key == "act_layer")
      require(value == "gelu", "hub", "config.json: model_args sets act_layer to {}; {} has gelu here",
              value.dump().substr(0, 60), hub.model_type);
    else if (key == "global_pool" && value == "avg" && args.contains("final_norm") &&
             args["final_norm"] == true)
      out["pool"] = "mean_patches";  // normed tokens, their mean
    else if (key == "global_pool" && hub.family == &kVitRelpos && value == "avg")
      out["pool"] = "mean";  // behind a class token too: no tensor shows it
    else if (const std::string field = field_of(key, fields); !field.empty() && key != "fc_norm")
      out[field] = value;
    else
      require(tensors_tell(key), "hub",
              "config.json: model_args sets {} to {}, which {} cannot be built with here", key,
              value.dump().substr(0, 60), hub.model_type);
  }
  return out;
}

HubConfig read_timm(const HubJson& json) {
  HubConfig out;
  const std::string architecture = text_at(json, "architecture");
  out.model_type = architecture.substr(0, architecture.find('.'));
  out.entry = entry_called(out.model_type);
  if (out.entry != nullptr) {
    out.family = &find_family(out.entry->family);
    out.base = merge_config(out.family->default_config(*out.family), out.entry->config);
  } else {
    const std::string otherwise = untold_computation(out.model_type);
    require(otherwise.empty(), "hub",
            "config.json: architecture {} has {}, which Locant has not and no tensor shows", out.model_type,
            otherwise);
    out.notes.push_back(
        fmt::format("config.json: architecture {} is not registered; the tensors tell", out.model_type));
    out.config = untold_fields(out.model_type);
  }
  const auto args = json.find("model_args");
  if (args != json.end() && args->is_object()) {
    const std::string told = read_model_args(*args, out).dump();
    out.config = out.config.empty() ? told : merge_config(out.config, told);
  }
  const auto pretrained = json.find("pretrained_cfg");
  const bool flat = pretrained == json.end();  // before 2023
  const HubJson& cfg = flat ? json : *pretrained;
  if (cfg.is_object()) out.pretrained_cfg = cfg.dump();
  for (const char* key : {"label_names", "labels"})
    if (out.classes.empty() && json.contains(key)) out.classes = names_in(json[key]);
  const std::string tag = text_at(cfg, "tag");
  if (!tag.empty()) out.notes.push_back(fmt::format("config.json: {}, recipe {}", out.model_type, tag));
  read_head(json, out);
  return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> transformer_keys(
    std::vector<std::pair<std::string, std::string>> more) {
  std::vector<std::pair<std::string, std::string>> out = {
      {"image_size", "img_size"},    {"patch_size", "patch_size"},   {"num_channels", "in_chans"},
      {"hidden_size", "dim"},        {"num_hidden_layers", "depth"}, {"num_attention_heads", "heads"},
      {"layer_norm_eps", "norm_eps"}};
  std::move(more.begin(), more.end(), std::back_inserter(out));
  return out;
}

void require_told(bool can_be, const std::string& target, const std::string& said, const std::string& why) {
  require(can_be, "convert", "{} cannot be told {}: {}; choose another naming (--to)", target, said, why);
}

std::string pyramid_widths(const std::string&, const std::string& config) {
  const HubJson ours = HubJson::parse(config);
  const std::size_t stages = ours.at("depths").size();
  return HubJson{{"num_layers", stages}, {"hidden_size", ours.at("dim").get<std::int64_t>() << (stages - 1)}}
      .dump();
}

std::string from_hub(const HubKeys& hub, const std::string& config_json) {
  const HubJson given = HubJson::parse(merge_config(hub.defaults, config_json));
  HubJson out = HubJson::object();
  for (const auto& [theirs, ours] : hub.keys) {
    HubJson value;
    try {
      value = given.value(path_of(theirs), HubJson());
    } catch (const HubJson::exception&) {  // an object was expected on the way
      fail("hub", "config.json: there is no place for {}", theirs);
    }
    if (matches_any(hub.in_every_stage, theirs)) value = one_of_all(std::move(value));
    for (const HubKeys::Value& word : hub.values)
      if (word.key == theirs && value == HubJson::parse(word.theirs)) {
        value = HubJson::parse(word.ours);
        break;
      }
    if (!value.is_null()) out[path_of(ours)] = in_one_list(std::move(value));
  }
  const auto names = given.find("id2label");
  if (names != given.end() && names->is_object() && !names->empty()) out["num_classes"] = names->size();
  return merge_config(out.dump(), hub.fixed);
}

HubConfig read_hub_config(const std::string& config_json) {
  const HubJson json = parse(config_json);
  HubConfig out;
  std::string type = text_at(json, "model_type");
  if (!text_at(json, "architecture").empty()) {
    out = read_timm(json);
  } else {
    const auto classes = json.find("architectures");
    if (type.empty() && classes != json.end() && classes->is_array() && !classes->empty() &&
        (*classes)[0].is_string())
      type = type_of_class((*classes)[0].get<std::string>());
    require(!type.empty(), "hub",
            "config.json: neither model_type nor architecture says what model it is; leave it out "
            "(--no-folder-config) and the tensors tell");
    out = read_transformers(json, type);
  }
  if (json.contains("auto_map")) out.notes.push_back("config.json: its own code (auto_map) is not run");
  return out;
}

}  // namespace locant
