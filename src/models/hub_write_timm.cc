// timm's config.json: the architecture's name, and as model_args everything that its constructor is told.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/hub_fields.h"
#include "models/hub_write.h"
#include "models/processor.h"
#include "models/registry.h"

namespace locant {
namespace {

constexpr std::string_view kWeight = ".weight";

using Arguments = std::vector<std::pair<const char*, const char*>>;

/// A class of timm's: our field, the argument of its constructor.
struct TimmTarget {
  const char* family;
  Arguments arguments;
  std::vector<std::string> told = {};  ///< fields that further arguments or the tensors' names say
  const char* first_conv = "patch_embed.proj";
  const char* classifier = "head";
  const char* mlp = "";  ///< a weight whose rows are the MLP's width, for mlp_ratio; "": mlp_ratio is a field
};

Arguments plain_arguments(Arguments more) {
  Arguments out = {{"img_size", "img_size"}, {"patch_size", "patch_size"}, {"in_chans", "in_chans"},
                   {"dim", "embed_dim"},     {"depth", "depth"},           {"heads", "num_heads"}};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

Arguments pyramid_arguments(Arguments more) {
  Arguments out = {{"img_size", "img_size"},  {"patch_size", "patch_size"}, {"in_chans", "in_chans"},
                   {"dim", "embed_dim"},      {"depths", "depths"},         {"heads", "num_heads"},
                   {"window", "window_size"}, {"mlp_ratio", "mlp_ratio"}};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

const std::vector<TimmTarget>& timm_targets() {
  static const std::vector<std::string> kVit = {"qkv_bias",    "prefix_tokens", "pos_embed_prefix",
                                                "layer_scale", "pool",          "fc_norm"};
  static const std::vector<TimmTarget> kTargets = {
      {.family = "vit", .arguments = plain_arguments({}), .told = kVit, .mlp = "blocks.0.mlp.fc1.weight"},
      {.family = "deit", .arguments = plain_arguments({}), .told = kVit, .mlp = "blocks.0.mlp.fc1.weight"},
      {.family = "dinov2",
       .arguments = plain_arguments({{"registers", "reg_tokens"}}),
       .told = {"mlp", "mask_token", "pool"}},
      {.family = "swin", .arguments = pyramid_arguments({}), .classifier = "head.fc"},
      {.family = "swin_v2",
       .arguments = pyramid_arguments({{"pretrained_window_sizes", "pretrained_window_sizes"}}),
       .classifier = "head.fc"},
      {.family = "convit",
       .arguments = plain_arguments({{"mlp_ratio", "mlp_ratio"},
                                     {"local_up_to_layer", "local_up_to_layer"},
                                     {"locality_strength", "locality_strength"}}),
       .told = {"qkv_bias"}},
      {.family = "tiny_vit",
       .arguments = {{"in_chans", "in_chans"},
                     {"dims", "embed_dims"},
                     {"depths", "depths"},
                     {"heads", "num_heads"},
                     {"windows", "window_sizes"},
                     {"mlp_ratio", "mlp_ratio"}},
       .told = {"img_size"},
       .first_conv = "patch_embed.conv1.conv",
       .classifier = "head.fc"},
      {.family = "sam_image_encoder",
       .arguments = plain_arguments({{"window", "window_size"}, {"global_blocks", "global_attn_indexes"}}),
       .told = {"neck", "out_chans", "pool"},
       .classifier = "head.fc",
       .mlp = "blocks.0.mlp.lin1.weight"},
  };
  return kTargets;
}

class TimmWriter {
 public:
  explicit TimmWriter(const LoadedModel& loaded)
      : loaded_(loaded),
        model_(*loaded.model),
        family_(model_.family().name),
        config_(HubJson::parse(model_.config())) {
    for (const TimmTarget& target : timm_targets())
      if (target.family == family_) target_ = &target;
    const std::vector<Renames>& namings = renames_of(family_);
    require(std::any_of(namings.begin(), namings.end(), [](const Renames& r) { return r.naming == "timm"; }),
            "convert", "timm has no model that is a {}; choose another naming (--to)", family_);
    out_.renames = &find_renames(family_, "timm", model_.config());
    const Family& found = model_.family();
    has_ = HubJson::parse(out_.renames->configure(found.default_config(found)));
    if (target_ == nullptr) entry_ = &registered();
  }

  HubFolder folder() {
    out_.architecture = architecture();
    check();
    HubJson keys = {{"architecture", out_.architecture}, {"num_classes", model_.num_classes()},
                    {"num_features", features()},        {"global_pool", pool()},
                    {"model_args", arguments()},         {"pretrained_cfg", pretrained()}};
    if (entry_ != nullptr) keys.erase("global_pool");  // as its name says
    if (!loaded_.classes.empty()) keys["label_names"] = loaded_.classes;
    if (loaded_.answer != LoadedModel::Answer::one_class) {
      const bool each = loaded_.answer == LoadedModel::Answer::each_class;
      keys["problem_type"] = each ? "multi_label_classification" : "regression";
      out_.notes.push_back(fmt::format("timm has no word for an answer of {}: its logits are to be read so",
                                       each ? "several classes" : "values"));
    }
    out_.config = keys.dump(2) + "\n";
    return std::move(out_);
  }

 private:
  /// Fields that timm's constructors of any model take.
  static const std::vector<std::string>& of_any_model() {
    static const std::vector<std::string> kFields = {"num_classes", "in_chans", "img_size"};
    return kFields;
  }
  /// All fields of a variant under timm's name.
  HubJson as_timm_has(const ModelEntry& entry) const {
    const Family& family = model_.family();
    return HubJson::parse(out_.renames->configure(merge_config(family.default_config(family), entry.config)));
  }
  /// The variant that it is but for these: where no target says what a constructor is told, timm's name does.
  const ModelEntry& registered() const {
    std::vector<std::string> passed = fields_beside_the_answer();
    passed.insert(passed.end(), of_any_model().begin(), of_any_model().end());
    std::string nearest, apart;
    for (const ModelEntry& entry : entries_of(model_.family())) {
      if (!(entry.naming.empty() || entry.naming == "timm") || entry.name.ends_with("_pt22k")) continue;
      const HubJson has = as_timm_has(entry);
      const std::vector<std::string> keys = differing_fields(config_, has, passed);
      if (keys.empty() && has.value("img_size", HubJson()) == config_.value("img_size", HubJson()))
        return entry;
      if (keys.empty() && (nearest.empty() || !apart.empty())) nearest = entry.name, apart.clear();
      if (entry.name == loaded_.name && nearest.empty())
        nearest = entry.name, apart = fmt::format("{}", fmt::join(keys, ", "));
    }
    require(
        !nearest.empty() && apart.empty(), "convert",
        "timm builds a {} by its name alone, and none of the registered ones is this model{}; choose another "
        "naming (--to)",
        family_, apart.empty() ? "" : fmt::format(" ({} differs in {})", nearest, apart));
    return find_model(nearest);
  }
  /// The library's names of the layers that answer, without ".weight".
  std::vector<std::string> heads() const {
    std::vector<std::string> out;
    for (const Parameter& parameter : model_.parameters())
      if (parameter.name.starts_with("head") && parameter.name.ends_with(kWeight) &&
          parameter.shape.rank() == 2)
        out.push_back(layer_of(parameter));
    return out;
  }
  /// The library's name of the first convolution.
  std::string first_conv() const {
    for (const Parameter& parameter : model_.parameters())
      if (parameter.shape.rank() == 4 && parameter.name.ends_with(kWeight)) return layer_of(parameter);
    return "";
  }
  std::string layer_of(const Parameter& parameter) const {
    const std::string name = out_.renames->library_names(parameter.name).front();
    return name.substr(0, name.size() - kWeight.size());
  }

  bool two_tokens() const { return config_.value("prefix_tokens", HubJson()).size() == 2; }
  bool plain_vit() const { return family_ == "vit" || family_ == "deit"; }
  std::int64_t rows_of(const std::string& name, std::size_t axis = 0) const {
    for (const Parameter& parameter : model_.parameters())
      if (parameter.name == name) return parameter.shape[axis];
    return 0;
  }

  /// The registered name where it is timm's for a model of this kind; else one of the same class. model_args
  /// say all that the name says otherwise.
  std::string architecture() const {
    if (entry_ != nullptr) return entry_->name;
    std::string kind;
    if (family_ == "vit") kind = "vit_base_patch16_224";
    if (family_ == "deit")
      kind = two_tokens()                     ? "deit_base_distilled_patch16_224"
             : config_["layer_scale"] == true ? "deit3_base_patch16_224"
                                              : "deit_base_patch16_224";
    if (family_ == "dinov2")
      kind = fmt::format("vit_{}_patch14{}_dinov2", config_["mlp"] == "plain" ? "base" : "giant",
                         config_["registers"] > 0 ? "_reg4" : "");
    if (family_ == "swin") kind = "swin_tiny_patch4_window7_224";
    if (family_ == "swin_v2") kind = "swinv2_tiny_window8_256";
    if (family_ == "convit") kind = "convit_base";
    if (family_ == "tiny_vit") kind = "tiny_vit_5m_224";
    if (family_ == "sam_image_encoder")
      kind = config_["neck"] == "conv" ? "samvit_base_patch16" : "samvit_base_patch16_224";
    const auto alike = [&](const std::string& name) {  // of the same constructor
      for (const char* word : {"distilled", "deit3", "reg4", "giant", "samvit"})
        if ((name.find(word) == std::string::npos) != (kind.find(word) == std::string::npos)) return false;
      return true;
    };
    for (const ModelEntry& entry : model_entries())
      if (entry.name == loaded_.name && entry.family == family_ && alike(entry.name) &&
          (entry.naming.empty() || entry.naming == "timm") && family_ != "sam_image_encoder" &&
          entry.name.find("digits") == std::string::npos)
        return entry.name.ends_with("_22k") ? entry.name.substr(0, entry.name.size() - 4) : entry.name;
    return kind;
  }

  void check() {
    const std::string target = "timm's " + out_.architecture;
    if (entry_ != nullptr) return note_resize(target, as_timm_has(*entry_));
    std::vector<std::string> passed = fields_beside_the_answer();
    passed.emplace_back("num_classes");
    passed.insert(passed.end(), target_->told.begin(), target_->told.end());
    for (const auto& [ours, theirs] : target_->arguments) passed.emplace_back(ours);
    const bool head = model_.num_classes() > 0;
    if (family_ == "sam_image_encoder") has_["absolute_pos"] = config_["neck"] == "conv";
    if (family_ == "dinov2") {
      has_["head_input"] = "cls";
      has_["pos_embed_prefix"] = config_["registers"] == 0;
      if (!head) passed.emplace_back("head_input");
      if (rows_of("mask_token") > 0) {
        out_.lost.emplace_back("mask_token");
        out_.notes.emplace_back(
            "mask_token, of masked training alone, is left out: timm has no place for it");
      }
    }
    require_fields(target, config_, has_, passed);
    if (family_ == "vit" || family_ == "deit") check_vit(target, head);
    if (config_.contains("window_fit")) require_pyramid(target, config_, has_, out_.notes);
    if (family_ == "sam_image_encoder")
      require((config_["neck"] == "conv") == (config_["pool"] == "none"), "convert",
              "{} cannot be told neck {} with pool {}", target, config_["neck"].dump(),
              config_["pool"].dump());
    note_resize(target, has_);
  }

  void note_resize(const std::string& target, const HubJson& has) {
    for (const char* rule : {"pos_resize", "bias_resize"})
      if (config_.contains(rule) && config_[rule] != has.value(rule, HubJson()))
        out_.notes.push_back(
            fmt::format("{} resizes the position table by {}, and not by {}: pictures of other sizes than "
                        "img_size are answered otherwise",
                        target, has.value(rule, HubJson()).dump(), config_[rule].dump()));
  }

  void check_vit(const std::string& target, bool head) const {
    const HubJson pool = config_["pool"];
    if (!two_tokens()) return;
    require(!head || pool == "mean_two_heads", "convert",
            "{} cannot be told pool {} with two prefix_tokens: it has two heads and averages them", target,
            pool.dump());
    require(config_["pos_embed_prefix"] == true, "convert",
            "{} cannot be told pos_embed_prefix false with two prefix_tokens", target);
  }

  std::string pool() const {
    if (plain_vit() || family_ == "dinov2") {
      const std::string pool = config_.value("pool", "cls");
      return pool == "mean_patches" ? "avg" : pool == "none" ? "" : "token";
    }
    return family_ == "convit" ? "token" : "avg";
  }

  std::int64_t features() const {
    for (const Parameter& parameter : model_.parameters())
      if (entry_ != nullptr && parameter.name.starts_with("head") && parameter.name.ends_with(kWeight) &&
          parameter.shape.rank() == 2)
        return parameter.shape[1];
    if (!config_.contains("dims") && !config_.contains("dim")) return 0;
    if (config_.contains("dims")) return config_["dims"].back().get<std::int64_t>();
    if (family_ == "sam_image_encoder" && config_["neck"] == "conv")
      return config_["out_chans"].get<std::int64_t>();
    const auto dim = config_["dim"].get<std::int64_t>();
    return config_.contains("depths") ? dim << (config_["depths"].size() - 1) : dim;
  }

  HubJson arguments() const {
    HubJson args = {{"num_classes", model_.num_classes()}};
    if (entry_ != nullptr) {
      const HubJson has = as_timm_has(*entry_);
      for (const char* field : {"in_chans", "img_size"})
        if (config_.contains(field) && config_[field] != has.value(field, HubJson()))
          args[field] = side_or_sides(config_[field]);
      return args;
    }
    for (const auto& [ours, theirs] : target_->arguments) {
      HubJson value = config_[ours];
      const std::string field = ours;
      if (field == "patch_size" || field == "window") value = side_or_sides(value);
      if (value.is_array() && value.empty()) continue;
      if (family_ == "convit" && field == "dim")  // of one head there
        value = config_["dim"].get<std::int64_t>() / config_["heads"].get<std::int64_t>();
      if (family_ == "dinov2" && field == "registers" && value == 0) continue;
      args[theirs] = value;
    }
    if (target_->mlp[0] != '\0')
      args["mlp_ratio"] = ratio_of(rows_of(target_->mlp), config_["dim"].get<std::int64_t>());
    if (family_ == "dinov2") args["mlp_ratio"] = dinov2_ratio();
    if (family_ == "sam_image_encoder" && config_["neck"] == "conv")
      args["neck_chans"] = config_["out_chans"];
    if (plain_vit()) add_vit(args);
    if (family_ == "convit") args["qkv_bias"] = config_["qkv_bias"] == "full";
    args["global_pool"] = pool();
    return args;
  }

  void add_vit(HubJson& args) const {
    args["qkv_bias"] = config_["qkv_bias"] == "full";
    if (config_["layer_scale"] == true) args["init_values"] = 1e-5;
    if (two_tokens()) return;
    const bool cls = !config_["prefix_tokens"].empty();
    if (!cls) args["class_token"] = false;
    if (cls && (config_["pos_embed_prefix"] == false || out_.architecture.starts_with("deit3")))
      args["no_embed_class"] = config_["pos_embed_prefix"] == false;
    if (config_["pool"] == "mean_patches") {
      args["fc_norm"] = config_["fc_norm"];
      if (config_["fc_norm"] == false) args["final_norm"] = true;
    }
  }

  /// Of SwiGLU, the width of both halves.
  double dinov2_ratio() const {
    const auto dim = config_["dim"].get<std::int64_t>();
    const std::int64_t plain = rows_of("blocks.0.mlp.fc1.weight"),
                       packed = rows_of("blocks.0.mlp.w12.weight");
    return ratio_of(packed > 0 ? packed : plain, dim);
  }

  HubJson pretrained() {
    Preprocess rules = loaded_.preprocess;
    std::string text;
    try {
      text = processor_to_timm(rules);
    } catch (const Error&) {
      if (rules.crop_origin != Preprocess::CropOrigin::floor) throw;
      rules.crop_origin = Preprocess::CropOrigin::round_half_even;
      text = processor_to_timm(rules);
      out_.notes.push_back(
          "pretrained_cfg: timm rounds where its crop begins; a picture may move by a pixel");
    }
    HubJson cfg = HubJson::parse(text);
    cfg["num_classes"] = model_.num_classes();
    if (entry_ != nullptr) {
      cfg["first_conv"] = first_conv();
      const std::vector<std::string> answers = heads();
      if (answers.size() == 1) cfg["classifier"] = answers[0];
      if (answers.size() > 1) cfg["classifier"] = answers;
      return cfg;
    }
    cfg["first_conv"] = target_->first_conv;
    cfg["classifier"] = target_->classifier;
    if (two_tokens()) cfg["classifier"] = {"head", "head_dist"};
    return cfg;
  }

  const LoadedModel& loaded_;
  const Model& model_;
  std::string family_;
  HubJson config_, has_;
  const TimmTarget* target_ = nullptr;  ///< nullptr: entry_
  const ModelEntry* entry_ = nullptr;   ///< what timm's name of the model says
  HubFolder out_;
};

}  // namespace

HubFolder timm_folder(const LoadedModel& loaded) { return TimmWriter(loaded).folder(); }

}  // namespace locant
