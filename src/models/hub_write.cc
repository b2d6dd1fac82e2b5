// config.json and preprocessor_config.json of transformers, from the tables that read them (HubKeys).
#include "models/hub_write.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"
#include "models/family.h"
#include "models/hub_fields.h"
#include "models/processor.h"
#include "models/processor_keys.h"

namespace locant {
namespace {

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
      : loaded_(loaded),
        model_(*loaded.model),
        config_(HubJson::parse(model_.family().complete_config(model_.family(), model_.config()))) {
    complete_encoder();
    choose();
  }

  HubFolder folder() {
    name_class();
    check();
    out_.renames = &names();
    write_keys();
    write_head();
    out_.config = keys_.dump(2) + "\n";
    if (model_.sees()) out_.preprocessor = preprocessor();
    return std::move(out_);
  }

 private:
  bool is(const char* family) const { return family_->name == std::string_view(family); }
  bool has_head() const { return model_.num_classes() > 0; }
  std::string target() const { return "transformers' " + out_.architecture; }
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
    config_["encoder_config"] =
        HubJson::parse(kSamImageEncoder.complete_config(kSamImageEncoder, config_["encoder_config"].dump()));
  }

  /// The model type, that of the folder that was read where there are several of one form. DeiT without a
  /// distillation token is a ViT there, and Data2VecVisionModel has no norm behind a mean.
  void choose() {
    family_ = &model_.family();
    if (is("deit") && config_.value("prefix_tokens", HubJson()).size() < 2) family_ = &kVit;
    const bool registers = config_.value("registers", 0) > 0;
    std::string read_alone;
    for (const HubKeys& keys : family_->hub()) {
      if (keys.written.name.empty()) read_alone = keys.model_type;
      if (keys.written.name.empty() || (is("dinov2") && registers != (keys.model_type == kWithRegisters)) ||
          (keys.model_type == "data2vec-vision" && !has_head() && config_["pool"] != "cls"))
        continue;
      if (hub_.model_type.empty() || keys.model_type == loaded_.hub_type) hub_ = keys;
    }
    require(!hub_.model_type.empty(), "convert",
            "transformers has no model that is a {}{}; choose another naming (--to)", family_->name,
            read_alone.empty() ? "" : fmt::format(" (its {} is of releases before 5)", read_alone));
    class_ = hub_.written;
    has_ = HubJson::parse(merge_config(
        merge_config(find_renames(family_->name, "transformers").configure(family_->default_config(*family_)),
                     hub_.fixed),
        class_.has));
    out_.untold = class_.untold;
    out_.counts_batches = true;
  }

  /// Of DeiT, those for two heads stand first.
  const Renames& names() const {
    if (is("deit") && config_["pool"] == "cls")
      for (const Renames& names : renames_of("deit"))
        if (names.naming == "transformers" && &names != &find_renames("deit", "transformers")) return names;
    return find_renames(family_->name, "transformers", model_.config());
  }

  void name_class() {
    const bool teacher = config_.value("pool", HubJson()) == "mean_two_heads";
    out_.architecture = class_.name + (!has_head() || is("sam_image_encoder") ? "Model"
                                       : teacher ? "ForImageClassificationWithTeacher"
                                                 : "ForImageClassification");
    if (has_head()) {
      out_.prefix = hub_.model_type + ".";
      std::replace(out_.prefix.begin(), out_.prefix.end(), '-', '_');
      out_.heads = {"classifier.*", "cls_classifier.*", "distillation_classifier.*", "classifier_distill.*"};
      out_.heads.insert(out_.heads.end(), class_.outside.begin(), class_.outside.end());
    } else if (is("sam_image_encoder")) {
      out_.prefix = "vision_encoder.";  // SamVisionModel holds its encoder as a part
    } else if (is("wav2vec2_conformer")) {
      out_.prefix = "encoder.";
    } else if (is("vit") || is("deit")) {
      out_.notes.push_back(
          fmt::format("{} has a pooler that this model has not: use last_hidden_state, not pooler_output",
                      out_.architecture));
    }
  }

  void check() {
    std::vector<std::string> passed = fields_beside_the_answer();
    passed.insert(passed.end(), kTold.begin(), kTold.end());
    for (const auto& [theirs, ours] : hub_.keys) passed.push_back(ours.substr(0, ours.find('.')));
    passed.insert(passed.end(), class_.says.begin(), class_.says.end());
    passed.insert(passed.end(), class_.untold.begin(), class_.untold.end());
    if (is("sam")) {
      passed.insert(passed.end(), {"encoder", "parts"});
      std::erase(passed, "iou_depth");  // the names of its layers are those of three
    }
    if (!has_head()) passed.insert(passed.end(), {"head_input"});
    if (is("deit") && (!has_head() || config_["pool"] == "mean_two_heads")) passed.emplace_back("pool");
    require_fields(target(), config_, has_, passed);
    if (is("sam")) {
      std::vector<std::string> told = fields_beside_the_answer();
      const std::vector<HubKeys> encoder = kSamImageEncoder.hub();
      for (const auto& [theirs, ours] : encoder[0].keys) told.push_back(ours);
      require_fields(target(), config_["encoder_config"],
                     HubJson::parse(kSamImageEncoder.default_config(kSamImageEncoder)), told);
    }
    const HubJson window = config_.value("window", HubJson());
    if (window.is_array())
      require(window[0] == window[1], "convert", "{} cannot be told window {}: its windows are square",
              target(), window.dump());
    if (config_.contains("window_fit")) require_pyramid(target(), config_, has_, out_.notes);
    for (const char* rule : {"pos_resize", "bias_resize"})
      if (config_.contains(rule) && has_.contains(rule) && config_[rule] != has_[rule])
        out_.notes.push_back(
            fmt::format("{} resizes the position table by {}, and not by {}: pictures of other sizes than "
                        "img_size are answered otherwise",
                        target(), has_[rule].dump(), config_[rule].dump()));
  }

  static bool is_alike(const HubJson& a, const HubJson& b) {
    return a.type() == b.type() || (a.is_number() && b.is_number());
  }
  /// In their words, where there are any.
  HubJson in_words(const std::string& theirs, const HubJson& value) const {
    for (const HubKeys::Value& word : hub_.values)
      if (word.key == theirs && value == HubJson::parse(word.ours)) return HubJson::parse(word.theirs);
    // What the key says of no value of ours, it says of those that it has no word for.
    for (const HubKeys::Value& word : hub_.values)
      if (const HubJson other = HubJson::parse(word.theirs);
          word.key == theirs && word.ours == "null" && !value.is_null() && !is_alike(other, value))
        return other;
    return value;
  }

  HubJson field(const std::string& ours) const { return config_.value(pointer_to(ours), HubJson()); }
  /// What a key of theirs says; null: it is left out.
  HubJson value_of(const std::string& theirs, const std::string& ours) const {
    HubJson value = field(ours);
    if (ours == "mlp_hidden" && !is("sam_image_encoder")) return rows_of("blocks.0.mlp.fc1.weight");
    if (ours == "mlp_ratio" && is("dinov2")) return dinov2_ratio();
    if (ours.ends_with("mlp_hidden")) {  // SAM's, which may be left open
      const std::string part = is("sam") ? "image_encoder." : "";
      return rows_of(part + "blocks.0.mlp.lin1.weight");
    }
    if (ours == "pretrained_window_sizes" && value.empty())
      return std::vector<int>(config_["depths"].size(), 0);
    if (matches_any(class_.whole, theirs)) value = whole(ours, value);
    if (is_side(ours)) value = side_or_sides(value);
    value = in_words(theirs, value);
    if (matches_any(hub_.in_every_stage, theirs)) return HubJson(config_["depths"].size(), value);
    return value;
  }
  static bool is_side(const std::string& ours) {
    return ours.ends_with("img_size") || ours.ends_with("patch_size") || ours.ends_with("window") ||
           ours.ends_with("pretrain_size");
  }

  /// Its class takes whole numbers alone: of a number, or of each of a list.
  HubJson whole(const std::string& ours, const HubJson& value) const {
    const auto of = [&](const HubJson& x) {
      const auto number = x.get<double>();
      require_told(number == std::floor(number), target(), fmt::format("{} {}", ours, value.dump()),
                   "whole numbers stand there");
      return static_cast<std::int64_t>(number);
    };
    if (!value.is_array()) return of(value);
    HubJson out = HubJson::array();
    for (const HubJson& x : value) out.push_back(of(x));
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
    keys_["model_type"] = hub_.model_type;
    keys_["architectures"] = {out_.architecture};
    keys_["dtype"] = "float32";
    keys_.update(HubJson::parse(class_.constants));
    const HubJson usual = HubJson::parse(hub_.defaults);
    std::map<std::string, std::string> said;
    for (const auto& [theirs, ours] : hub_.keys) {
      HubJson value = value_of(theirs, ours);
      const bool null_counts = usual.contains(theirs) && !usual[theirs].is_null();
      if (matches_any(class_.lacks, theirs) || (value.is_null() && !null_counts)) continue;
      const auto [first, is_new] = said.emplace(theirs, ours);
      require_told(is_new || keys_[pointer_to(theirs)] == value, target(),
                   fmt::format("{} {} with {} {}", ours, field(ours).dump(), first->second,
                               field(first->second).dump()),
                   fmt::format("its {} is both", theirs));
      keys_[pointer_to(theirs)] = std::move(value);
    }
    if (class_.more != nullptr) keys_.update(HubJson::parse(class_.more(target(), config_.dump())));
    if (is("sam_image_encoder")) keys_["num_pos_feats"] = config_["out_chans"].get<std::int64_t>() / 2;
    if (is("sam")) write_sam_parts();
    const bool mask_token = rows_of("mask_token") > 0;
    if (hub_.model_type == kWithRegisters && !mask_token)
      out_.beside.emplace_back(out_.prefix + "embeddings.mask_token",
                               Tensor::zeros({1, config_["dim"].get<std::int64_t>()}));
    if (hub_.model_type == kWithRegisters) keys_.erase("use_mask_token");
    if (is("wav2vec2_conformer")) write_audio_front();
  }

  /// What the encoder turns its heads by: (head width / 2), a buffer of the class.
  Tensor frequencies() const {
    const auto D = config_["dim"].get<std::int64_t>() / config_["heads"].get<std::int64_t>();
    Tensor out(Shape{D / 2});
    for (std::int64_t i = 0; i < D / 2; ++i)
      out[i] = static_cast<float>(std::pow(config_["temperature"].get<double>(),
                                           -2.0 * static_cast<double>(i) / static_cast<double>(D)));
    return out;
  }

  /// Its class hears, and its encoder begins behind that. NaN: what it would make of audio is no answer.
  void write_audio_front() {
    const auto C = config_["dim"].get<std::int64_t>();
    constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
    const std::string conv = "feature_extractor.conv_layers.0.", embed = "encoder.pos_conv_embed.conv.";
    for (const auto& [name, shape] : {std::pair{conv + "conv.weight", Shape{1, 1, 1}},
                                      {conv + "layer_norm.weight", Shape{1}},
                                      {conv + "layer_norm.bias", Shape{1}},
                                      {"feature_projection.layer_norm.weight", Shape{1}},
                                      {"feature_projection.layer_norm.bias", Shape{1}},
                                      {"feature_projection.projection.weight", Shape{C, 1}},
                                      {"feature_projection.projection.bias", Shape{C}}})
      out_.beside.emplace_back(name, Tensor::full(shape, kNone));
    for (const auto& [name, shape] : {std::pair{embed + "bias", Shape{C}},  // made by the class, used nowhere
                                      {embed + "parametrizations.weight.original0", Shape{1, 1, 1}},
                                      {embed + "parametrizations.weight.original1", Shape{C, 1, 1}}})
      out_.beside.emplace_back(name, Tensor::zeros(shape));
    if (config_["position"] == "rotary_hidden")
      out_.beside.emplace_back("encoder.embed_positions.inv_freq", frequencies());
    out_.notes.push_back(fmt::format(
        "{} hears audio, and this model begins behind that: feature_extractor and feature_projection are of "
        "one channel and NaN; encoder(hidden_states) is what answers",
        out_.architecture));
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
    const ProcessorClass* kind = processor_class_of_model(hub_.model_type);
    const std::string_view own = kind != nullptr ? kind->name : "ViT";
    if (own == "Sam") return sam_processor();
    std::string first;
    for (const bool floored : {false, true})
      for (const std::string_view name : {own, std::string_view("Bit"), std::string_view("ConvNext")}) {
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
  const Family* family_ = nullptr;
  HubJson config_, has_, keys_ = HubJson::object();
  HubKeys hub_;
  HubClass class_;
  HubFolder out_;
};

}  // namespace

HubFolder transformers_folder(const LoadedModel& loaded) { return Writer(loaded).folder(); }

}  // namespace locant
