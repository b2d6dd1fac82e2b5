#include "models/processor_keys.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace locant {
namespace {

using Json = nlohmann::json;
using Rules = ProcessorClass::Rules;

// transformers 5.24.0, models/*/image_processing_*.py.
constexpr ProcessorClass kClasses[] = {
    {"ViT", Rules::plain, true, false,
     R"({"size":{"height":224,"width":224},"resample":2,"image_mean":0.5,"image_std":0.5})"},
    {"DeiT", Rules::plain, true, true,
     R"({"size":{"height":256,"width":256},"resample":3,"image_mean":0.5,"image_std":0.5,
         "do_center_crop":true,"crop_size":{"height":224,"width":224}})"},
    {"Beit", Rules::plain, true, true,
     R"({"size":{"height":224,"width":224},"resample":3,"image_mean":0.5,"image_std":0.5,
         "crop_size":{"height":224,"width":224}})"},
    {"Pvt", Rules::plain, true, false,
     R"({"size":{"height":224,"width":224},"resample":3,
         "image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225]})"},
    {"Bit", Rules::plain, false, true,
     R"({"size":{"shortest_edge":224},"resample":3,"do_center_crop":true,"crop_size":{"height":224,"width":224},
         "image_mean":[0.48145466,0.4578275,0.40821073],"image_std":[0.26862954,0.26130258,0.27577711]})"},
    {"CLIP", Rules::plain, false, true,
     R"({"size":{"shortest_edge":224},"resample":3,"do_center_crop":true,"crop_size":{"height":224,"width":224},
         "image_mean":[0.48145466,0.4578275,0.40821073],"image_std":[0.26862954,0.26130258,0.27577711]})"},
    {"Levit", Rules::levit, false, true,
     R"({"size":{"shortest_edge":224},"resample":3,"do_center_crop":true,"crop_size":{"height":224,"width":224},
         "image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225]})"},
    {"ConvNext", Rules::convnext, false, false,
     R"({"size":{"shortest_edge":384},"resample":3,"image_mean":0.5,"image_std":0.5,"crop_pct":0.875})"},
    {"VideoMAE", Rules::plain, false, true,
     R"({"size":{"shortest_edge":224},"resample":2,"do_center_crop":true,"crop_size":{"height":224,"width":224},
         "image_mean":0.5,"image_std":0.5})"},
    {"Vivit", Rules::plain, false, true,
     R"({"size":{"shortest_edge":256},"resample":2,"do_center_crop":true,"crop_size":{"height":224,"width":224},
         "image_mean":0.5,"image_std":0.5,"rescale_factor":0.00784313725490196,"offset":true})"},
    {"DINOv3ViT", Rules::floats, true, false,
     R"({"size":{"height":224,"width":224},"resample":2,
         "image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225]})"},
    {"Sam", Rules::own, false, false, "{}"}};

constexpr std::pair<std::string_view, std::string_view> kModels[] = {{"vit", "ViT"},
                                                                     {"vit_mae", "ViT"},
                                                                     {"vit_msn", "ViT"},
                                                                     {"ijepa", "ViT"},
                                                                     {"swin", "ViT"},
                                                                     {"swinv2", "ViT"},
                                                                     {"dinat", "ViT"},
                                                                     {"nat", "ViT"},
                                                                     {"deit", "DeiT"},
                                                                     {"beit", "Beit"},
                                                                     {"data2vec-vision", "Beit"},
                                                                     {"pvt", "Pvt"},
                                                                     {"pvt_v2", "Pvt"},
                                                                     {"dinov2", "Bit"},
                                                                     {"dinov2_with_registers", "Bit"},
                                                                     {"hiera", "Bit"},
                                                                     {"focalnet", "Bit"},
                                                                     {"bit", "Bit"},
                                                                     {"clip", "CLIP"},
                                                                     {"levit", "Levit"},
                                                                     {"cvt", "ConvNext"},
                                                                     {"convnext", "ConvNext"},
                                                                     {"convnextv2", "ConvNext"},
                                                                     {"resnet", "ConvNext"},
                                                                     {"regnet", "ConvNext"},
                                                                     {"videomae", "VideoMAE"},
                                                                     {"timesformer", "VideoMAE"},
                                                                     {"vivit", "Vivit"},
                                                                     {"dinov3_vit", "DINOv3ViT"},
                                                                     {"sam", "Sam"},
                                                                     {"sam_hq", "Sam"},
                                                                     {"sam_vision_model", "Sam"}};

const ProcessorClass* by_name(std::string_view name) {
  for (const ProcessorClass& kind : kClasses)
    if (kind.name == name) return &kind;
  return nullptr;
}

}  // namespace

const ProcessorClass* find_processor_class(std::string_view type) {
  for (const std::string_view end : {"Fast", "Pil"})
    if (type.ends_with(end)) type.remove_suffix(end.size());
  for (const std::string_view end : {"ImageProcessor", "FeatureExtractor"}) {
    if (!type.ends_with(end)) continue;
    type.remove_suffix(end.size());
    return by_name(type);
  }
  return nullptr;
}

const ProcessorClass* processor_class_of_model(std::string_view model_type) {
  for (const auto& [model, name] : kModels)
    if (model == model_type) return by_name(name);
  return nullptr;
}

Json processor_defaults(const ProcessorClass& kind) {
  Json all = {{"do_resize", true},   {"do_center_crop", false},       {"crop_size", nullptr},
              {"do_rescale", true},  {"rescale_factor", 1.0 / 255.0}, {"do_normalize", true},
              {"do_pad", false},     {"pad_size", nullptr},           {"do_flip_channel_order", false},
              {"do_convert_rgb", {}}};
  all.update(Json::parse(kind.defaults));
  return all;
}

Json processor_object(const std::string& text) {
  // Copies and messages go down into what is nested: a file must not say how deep.
  bool deep = false;
  const auto keep = [&](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > 16;
    return depth <= 16;
  };
  Json object = Json::parse(text, keep, false);
  require(!deep, "processor", "the JSON text is nested more than 16 deep: no processor's is");
  require(object.is_object(), "processor", "not a JSON object: {}", processor_shown(text.substr(0, 200)));
  return object;
}

bool processor_bool(const Json& object, const char* key) {
  const Json& value = object[key];
  require(value.is_boolean(), "processor", "'{}' must be true or false, not {}", key, processor_shown(value));
  return value.get<bool>();
}

double processor_number(const Json& value, const std::string& key) {
  require(value.is_number() && std::isfinite(value.get<double>()), "processor",
          "'{}' must be a finite number, not {}", key, processor_shown(value));
  return value.get<double>();
}

std::int64_t processor_side(const Json& value, const std::string& key) {
  // An unsigned number beyond int64 comes out negative.
  const std::int64_t side = value.is_number_integer() ? value.get<std::int64_t>() : 0;
  require(side >= 1 && side <= 16384, "processor", "'{}' must be 1 to 16384 pixels, not {}", key,
          processor_shown(value));
  return side;
}

std::vector<float> processor_numbers(const Json& value, const std::string& key, std::int64_t channels,
                                     std::vector<std::string>& notes) {
  const Json list = value.is_array() ? value : Json::array({value});
  require(!list.empty() && list.size() <= 16, "processor", "'{}' must be 1 to 16 numbers, not {}", key,
          processor_shown(value));
  std::vector<double> numbers;
  for (const Json& x : list) numbers.push_back(processor_number(x, key));
  const auto wanted = static_cast<std::size_t>(channels);
  if (numbers.size() != wanted && numbers.size() > 1) {
    const double sum = std::accumulate(numbers.begin(), numbers.end(), 0.0);
    notes.push_back(fmt::format("'{}' has {} numbers for {} channels: their average is used", key,
                                numbers.size(), channels));
    numbers = {sum / static_cast<double>(numbers.size())};
  }
  if (numbers.size() == 1) numbers.assign(wanted, numbers[0]);
  std::vector<float> out;
  for (const double x : numbers) {
    out.push_back(static_cast<float>(x));
    require(std::isfinite(out.back()), "processor", "'{}' has {}: too large", key, x);
  }
  return out;
}

std::string processor_shown(const Json& value) {
  // ASCII, so that a terminal obeys nothing in it; what is no UTF-8 is replaced.
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace locant
