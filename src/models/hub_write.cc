// config.json and preprocessor_config.json of transformers, from the tables that read them (HubKeys).
#include "models/hub_write.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"
#include "models/family.h"
#include "models/hub_fields.h"
#include "models/processor.h"

namespace locant {
namespace {

/// A model type of transformers, as far as HubKeys does not say it.
struct Target {
  std::string_view model_type;
  const char* family;
  const char* words;            ///< of its classes' names: "ViT"
  const char* image_processor;  ///< nullptr: it sees no pictures
  const char* has;  ///< our fields that its class fixes, where they are not the family's default; JSON object
  const char* keys;  ///< its keys that no field of ours says; JSON object
};

constexpr const char* kSwinKeys =
    R"({"qkv_bias":true,"hidden_act":"gelu","hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
    R"("initializer_range":0.02,"encoder_stride":32})";
constexpr const char* kPlainKeys =
    R"({"hidden_act":"gelu","hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
    R"("initializer_range":0.02,"encoder_stride":16,"pooler_act":"tanh"})";
constexpr const char* kDinov2Keys =
    R"({"hidden_act":"gelu","hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
    R"("initializer_range":0.02,"layerscale_value":1.0,"qkv_bias":true,"apply_layernorm":true,)"
    R"("reshape_hidden_states":true})";
constexpr const char* kPvtKeys =
    R"({"hidden_act":"gelu","hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
    R"("initializer_range":0.02})";
constexpr const char* kT5Keys =
    R"({"is_encoder_decoder":false,"use_cache":false,"initializer_factor":1.0,"pad_token_id":0,"eos_token_id":1})";
constexpr const char* kDebertaKeys =
    R"({"hidden_act":"gelu","relative_attention":true,"initializer_range":0.02,"pad_token_id":0})";
constexpr const char* kEncoderKeys =
    R"({"hidden_act":"gelu","attention_dropout":0.0,"initializer_range":1e-10,"qkv_bias":true,)"
    R"("use_rel_pos":true})";
constexpr const char* kSamKeys =
    R"({"initializer_range":0.02,)"
    R"("vision_config":{"model_type":"sam_vision_model","hidden_act":"gelu","attention_dropout":0.0,)"
    R"("initializer_range":1e-10,"qkv_bias":true,"use_rel_pos":true},)"
    R"("prompt_encoder_config":{"model_type":"sam_prompt_encoder","hidden_act":"gelu",)"
    R"("layer_norm_eps":1e-6,"num_point_embeddings":4},)"
    R"("mask_decoder_config":{"model_type":"sam_mask_decoder","hidden_act":"relu",)"
    R"("num_multimask_outputs":3}})";

constexpr Target kTargets[] = {
    {"vit", "vit", "ViT", "ViT", "{}", kPlainKeys},
    {"deit", "deit", "DeiT", "DeiT", R"({"prefix_tokens":["cls_token","dist_token"]})", kPlainKeys},
    {"dinov2", "dinov2", "Dinov2", "Bit", "{}", kDinov2Keys},
    {"dinov2_with_registers", "dinov2", "Dinov2WithRegisters", "Bit", "{}", kDinov2Keys},
    {"swin", "swin", "Swin", "ViT", "{}", kSwinKeys},
    {"swinv2", "swin_v2", "Swinv2", "ViT", "{}", kSwinKeys},
    {"pvt", "pvt", "Pvt", "Pvt", "{}", kPvtKeys},
    {"t5", "t5_encoder", "T5Encoder", nullptr, "{}", kT5Keys},
    {"deberta-v2", "deberta_v2", "DebertaV2", nullptr, "{}", kDebertaKeys},
    {"sam", "sam", "Sam", "Sam", "{}", kSamKeys},
    {"sam_vision_model", "sam_image_encoder", "SamVision", "Sam", "{}", kEncoderKeys},
};

constexpr std::string_view kWithRegisters = "dinov2_with_registers";

/// Fields that the class knows by what else is in the folder.
const std::vector<std::string> kTold = {"num_classes", "mask_token"};

HubJson::json_pointer pointer_to(std::string key) {
  std::replace(key.begin(), key.end(), '.', '/');
  return HubJson::json_pointer("/" + key);
}

class Writer {
 public:
  explicit Writer(const LoadedModel& loaded)
      : loaded_(loaded), model_(*loaded.model), config_(HubJson::parse(model_.config())) {
    complete_encoder();
    choose();
  }

  HubFolder folder() {
    name_class();
    check();
    write_keys();
    write_head();
    out_.config = keys_.dump(2) + "\n";
    if (target_->image_processor != nullptr) out_.preprocessor = preprocessor();
    return std::move(out_);
  }

 private:
  bool is(const char* family) const { return std::string(target_->family) == family; }
  bool has_head() const { return model_.num_classes() > 0; }
  /// Shape of a parameter; empty where there is none.
  std::int64_t rows_of(const std::string& name, std::size_t axis = 0) const {
    for (const Parameter& parameter : model_.parameters())
      if (parameter.name == name) return parameter.shape[axis];
    return 0;
  }

  /// A configuration within another says only what is not usual.
  void complete_encoder() {
    if (!config_.contains("encoder_config")) return;
    require(config_.value("encoder", "") == "sam_image_encoder", "convert",
            "transformers' SamModel cannot be told encoder {}: it has sam_image_encoder",
            config_["encoder"].dump());
    require(config_.value("parts", "all") == "all", "convert",
            "transformers' SamModel cannot be told parts {}: it has all", config_["parts"].dump());
    config_["encoder_config"] = HubJson::parse(
        merge_config(kSamImageEncoder.default_config(kSamImageEncoder), config_["encoder_config"].dump()));
  }

  /// The model type: DeiT without a distillation token is a ViT there.
  void choose() {
    std::string family = model_.family().name;
    if (family == "deit" && config_.value("prefix_tokens", HubJson()).size() < 2) family = "vit";
    const bool registers = config_.value("registers", 0) > 0;
    for (const Target& target : kTargets)
      if (target.family == family &&
          (family != "dinov2" || registers == (target.model_type == kWithRegisters)))
        target_ = &target;
    require(target_ != nullptr, "convert",
            "transformers has no model that is a {}; choose another naming (--to)", family);
    const Family& found = find_family(family);
    for (const HubKeys& keys : found.hub())
      if (keys.model_type == target_->model_type) hub_ = keys;
    out_.renames = &find_renames(family, "transformers");
    const bool one_head = config_.value("pool", HubJson()) == "cls";
    if (family == "deit" && one_head)  // the names for two heads stand first
      for (const Renames& names : renames_of(family))
        if (names.naming == "transformers") out_.renames = &names;
    has_ = HubJson::parse(merge_config(
        merge_config(out_.renames->configure(found.default_config(found)), hub_.fixed), target_->has));
  }

  void name_class() {
    const bool teacher = config_.value("pool", HubJson()) == "mean_two_heads";
    out_.architecture = std::string(target_->words) + (!has_head() || is("sam_image_encoder") ? "Model"
                                                       : teacher ? "ForImageClassificationWithTeacher"
                                                                 : "ForImageClassification");
    if (has_head()) {
      out_.prefix = out_.renames->prefix;
      if (target_->model_type == kWithRegisters) out_.prefix = "dinov2_with_registers.";
      out_.heads = {"classifier.*", "cls_classifier.*", "distillation_classifier.*"};
    } else if (is("sam_image_encoder")) {
      out_.prefix = out_.renames->prefix;  // SamVisionModel holds its encoder as a part
    } else if (is("vit") || is("deit")) {
      out_.notes.push_back(
          fmt::format("{} has a pooler that this model has not: use last_hidden_state, not pooler_output",
                      out_.architecture));
    }
  }

  void check() {
    const std::string target = "transformers' " + out_.architecture;
    std::vector<std::string> passed = fields_beside_the_answer();
    passed.insert(passed.end(), kTold.begin(), kTold.end());
    for (const auto& [theirs, ours] : hub_.keys) passed.push_back(ours.substr(0, ours.find('.')));
    if (is("sam")) {
      passed.insert(passed.end(), {"encoder", "parts"});
      std::erase(passed, "iou_depth");  // the names of its layers are those of three
    }
    if (!has_head()) passed.insert(passed.end(), {"head_input"});
    if (is("deit") && (!has_head() || config_["pool"] == "mean_two_heads")) passed.emplace_back("pool");
    require_fields(target, config_, has_, passed);
    if (is("sam")) {
      std::vector<std::string> told = fields_beside_the_answer();
      const std::vector<HubKeys> encoder = kSamImageEncoder.hub();
      for (const auto& [theirs, ours] : encoder[0].keys) told.push_back(ours);
      require_fields(target, config_["encoder_config"],
                     HubJson::parse(kSamImageEncoder.default_config(kSamImageEncoder)), told);
    }
    if (config_.contains("window_fit")) {
      require_pyramid(target, config_, has_, out_.notes);
      require(config_["window"][0] == config_["window"][1], "convert",
              "{} cannot be told window {}: its windows are square", target, config_["window"].dump());
    }
    if (config_.contains("pos_resize") && config_["pos_resize"] != has_["pos_resize"])
      out_.notes.push_back(
          fmt::format("{} resizes the position table by {}, and not by {}: pictures of other sizes than "
                      "img_size are answered otherwise",
                      target, has_["pos_resize"].dump(), config_["pos_resize"].dump()));
  }

  /// What a key of theirs says; null: its class has no such key.
  HubJson value_of(const std::string& theirs, const std::string& ours) const {
    HubJson value = config_.value(pointer_to(ours), HubJson());
    for (const HubKeys::Value& word : hub_.values)
      if (word.key == theirs && value == HubJson::parse(word.ours)) return HubJson::parse(word.theirs);
    if (ours == "mlp_hidden" && !is("sam_image_encoder")) return rows_of("blocks.0.mlp.fc1.weight");
    if (ours == "drop_path" && (is("vit") || is("deit"))) return {};
    if (ours == "mlp_ratio" && is("dinov2")) return dinov2_ratio();
    if (ours == "mlp_ratios") return whole_ratios(value);
    if (ours.ends_with("mlp_hidden")) {  // SAM's, which may be left open
      const std::string part = is("sam") ? "image_encoder." : "";
      return rows_of(part + "blocks.0.mlp.lin1.weight");
    }
    if (ours == "pretrained_window_sizes" && value.empty())
      return std::vector<int>(config_["depths"].size(), 0);
    return is_side(ours) ? side_or_sides(value) : value;
  }
  static bool is_side(const std::string& ours) {
    return ours.ends_with("img_size") || ours.ends_with("patch_size") || ours.ends_with("window");
  }

  /// Its class takes whole numbers alone.
  HubJson whole_ratios(const HubJson& ratios) const {
    HubJson out = HubJson::array();
    for (const HubJson& ratio : ratios) {
      const auto number = ratio.get<double>();
      require(number == std::floor(number), "convert",
              "transformers' {} cannot be told mlp_ratios {}: they are whole numbers there",
              out_.architecture, ratios.dump());
      out.push_back(static_cast<std::int64_t>(number));
    }
    return out;
  }
  std::int64_t dinov2_ratio() const {
    const auto dim = config_["dim"].get<std::int64_t>();
    const bool plain = config_["mlp"] == "plain";
    const std::int64_t hidden =
        plain ? rows_of("blocks.0.mlp.fc1.weight") : rows_of("blocks.0.mlp.w3.weight", 1);
    for (std::int64_t ratio = 1; ratio * dim <= 2 * hidden; ++ratio)
      if (hidden == (plain ? ratio * dim : (ratio * dim * 2 / 3 + 7) / 8 * 8)) return ratio;
    fail("convert",
         "transformers' {} cannot be told an mlp_hidden of {} at dim {}: its mlp_ratio is a whole number",
         out_.architecture, hidden, dim);
  }

  void write_keys() {
    keys_["model_type"] = target_->model_type;
    keys_["architectures"] = {out_.architecture};
    keys_["dtype"] = "float32";
    const HubJson fixed = HubJson::parse(target_->keys);
    for (const auto& item : fixed.items()) keys_[item.key()] = item.value();
    for (const auto& [theirs, ours] : hub_.keys)
      if (HubJson value = value_of(theirs, ours); !value.is_null())
        keys_[pointer_to(theirs)] = std::move(value);
    if (is("vit") || is("deit")) keys_["pooler_output_size"] = config_["dim"];
    if (is("pvt")) {
      keys_["num_encoder_blocks"] = config_["depths"].size();
      keys_["strides"] = config_["patch_sizes"];
    } else if (config_.contains("depths")) {
      const std::size_t stages = config_["depths"].size();
      keys_["num_layers"] = stages;
      keys_["hidden_size"] = config_["dim"].get<std::int64_t>() << (stages - 1);
    }
    if (is("sam_image_encoder")) keys_["num_pos_feats"] = config_["out_chans"].get<std::int64_t>() / 2;
    if (is("sam")) write_sam_parts();
    const bool mask_token = rows_of("mask_token") > 0;
    if (target_->model_type == kWithRegisters && !mask_token)
      out_.zeros.emplace_back(out_.prefix + "embeddings.mask_token",
                              Shape({1, config_["dim"].get<std::int64_t>()}));
    if (target_->model_type == kWithRegisters) keys_.erase("use_mask_token");
  }

  /// The same number is written in each part that needs it.
  void write_sam_parts() {
    const auto image = config_["image_size"].get<std::int64_t>();
    const auto patch = config_["encoder_config"]["patch_size"][0].get<std::int64_t>();
    const auto dim = config_["dim"].get<std::int64_t>();
    HubJson &vision = keys_["vision_config"], &prompt = keys_["prompt_encoder_config"];
    vision["image_size"] = image;
    vision["num_pos_feats"] = dim / 2;
    prompt["image_size"] = image;
    prompt["patch_size"] = patch;
    prompt["image_embedding_size"] = image / patch;
    keys_["mask_decoder_config"]["hidden_size"] = dim;
  }

  void write_head() {
    const auto named = static_cast<std::int64_t>(loaded_.classes.size());  // of a head that is gone, too
    const std::int64_t count = std::max(model_.num_classes(), named);
    if (count == 0) return;
    HubJson names = HubJson::object(), numbers = HubJson::object();
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const std::string name = at < loaded_.classes.size() ? loaded_.classes[at] : fmt::format("LABEL_{}", i);
      names[fmt::format("{}", i)] = name;
      numbers[name] = i;
    }
    keys_["id2label"] = names;
    keys_["label2id"] = numbers;
    if (is("pvt")) keys_["num_labels"] = count;  // whose class has 1,000 whatever id2label says
    if (loaded_.answer == LoadedModel::Answer::each_class)
      keys_["problem_type"] = "multi_label_classification";
    if (loaded_.answer == LoadedModel::Answer::values) keys_["problem_type"] = "regression";
  }

  std::string preprocessor() {
    const Preprocess& p = loaded_.preprocess;
    if (std::string(target_->image_processor) == "Sam") return sam_processor();
    std::string first;
    for (const bool floored : {false, true})
      for (const char* name : {target_->image_processor, "Bit", "ConvNext"}) {
        Preprocess rules = p;
        if (floored) rules.crop_origin = Preprocess::CropOrigin::floor;
        try {
          std::string text = processor_to_json(rules, std::string(name) + "ImageProcessor");
          if (floored && p.crop_origin != rules.crop_origin)
            out_.notes.push_back(
                "preprocessor_config.json: transformers crops from the pixel before where the rest is odd; a "
                "picture may move by a pixel");
          return text;
        } catch (const Error& error) {
          if (first.empty()) first = error.what();
        }
      }
    fail("convert", "no image processor of transformers prepares pictures like this model: {}", first);
  }

  /// Longest side, then padding: what Segment Anything's own code does.
  std::string sam_processor() const {
    const Preprocess& p = loaded_.preprocess;
    const std::int64_t side =
        is("sam") ? config_["image_size"].get<std::int64_t>() : config_["img_size"][0].get<std::int64_t>();
    const auto list = [](const std::vector<float>& x) {
      HubJson out = HubJson::array();
      for (const float v : x) out.push_back(std::stod(fmt::format("{}", v)));
      return out;
    };
    return HubJson{{"image_processor_type", "SamImageProcessor"},
                   {"do_convert_rgb", true},
                   {"do_resize", true},
                   {"size", {{"longest_edge", side}}},
                   {"resample", 2},
                   {"do_rescale", true},
                   {"rescale_factor", 1.0 / 255},
                   {"do_normalize", true},
                   {"image_mean", list(p.mean)},
                   {"image_std", list(p.std)},
                   {"do_pad", true},
                   {"pad_size", {{"height", side}, {"width", side}}},
                   {"mask_size", {{"longest_edge", side / 4}}},
                   {"mask_pad_size", {{"height", side / 4}, {"width", side / 4}}}}
               .dump(2) +
           "\n";
  }

  const LoadedModel& loaded_;
  const Model& model_;
  HubJson config_, has_, keys_ = HubJson::object();
  const Target* target_ = nullptr;
  HubKeys hub_;
  HubFolder out_;
};

}  // namespace

HubFolder transformers_folder(const LoadedModel& loaded) { return Writer(loaded).folder(); }

}  // namespace locant
