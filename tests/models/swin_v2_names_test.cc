// Swin V2's registered variants, other libraries' names, and what names and shapes tell.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/registry.h"

namespace locant {
namespace swin_v2_names_test {

using Json = nlohmann::json;

constexpr const char* kSmall =
    R"({"img_size":16,"patch_size":2,"in_chans":2,"num_classes":5,"dim":8,"depths":[2,2],"heads":[2,4],)"
    R"("window":4,"mlp_ratio":2,"cpb_hidden":16})";

std::string small(const std::string& changes) { return merge_config(kSmall, changes); }

std::map<std::string, Shape> shapes_of(const std::string& config) {
  std::map<std::string, Shape> out;
  for (const Parameter& p : model_parameters("swin_v2", config)) out.emplace(p.name, p.shape);
  return out;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(SwinV2, ParameterCountsArePublished) {
  const std::map<std::string, std::int64_t> published = {
      {"swinv2_tiny_window8_256", 28'347'154},
      {"swinv2_tiny_window16_256", 28'347'154},
      {"swinv2_small_window8_256", 49'728'418},
      {"swinv2_small_window16_256", 49'728'418},
      {"swinv2_base_window8_256", 87'918'816},
      {"swinv2_base_window16_256", 87'918'816},
      {"swinv2_base_window12to16_192to256", 87'918'816},
      {"swinv2_base_window12to24_192to384", 87'918'816},
      {"swinv2_large_window12to16_192to256", 196'739'932},
      {"swinv2_large_window12to24_192to384", 196'739'932},
      {"swinv2_base_window12_192", 87'918'816 + 20'841 * 1025},  // 21,841 classes in place of 1000
      {"swinv2_large_window12_192", 196'739'932 + 20'841 * 1537},
      {"swin_v2_t", 28'351'570},
      {"swin_v2_s", 49'737'442},
      {"swin_v2_b", 87'930'848},
  };
  std::size_t found = 0;
  for (const ModelEntry& entry : model_entries()) {
    if (entry.family != "swin_v2") continue;
    ASSERT_EQ(published.count(entry.name), 1u) << entry.name;
    std::int64_t count = 0;
    for (const auto& [name, shape] : shapes_of(entry.config)) count += shape.numel();
    EXPECT_EQ(count, published.at(entry.name)) << entry.name;
    ++found;
  }
  EXPECT_EQ(found, published.size());
}

TEST(SwinV2, PicturesArePreparedAsPublished) {
  const auto preprocess = [](const char* model, const char* naming) {
    return Preprocess::from_json(
        find_renames("swin_v2", naming).configure_preprocess(find_model(model).preprocess.to_json()));
  };
  EXPECT_EQ(preprocess("swinv2_tiny", "timm").crop_pct, 0.9);
  EXPECT_EQ(preprocess("swinv2_tiny", "microsoft/Swin-Transformer").crop_pct, 0.875);
  EXPECT_EQ(preprocess("swinv2_base_window12_192.ms_in22k", "timm").rows, 192);
  const char* large = "swinv2_large_window12to24_192to384";
  EXPECT_EQ(preprocess(large, "timm").crop_pct, 1.0);
  EXPECT_EQ(preprocess(large, "timm").rows, 384);
  EXPECT_EQ(preprocess(large, "microsoft/Swin-Transformer").mode, Preprocess::Mode::squash);
  EXPECT_EQ(preprocess("swinv2_tiny", "transformers").mode, Preprocess::Mode::squash);
  EXPECT_EQ(preprocess("torchvision/swin_v2_t", "torchvision").resize_to, 260);
  EXPECT_EQ(preprocess("swin_v2_b", "torchvision").resize_to, 272);
  EXPECT_EQ(preprocess("swin_v2_s", "torchvision").rows, 256);
}

TEST(SwinV2, LibrariesHaveTheirNames) {
  const auto names = [](const char* naming, const char* ours) {
    std::vector<std::string> out;
    const Renames& renames = find_renames("swin_v2", naming);
    for (const SourcePiece& piece : renames.to_library(ours, {12, 3})) {
      out.push_back(piece.name);
      EXPECT_EQ(renames.to_ours(piece.name), ours);
      EXPECT_FALSE(renames.is_derived(piece.name)) << piece.name;
    }
    return out;
  };
  using Names = std::vector<std::string>;
  const char* q_bias = "layers.1.blocks.0.attn.q_bias";
  const char* mlp = "layers.1.blocks.0.attn.cpb_mlp.2.weight";
  const char* merging = "layers.0.downsample.norm.bias";
  EXPECT_EQ(names("microsoft/Swin-Transformer", q_bias), Names{q_bias});
  EXPECT_EQ(names("timm", mlp), Names{mlp});
  EXPECT_EQ(names("timm", merging), Names{"layers.1.downsample.norm.bias"});
  EXPECT_EQ(names("timm", "head.weight"), Names{"head.fc.weight"});
  EXPECT_EQ(names("torchvision", "layers.1.blocks.0.attn.qkv.bias"), Names{"features.3.0.attn.qkv.bias"});
  EXPECT_EQ(names("torchvision", mlp), Names{"features.3.0.attn.cpb_mlp.2.weight"});
  EXPECT_EQ(names("torchvision", merging), Names{"features.2.norm.bias"});
  const std::string self = "encoder.layers.1.blocks.0.attention.self.";
  EXPECT_EQ(names("transformers", q_bias), Names{self + "query.bias"});
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.attn.v_bias"), Names{self + "value.bias"});
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.attn.qkv.weight"),
            (Names{self + "query.weight", self + "key.weight", self + "value.weight"}));
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.attn.logit_scale"), Names{self + "logit_scale"});
  EXPECT_EQ(names("transformers", mlp), Names{self + "continuous_position_bias_mlp.2.weight"});
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.norm1.weight"),
            Names{"encoder.layers.1.blocks.0.layernorm_before.weight"});
  EXPECT_EQ(names("transformers", merging), Names{"encoder.layers.0.downsample.norm.bias"});
  EXPECT_EQ(find_renames("swin_v2", "transformers").spelled("layernorm.bias"), "layernorm.bias");
  for (const char* buffer :
       {"attn.relative_position_index", "attn.relative_coords_table", "attn_mask", "attn.k_bias"})
    EXPECT_TRUE(find_renames("swin_v2", "timm").is_derived(std::string("layers.0.blocks.1.") + buffer));
}

TEST(SwinV2, NamingsSayHowTheyCompute) {
  const auto complete = [](const char* naming, const char* config) {
    return Json::parse(find_renames("swin_v2", naming).complete(config));
  };
  const Json timm = complete("timm", R"({"window_fit":"shrink"})");
  EXPECT_EQ(timm["window_fit"], "shrink_axis");
  EXPECT_EQ(timm["pad_order"], "roll_then_pad");
  const Json torchvision = complete("torchvision", "{}");
  EXPECT_EQ(torchvision["window_fit"], "pad");
  EXPECT_EQ(torchvision["qkv_bias"], "full_k_zeroed");
  EXPECT_EQ(complete("transformers", R"({"norm_eps":1e-6})")["merge_norm_eps"], 1e-5);
}

TEST(SwinV2, HubConfigurationsBecomeOurs) {
  const HubKeys keys = kSwinV2.hub().at(0);
  EXPECT_EQ(keys.model_type, "swinv2");
  const std::string config = from_hub(
      keys, R"({"model_type":"swinv2","image_size":64,"patch_size":4,"embed_dim":24,"depths":[2,2],)"
            R"("num_heads":[2,4],"window_size":8,"pretrained_window_sizes":[6,6],"layer_norm_eps":1e-6,)"
            R"("qkv_bias":true,"id2label":{"0":"a","1":"b","2":"c"}})");
  ShapeSource source;
  const Json got = Json::parse(make_model("swin_v2", config, Weights(source, WeightMode::shapes))->config());
  EXPECT_EQ(got["pretrained_window_sizes"], Json::parse("[6,6]"));
  EXPECT_EQ(got["window"], Json::parse("[8,8]"));
  EXPECT_EQ(got["num_classes"], 3);
  EXPECT_EQ(got["norm_eps"], 1e-6);
  EXPECT_EQ(got["merge_norm_eps"], 1e-5);
}

// ---- shapes

TEST(SwinV2, ShapesDoNotTellTheWindows) {
  const auto told = [](const char* model, std::map<std::string, Shape> derived) {
    const NamedShapes shapes("swin_v2", shapes_of(find_model(model).config), std::move(derived));
    return kSwinV2.from_shapes(kSwinV2, shapes, "");
  };
  const std::string message = message_of([&] { told("swinv2_base_window16_256", {}); });
  EXPECT_NE(message.find("must be told"), std::string::npos) << message;
  // The window is in the shape of a buffer, the one of the pretraining in that of none.
  const char* table = "layers.0.blocks.0.attn.relative_coords_table";
  const char* mask = "layers.0.blocks.1.attn_mask";
  const Json tiny = Json::parse(told("swinv2_tiny", {{table, {1, 31, 31, 2}}, {mask, {16, 256, 256}}}));
  EXPECT_EQ(tiny["window"], Json::parse("[16,16]"));
  EXPECT_EQ(tiny["img_size"], Json::parse("[256,256]"));
  const Json tuned = Json::parse(
      told("swinv2_base_window12to24_192to384", {{table, {1, 47, 47, 2}}, {mask, {16, 576, 576}}}));
  EXPECT_EQ(tuned["window"], Json::parse("[24,24]"));
  EXPECT_EQ(tuned["img_size"], Json::parse("[384,384]"));
  const Json torchvision = Json::parse(told("swin_v2_t", {{table, {1, 15, 15, 2}}}));
  EXPECT_EQ(torchvision["qkv_bias"], "full_k_zeroed");
  EXPECT_EQ(torchvision["img_size"], Json::parse("[256,256]"));
  EXPECT_THROW(told("swinv2_tiny", {{table, {1, 1 << 20, 1 << 20, 2}}}), Error);
}

// A file's buffers are seen under our names, and are no parameters.
TEST(SwinV2, ShapesOfAFileHaveItsBuffers) {
  const std::string path = ::testing::TempDir() + "swin_v2_buffers.safetensors";
  write_safetensors(path,
                    {{"features.1.0.attn.relative_coords_table", Tensor::zeros({1, 3, 3, 2})},
                     {"features.1.0.attn.logit_scale", Tensor::zeros({3, 1, 1})}},
                    {});
  const auto file = open_tensor_file(path);
  const NamedShapes shapes("swin_v2",
                           std::make_shared<CheckpointSource>(*file, find_renames("swin_v2", "torchvision")));
  const char* table = "layers.0.blocks.0.attn.relative_coords_table";
  ASSERT_TRUE(shapes.derived(table).has_value());
  EXPECT_EQ(*shapes.derived(table), (Shape{1, 3, 3, 2}));
  EXPECT_FALSE(shapes.has(table));
  EXPECT_TRUE(shapes.has("layers.0.blocks.0.attn.logit_scale"));
  EXPECT_FALSE(shapes.derived("layers.0.blocks.1.attn_mask").has_value());
}

TEST(SwinV2, ShapesTellTheRest) {
  const std::string config =
      small(R"({"img_size":[8,16],"window":[2,3],"qkv_bias":"none","patch_norm":false,"num_classes":0})");
  const NamedShapes shapes("swin_v2", shapes_of(config),
                           {{"layers.0.blocks.0.attn.relative_coords_table", {1, 3, 5, 2}}});
  const std::string told = kSwinV2.from_shapes(kSwinV2, shapes, "");
  EXPECT_EQ(shapes_of(told), shapes_of(config));
  const Json got = Json::parse(told);
  EXPECT_EQ(got["window"], Json::parse("[2,3]"));
  EXPECT_EQ(got["heads"], Json::parse("[2,4]"));
  EXPECT_EQ(got["mlp_ratio"], 2.0);
  std::string assumed;
  for (const std::string& line : shapes.assumed()) assumed += line + "; ";
  for (const char* part : {"pretrained_window_sizes", "img_size", "norm_eps"})
    EXPECT_NE(assumed.find(part), std::string::npos) << assumed;
}

}  // namespace swin_v2_names_test
}  // namespace locant
