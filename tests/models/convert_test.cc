// Checkpoints out again: names and config.json as the official fixtures have them, the same answers, and
// refusals that name the field.
#include "models/convert.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/tensor_file.h"
#include "models/family.h"
#include "models/registry.h"

namespace locant {
namespace convert_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

fs::path fixture(const std::string& name) { return fs::path(LOCANT_TEST_DATA) / "hub" / name / "model"; }

Json read(const fs::path& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

class Convert : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    work_ = fs::temp_directory_path() / ("locant_convert_" + name + "_" + std::to_string(::getpid()));
    fs::create_directories(work_);
  }
  void TearDown() override { fs::remove_all(work_); }

  Converted to(const std::string& target, const std::string& name, const std::string& output = "out") {
    ConvertOptions options;
    options.to = target;
    return convert_model(fixture(name).string(), (work_ / output).string(), options);
  }
  std::string refusal(const std::string& target, const std::string& name) {
    try {
      to(target, name, "refused");
    } catch (const Error& error) {
      EXPECT_TRUE(!fs::exists(work_ / "refused"));
      return error.what();
    }
    return "";
  }
  fs::path work_;
};

/// Without the pooler, which no answer here needs; `counts`: with counts of batches.
std::set<std::string> names_in(const fs::path& folder, bool counts = true) {
  std::set<std::string> out;
  const auto file = open_tensor_file((folder / "model.safetensors").string());
  for (const auto& tensor : file->tensors()) {
    const bool count = tensor.name.ends_with(".num_batches_tracked");
    EXPECT_EQ(tensor.dtype, count ? DType::i64 : DType::f32) << tensor.name;
    if (!tensor.name.starts_with("pooler.") && (counts || !count)) out.insert(tensor.name);
  }
  return out;
}

Tensor waves(const Shape& shape) {
  Tensor x(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  return x;
}

/// Of two samples of nine tokens, the second padded.
Tensor answer_of_reader(const Model& model, const Json& config) {
  const bool ids = model.inputs().front().kind == Port::Kind::ids;
  Tensor input = ids ? Tensor(Shape({2, 9})) : waves({2, 9, config["dim"].get<std::int64_t>()});
  for (std::int64_t i = 0; ids && i < input.numel(); ++i) input[i] = static_cast<float>(i * 7 % 31);
  Tensor mask = Tensor::full({2, 9}, 1.0f);
  for (std::int64_t i = 15; i < 18; ++i) mask[i] = 0.0f;
  Values in = {{model.inputs().front().name, Var(std::move(input))}};
  for (const Port& port : model.inputs())
    if (port.kind == Port::Kind::mask) in.set(port.name, Var(mask));
  return model.run(Context{}, in).front().value();
}

/// A picture of the model's size, where `shape` is none.
Tensor answer(const std::string& path, const Shape& shape = {}) {
  const LoadedModel loaded = load_model(path);
  const Json config = Json::parse(loaded.model->config());
  if (!loaded.model->sees()) return answer_of_reader(*loaded.model, config);
  const Tensor x =
      waves(shape.rank() == 4
                ? shape
                : Shape({1, config["in_chans"].get<std::int64_t>(), config["img_size"][0].get<std::int64_t>(),
                         config["img_size"][1].get<std::int64_t>()}));
  if (loaded.model->num_classes() > 0) return loaded.model->forward(Context{}, Var(x)).value();
  const Features features = loaded.model->features(Context{}, Var(x));
  return features.cls.defined() ? features.cls.value() : features.last().tokens.value();
}

void expect_same_answer(const std::string& one, const std::string& other, const Shape& shape = {}) {
  const Tensor a = answer(one, shape), b = answer(other, shape);
  ASSERT_EQ(a.numel(), b.numel());
  for (std::int64_t i = 0; i < a.numel(); ++i) EXPECT_EQ(a[i], b[i]);
}

/// Keys that say nothing of the model.
bool is_beside(const std::string& key) {
  static const std::set<std::string> kBeside = {
      "transformers_version", "out_features", "out_indices",  "stage_names",  "tie_word_embeddings",
      "is_decoder",           "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"};
  return kBeside.count(key) > 0;
}

/// [4, 4] as 4: classes take both.
Json one_side(const Json& value) {
  return value.is_array() && value.size() == 2 && value[0] == value[1] ? value[0] : value;
}

/// What the library wrote of a model is written again; keys that nothing here reads may be left out.
void expect_same_keys(const Json& got, const Json& want, const std::set<std::string>& apart) {
  std::vector<std::string> inert;
  for (const Family* family : families())
    for (const HubKeys& keys : family->hub())
      if (keys.model_type == want["model_type"]) inert = keys.inert;
  for (const auto& [key, value] : want.items()) {
    if (is_beside(key) || apart.count(key) > 0 || (!got.contains(key) && matches_any(inert, key))) continue;
    if ((key == "label2id" || key == "id2label") && !got.contains(key)) continue;
    EXPECT_EQ(one_side(got.value(key, Json("absent"))), one_side(value)) << key;
  }
}

Shape input_of(const std::string& name) {
  const Json input = read(fixture(name).parent_path() / "expected.json")["input"];
  return input.contains("shape") ? Shape(input["shape"].get<std::vector<std::int64_t>>()) : Shape();
}

TEST_F(Convert, TransformersFoldersComeBack) {
  struct Case {
    const char* name;
    std::set<std::string> apart =
        {};  // keys that say the same in other words, or that its class does not read
  };
  for (const Case& one : std::initializer_list<Case>{
           {"vit_5_labels"},
           {"vit_12x20"},
           {"vit_multi_label"},
           {"vit_no_qkv_bias"},
           {"deit_with_teacher"},
           {"deit_two_tokens_one_head"},
           {"deit_headless"},
           {"dinov2_classifier"},
           {"dinov2_swiglu"},
           {"dinov2_registers_classifier"},
           {"dinov2_registers_headless"},
           {"swin_classifier"},
           {"swin_absolute"},
           {"swin_epsilon"},
           {"swin_v2_classifier"},
           {"swin_v2_headless_pretrained_windows", {"pretrained_window_sizes"}},  // filled up to four stages
           {"pvt_classifier"},
           {"pvt_headless", {"num_labels"}},
           {"pvt_v2_classifier"},
           {"pvt_v2_linear_headless"},
           {"cvt_classifier", {"drop_path_rate"}},
           {"cvt_headless", {"drop_path_rate"}},
           {"cvt_other_strides", {"drop_path_rate", "layer_norm_eps"}},
           {"levit_classifier"},
           {"levit_teacher"},
           {"levit_headless"},
           {"beit_classifier", {"reshape_hidden_states"}},
           {"beit_12x20", {"reshape_hidden_states"}},
           {"beit_cls", {"reshape_hidden_states"}},
           {"data2vec_vision"},
           {"vitdet_model"},
           {"transformers_dinat"},
           {"transformers_dinat_backbone", {"id2label", "label2id"}},
           {"t5_encoder"},
           {"mt5_gated_silu"},
           {"deberta_v3", {"pos_att_type"}},
           {"deberta_v2_defaults", {"pos_att_type"}}}) {
    SCOPED_TRACE(one.name);
    const Converted done = to("transformers", one.name, one.name);
    EXPECT_EQ(names_in(work_ / one.name), names_in(fixture(one.name)));
    const Json got = read(work_ / one.name / "config.json"), want = read(fixture(one.name) / "config.json");
    expect_same_keys(got, want, one.apart);
    EXPECT_EQ(done.architecture, want["architectures"][0].get<std::string>());
    EXPECT_EQ(fs::exists(work_ / one.name / "preprocessor_config.json"), done.source.model->sees());
    expect_same_answer(fixture(one.name).string(), (work_ / one.name).string(), input_of(one.name));
  }
}

// Its class hears audio, and has this model behind that.
TEST_F(Convert, EncodersBehindAudioComeBack) {
  for (const char* name :
       {"wav2vec2_conformer_relative", "wav2vec2_conformer_rotary", "wav2vec2_conformer_none"}) {
    SCOPED_TRACE(name);
    const Converted done = to("transformers", name, name);
    EXPECT_EQ(done.architecture, "Wav2Vec2ConformerModel");
    const Json got = read(work_ / name / "config.json"), want = read(fixture(name) / "config.json");
    for (const char* key : {"hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size",
                            "conv_depthwise_kernel_size", "position_embeddings_type", "rotary_embedding_base",
                            "hidden_act", "layer_norm_eps", "attention_dropout", "hidden_dropout"})
      EXPECT_EQ(got.value(key, Json("absent")), want[key]) << key;
    std::set<std::string> wanted = names_in(fixture("wav2vec2_conformer_none"));
    wanted.erase("masked_spec_embed");
    std::erase_if(wanted, [](const std::string& x) { return x.find("conv_layers.1") != std::string::npos; });
    wanted.insert("feature_extractor.conv_layers.0.layer_norm.weight");
    if (std::string(name).ends_with("relative"))
      for (const char* layer : {"0", "1"})
        for (const char* part : {"linear_pos.weight", "pos_bias_u", "pos_bias_v"})
          wanted.insert(std::string("encoder.layers.") + layer + ".self_attn." + part);
    if (std::string(name).ends_with("rotary")) wanted.insert("encoder.embed_positions.inv_freq");
    EXPECT_EQ(names_in(work_ / name), wanted);
    const auto file = open_tensor_file((work_ / name / "model.safetensors").string());
    EXPECT_TRUE(std::isnan(file->read("feature_projection.projection.bias")[0]));
    EXPECT_EQ(file->read("encoder.pos_conv_embed.conv.bias")[0], 0.0f);
    if (std::string(name).ends_with("rotary")) {
      const std::string buffer = "encoder.embed_positions.inv_freq";
      const auto whole = open_tensor_file((fixture(name) / "model.safetensors").string());
      const Tensor here = file->read(buffer), there = whole->read("wav2vec2_conformer." + buffer);
      ASSERT_EQ(here.shape(), there.shape());
      for (std::int64_t i = 0; i < here.numel(); ++i) EXPECT_NEAR(here[i], there[i], 1e-7f * there[i]);
    }
    ASSERT_EQ(done.notes.size(), 1u);
    EXPECT_NE(done.notes[0].find("feature_extractor"), std::string::npos) << done.notes[0];
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
}

TEST_F(Convert, TimmFoldersComeBack) {
  for (const char* name :
       {"timm_vit", "timm_vit_48", "timm_vit_grey", "timm_vit_headless", "timm_vit_heads",
        "timm_vit_mean_pool", "timm_vit_mean_pool_norm", "timm_deit3", "timm_deit_distilled", "timm_dinov2",
        "timm_dinov2_registers", "timm_swin", "timm_swin_v2", "timm_convit", "timm_tiny_vit", "timm_samvit",
        "timm_samvit_classifier"}) {
    SCOPED_TRACE(name);
    to("timm", name, name);
    EXPECT_EQ(names_in(work_ / name, false), names_in(fixture(name), false));
    const Json got = read(work_ / name / "config.json"), want = read(fixture(name) / "config.json");
    for (const auto& [key, value] : want["model_args"].items())
      EXPECT_EQ(got["model_args"].value(key, Json("absent")), value) << key;
    for (const char* key : {"num_classes", "num_features", "global_pool"})
      EXPECT_EQ(got[key], want[key]) << key;
    for (const char* key : {"first_conv", "classifier", "mean", "std", "interpolation"})
      EXPECT_EQ(got["pretrained_cfg"][key], want["pretrained_cfg"][key]) << key;
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
}

TEST_F(Convert, SaysThatItsTensorsAreOfPyTorch) {
  to("transformers", "vit_5_labels");
  EXPECT_EQ(open_tensor_file((work_ / "out" / "model.safetensors").string())->metadata().at("format"), "pt");
}

TEST_F(Convert, OneLibrarysModelInAnothersForm) {
  for (const char* name : {"timm_vit", "timm_swin", "timm_swin_v2", "timm_deit_distilled"}) {
    SCOPED_TRACE(name);
    to("transformers", name, name);
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
  for (const char* name : {"swin_classifier", "swin_v2_classifier"}) {
    SCOPED_TRACE(name);
    to("timm", name, name);
    expect_same_answer(fixture(name).string(), (work_ / name).string());
  }
}

TEST_F(Convert, RefusesByName) {
  const auto names = [&](const char* target, const char* name, const char* field) {
    const std::string text = refusal(target, name);
    EXPECT_NE(text.find(field), std::string::npos) << name << " to " << target << ": " << text;
  };
  names("timm", "vit_5_labels", "norm_eps");
  names("timm", "vit_epsilon", "norm_eps");
  names("timm", "swin_epsilon", "norm_eps");
  names("timm", "swin_absolute", "absolute_pos");
  names("timm", "dinov2_classifier", "head_input");
  names("timm", "dinov2_registers_headless", "pos_embed_prefix");
  names("transformers", "timm_dinov2_registers", "pos_embed_prefix");
  names("transformers", "timm_vit_mean_pool", "pool");
  names("transformers", "timm_vit_mean_pool_norm", "pool");
  names("transformers", "timm_deit3", "pos_embed_prefix");
  names("transformers", "timm_dinov2", "mlp_hidden");
  names("transformers", "timm_convit", "convit");
  names("transformers", "transfo_xl_lm", "transfo-xl is of releases before 5");
  names("transformers", "timm_pvt_v2", "mlp_ratios");
}

TEST_F(Convert, LeavesWhatIsThere) {
  to("timm", "timm_vit");
  EXPECT_THROW(to("timm", "timm_vit"), Error);
  ConvertOptions options;
  options.to = "timm";
  options.force = true;
  const std::string folder = (work_ / "out").string();
  EXPECT_NO_THROW(convert_model(fixture("timm_vit").string(), folder, options));
  EXPECT_THROW(convert_model(folder, folder, options), Error);
  EXPECT_THROW(convert_model(folder + "/model.safetensors", folder + "/", options), Error);
}

TEST_F(Convert, OurOwnFormKeepsAll) {
  to("locant", "timm_vit", "own.safetensors");
  const LoadedModel own = load_model((work_ / "own.safetensors").string());
  EXPECT_EQ(own.classes, load_model(fixture("timm_vit").string()).classes);
  expect_same_answer(fixture("timm_vit").string(), (work_ / "own.safetensors").string());
}

// ---- models of our own to transformers

/// A model of random numbers in our own form.
void write_own(const fs::path& path, const std::string& family, const std::string& config) {
  RandomSource numbers(7);
  const auto model = make_model(family, config, Weights(numbers, WeightMode::train));
  save_model(path.string(), *model, {family, {}, {}, {}});
}

std::map<std::string, Tensor> numbers_of(const LoadedModel& loaded) {
  std::map<std::string, Tensor> out;
  for (const Parameter& parameter : loaded.model->parameters())
    out.emplace(parameter.name, parameter.value.value());
  return out;
}

struct Own {
  const char *family, *config, *architecture, *model_type;
};

TEST_F(Convert, OurOwnModelsBecomeTransformers) {
  const Own all[] = {
      {"pvt",
       R"({"img_size":32,"dims":[8,12,10,16],"depths":[1,2,1,1],"heads":[1,3,2,4],"mlp_ratios":[2,1,2,1],)"
       R"("sr_ratios":[4,2,1,1],"patch_norm_eps":1e-6,"sr_norm_eps":1e-6,"num_classes":3})",
       "PvtForImageClassification", "pvt"},
      {"pvt_v2",
       R"({"img_size":[32,48],"dims":[8,12,16],"depths":[1,1,2],"heads":[1,3,2],"mlp_ratios":[2,1,2],)"
       R"("sr_ratios":[4,2,1],"patch_kernels":[5,3,3],"patch_strides":[4,2,2],"linear":true,)"
       R"("patch_norm_eps":1e-6,"sr_norm_eps":1e-6,"num_classes":0})",
       "PvtV2Model", "pvt_v2"},
      {"cvt",
       R"({"img_size":32,"dims":[6,12],"depths":[1,2],"heads":[1,2],"mlp_ratios":[2.5,1.0],)"
       R"("patch_kernels":[5,3],"patch_strides":[4,2],"patch_pads":[2,0],"qkv_kernel":9,"kv_strides":[2,1],)"
       R"("qkv_bias":"none","cls_token":[false,true],"act":"gelu","drop_path":0.25,"num_classes":4})",
       "CvtForImageClassification", "cvt"},
      {"levit",
       R"({"img_size":32,"dims":[16,24,32],"depths":[1,3,2],"heads":[2,3,4],"key_dim":8,"num_classes":3})",
       "LevitForImageClassificationWithTeacher", "levit"},
      {"levit",
       R"({"img_size":48,"dims":[8,12,16],"depths":[1,1,1],"heads":[2,3,2],"key_dim":4,"pool":"mean",)"
       R"("attn_ratio":1,"mlp_ratio":3,"num_classes":0})",
       "LevitModel", "levit"},
      {"beit",
       R"({"img_size":16,"patch_size":4,"dim":12,"depth":2,"heads":3,"bias_table":"shared_with_cls",)"
       R"("pos_embed":"learned","pool":"mean_patches","norm_eps":1e-5,"num_classes":0})",
       "BeitModel", "beit"},
      {"beit",
       R"({"img_size":16,"patch_size":4,"dim":12,"depth":2,"heads":3,"bias_table":"none",)"
       R"("pos_embed":"learned","pool":"cls","layer_scale":false,"num_classes":2})",
       "BeitForImageClassification", "beit"},
      {"vitdet",
       R"({"img_size":[32,48],"pretrain_size":24,"patch_size":8,"dim":12,"depth":3,"heads":3,"window":2,)"
       R"("window_blocks":[0,2],"residual_blocks":[1],"pyramid_chans":0,"qkv_bias":"none"})",
       "VitDetModel", "vitdet"},
      {"nat",
       R"({"img_size":32,"dim":8,"depths":[2,1],"heads":[2,4],"kernel":3,"mlp_ratio":1.5,"num_classes":3})",
       "DinatForImageClassification", "dinat"},
      {"nat",
       R"({"img_size":32,"dim":8,"depths":[2,1],"heads":[2,4],"kernel":3,"dilations":[1,3,2],)"
       R"("qkv_bias":"none","num_classes":0})",
       "DinatModel", "dinat"},
      {"t5_encoder",
       R"({"vocab_size":40,"dim":12,"depth":2,"heads":2,"head_dim":5,"ffn_dim":20,"num_buckets":16,)"
       R"("max_distance":20,"ffn":"gated_silu"})",
       "T5EncoderModel", "t5"},
      {"deberta_v2",
       R"({"vocab_size":40,"dim":12,"heads":2,"depth":2,"ffn_dim":20,"position_buckets":8,)"
       R"("max_relative_positions":16,"conv_kernel_size":3,"conv_act":"gelu","type_vocab_size":2})",
       "DebertaV2Model", "deberta-v2"},
      {"deberta_v2",
       R"({"vocab_size":40,"dim":12,"heads":2,"depth":2,"ffn_dim":20,"position_buckets":0,)"
       R"("max_relative_positions":10,"pos_att_type":["p2c"],"share_att_key":false,"norm_rel_ebd":"none",)"
       R"("position_biased_input":true,"max_position_embeddings":24,"embedding_size":8})",
       "DebertaV2Model", "deberta-v2"},
      {"wav2vec2_conformer",
       R"({"dim":16,"heads":2,"depth":2,"ffn_dim":24,"conv_kernel":5,"position":"rotary_hidden",)"
       R"("temperature":500,"act":"gelu","dropout":0.25})",
       "Wav2Vec2ConformerModel", "wav2vec2-conformer"},
  };
  for (const Own& own : all) {
    SCOPED_TRACE(std::string(own.family) + " " + own.config);
    const fs::path input = work_ / "own.safetensors", output = work_ / "own";
    write_own(input, own.family, own.config);
    ConvertOptions options;
    options.to = "transformers";
    const Converted done = convert_model(input.string(), output.string(), options);
    EXPECT_EQ(done.architecture, own.architecture);
    const Json keys = read(output / "config.json");
    EXPECT_EQ(keys["architectures"], Json({own.architecture}));
    EXPECT_EQ(keys["model_type"], own.model_type);
    EXPECT_EQ(fs::exists(output / "preprocessor_config.json"), done.source.model->sees());
    const LoadedModel before = load_model(input.string(), {.mode = WeightMode::train}),
                      after = load_model(output.string(), {.mode = WeightMode::train});
    const auto a = numbers_of(before), b = numbers_of(after);
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) {
      ASSERT_TRUE(b.count(name) > 0 && b.at(name).shape() == tensor.shape()) << name;
      EXPECT_TRUE(std::equal(tensor.data(), tensor.data() + tensor.numel(), b.at(name).data())) << name;
    }
    // Of rules and rates that change no answer for pictures of the model's size, and sizes that it needs not.
    std::set<std::string> beside = {"pos_resize", "bias_resize", "mlp_ratio",        "mlp_hidden",
                                    "drop_path",  "img_size",    "layer_scale_init", "num_classes"};
    if (before.model->num_classes() == 0) beside.insert("pool");
    const Json was = Json::parse(before.model->config()), is = Json::parse(after.model->config());
    for (const auto& [key, value] : was.items())
      if (beside.count(key) == 0) {
        EXPECT_EQ(is.value(key, Json("absent")), value) << key;
      }
    EXPECT_EQ(after.model->num_classes(), before.model->num_classes());
    const Shape shape =
        before.model->sees()
            ? Shape({1, 3, was["img_size"][0].get<std::int64_t>(), was["img_size"][1].get<std::int64_t>()})
            : Shape();
    expect_same_answer(input.string(), output.string(), shape);
    fs::remove_all(output);
  }
}

TEST_F(Convert, WhatIsNeverUsedIsZero) {
  const fs::path input = work_ / "own.safetensors", output = work_ / "out";
  write_own(input, "dinov2",
            R"({"img_size":16,"patch_size":4,"dim":48,"depth":1,"heads":3,"registers":2,)"
            R"("pos_resize":"bicubic_antialias","num_classes":0})");
  ConvertOptions options;
  options.to = "transformers";
  convert_model(input.string(), output.string(), options);
  const auto file = open_tensor_file((output / "model.safetensors").string());
  const Tensor token = file->read("embeddings.mask_token");
  for (std::int64_t i = 0; i < token.numel(); ++i) EXPECT_EQ(token[i], 0.0f);
}

TEST_F(Convert, ConstantsOfItsClassesAreWritten) {
  const fs::path input = work_ / "own.safetensors";
  ConvertOptions options;
  options.to = "transformers";
  const auto keys_of = [&](const char* family, const char* config) {
    write_own(input, family, config);
    options.force = true;
    convert_model(input.string(), (work_ / "out").string(), options);
    return read(work_ / "out" / "config.json");
  };
  const Json levit = keys_of(
      "levit",
      R"({"img_size":32,"dims":[16,24,32],"depths":[1,3,2],"heads":[2,3,4],"key_dim":8,"num_classes":3})");
  EXPECT_EQ(levit["key_dim"], Json({8, 8, 8}));
  EXPECT_EQ(levit["attention_ratio"], Json({2, 2, 2}));
  EXPECT_EQ(levit["mlp_ratio"], Json({2, 2, 2}));
  EXPECT_EQ(levit["patch_size"], 16);
  EXPECT_EQ(levit["stride"], 2);
  EXPECT_EQ(levit["id2label"].size(), 3u);
  const Json cvt = keys_of("cvt", R"({"img_size":32,"dims":[6,12],"depths":[1,2],"heads":[1,2],)"
                                  R"("mlp_ratios":[2,2],"patch_kernels":[5,3],"patch_strides":[4,2],)"
                                  R"("patch_pads":[2,1],"kv_strides":[2,2],"cls_token":[false,true],)"
                                  R"("act":"gelu","drop_path":0.25})");
  EXPECT_EQ(cvt["drop_path_rate"], Json({0.0, 0.25}));
  EXPECT_EQ(cvt["kernel_qkv"], Json({3, 3}));
  EXPECT_EQ(cvt["padding_q"], Json({1, 1}));
  EXPECT_EQ(cvt["stride_q"], Json({1, 1}));
  EXPECT_EQ(cvt["qkv_bias"], Json({true, true}));
  const Json nat = keys_of("nat", R"({"img_size":32,"dim":8,"depths":[2,1],"heads":[2,4],"kernel":3})");
  EXPECT_EQ(nat["dilations"], Json({{1, 1}, {1}}));
  EXPECT_EQ(nat["hidden_size"], 16);
  EXPECT_EQ(nat["patch_size"], 4);
  const Json beit = keys_of("beit", R"({"img_size":16,"patch_size":4,"dim":12,"depth":1,"heads":3,)"
                                    R"("bias_table":"per_block_with_cls","layer_scale":false})");
  EXPECT_EQ(beit["use_relative_position_bias"], true);
  EXPECT_EQ(beit["use_shared_relative_position_bias"], false);
  EXPECT_EQ(beit["layer_scale_init_value"], 0.0);
}

TEST_F(Convert, RefusesOfOurOwnWhatTransformersCannotBeTold) {
  struct Refused {
    const char *family, *config, *field;
  };
  const Refused all[] = {
      {"pvt", R"({"img_size":32,"dims":[8,8,8,8],"depths":[1,1,1,1],"heads":[1,1,1,1],"num_classes":2})",
       "patch_norm_eps 1e-05 with norm_eps 1e-06"},
      {"pvt",
       R"({"img_size":32,"dims":[8,8,8,8],"depths":[1,1,1,1],"heads":[1,1,1,1],"num_classes":2,)"
       R"("mlp_ratios":[2,2,1.5,2],"patch_norm_eps":1e-6,"sr_norm_eps":1e-6})",
       "mlp_ratios [2.0,2.0,1.5,2.0]"},
      {"pvt",
       R"({"img_size":[32,64],"dims":[8,8,8,8],"depths":[1,1,1,1],"heads":[1,1,1,1],"num_classes":2,)"
       R"("patch_norm_eps":1e-6,"sr_norm_eps":1e-6})",
       "img_size [32,64]"},
      {"pvt",
       R"({"img_size":32,"dims":[8,8,8,8],"depths":[1,1,1,1],"heads":[1,1,1,1],"num_classes":0,)"
       R"("output":"maps","patch_norm_eps":1e-6,"sr_norm_eps":1e-6})",
       "output \"maps\""},
      {"pvt_v2",
       R"({"img_size":32,"dims":[8,8,8,8],"depths":[1,1,1,1],"heads":[1,1,1,1],"linear":true,"linear_pool":5,)"
       R"("patch_norm_eps":1e-6,"sr_norm_eps":1e-6})",
       "linear_pool 5"},
      {"cvt", R"({"dims":[6,8,12],"depths":[1,2,3],"heads":[1,2,3]})", "act \"quick_gelu\""},
      {"cvt", R"({"dims":[6,8,12],"depths":[1,2,3],"heads":[1,2,3],"act":"gelu","projection":"avg"})",
       "projection avg"},
      {"cvt", R"({"dims":[6,8,12],"depths":[1,1,3],"heads":[1,2,3],"act":"gelu"})", "depths [1,1,3]"},
      {"cvt", R"({"dims":[6,8,12],"depths":[1,2,3],"heads":[1,2,3],"act":"gelu","num_classes":0})",
       "last_norm true"},
      {"cvt",
       R"({"dims":[6,8,12],"depths":[1,2,3],"heads":[1,2,3],"act":"gelu","cls_token":[true,false,true]})",
       "cls_token true of stage 0"},
      {"cvt",
       R"({"dims":[6,8,12],"depths":[1,2,3],"heads":[1,2,3],"act":"gelu","cls_token":[false,false,false]})",
       "cls_token false of the last stage"},
      {"levit", R"({"dims":[16,24],"depths":[1,1],"heads":[2,3],"key_dim":8})", "three stages"},
      {"levit", R"({"dims":[16,24,32],"depths":[1,1,1],"heads":[2,3,4],"key_dim":8,"act":"silu"})",
       "act \"silu\""},
      {"levit", R"({"dims":[16,24,32],"depths":[1,1,1],"heads":[2,3,4],"key_dim":8,"use_conv":true})",
       "use_conv true"},
      {"levit", R"({"dims":[16,24,32],"depths":[1,1,1],"heads":[2,3,4],"key_dim":8,"down_heads":[2,2]})",
       "down_heads [2,2]"},
      {"levit", R"({"dims":[16,24,32],"depths":[1,1,1],"heads":[2,3,4],"key_dim":8,"stem_chans":[4,8,16]})",
       "stem_chans [4,8,16]"},
      {"levit", R"({"dims":[16,24,32],"depths":[1,1,1],"heads":[2,3,4],"key_dim":8,"mlp_ratio":1.5})",
       "mlp_ratio 1.5"},
      {"beit", R"({"img_size":16,"patch_size":4,"dim":12,"depth":1,"heads":3,"qkv_bias":"none"})",
       "qkv_bias"},
      {"beit", R"({"img_size":[8,16],"patch_size":4,"dim":12,"depth":1,"heads":3})",
       "bias_resize geometric_cubic"},
      {"beit",
       R"({"img_size":[8,16],"patch_size":4,"dim":12,"depth":1,"heads":3,"bias_table":"none",)"
       R"("pos_embed":"learned"})",
       "img_size [8,16] with pos_embed"},
      {"vitdet",
       R"({"img_size":32,"pretrain_size":32,"patch_size":8,"dim":12,"depth":2,"heads":3,"window":2,)"
       R"("window_blocks":[0],"pyramid_chans":8})",
       "pyramid_chans 8"},
      {"vitdet",
       R"({"img_size":32,"pretrain_size":32,"patch_size":8,"dim":12,"depth":2,"heads":3,"window":[2,3],)"
       R"("window_blocks":[0],"pyramid_chans":0})",
       "window [2,3]"},
      {"vitdet",
       R"({"img_size":32,"pretrain_size":[16,64],"patch_size":8,"dim":12,"depth":2,"heads":3,"window":2,)"
       R"("window_blocks":[0],"pyramid_chans":0})",
       "pretrain_size [16,64]"},
      {"nat", R"({"dim":8,"depths":[2,1],"heads":[2,4],"kernel":3,"layer_scale":true})", "layer_scale true"},
      {"wav2vec2_conformer",
       R"({"dim":16,"heads":2,"depth":1,"ffn_dim":24,"conv_kernel":5,"temperature":99.5})",
       "temperature 99.5"},
  };
  for (const Refused& one : all) {
    SCOPED_TRACE(std::string(one.family) + " " + one.config);
    const fs::path input = work_ / "own.safetensors";
    write_own(input, one.family, one.config);
    ConvertOptions options;
    options.to = "transformers";
    try {
      convert_model(input.string(), (work_ / "refused").string(), options);
      ADD_FAILURE() << "written";
      fs::remove_all(work_ / "refused");
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(" cannot be told "), std::string::npos) << text;
      EXPECT_NE(text.find(one.field), std::string::npos) << text;
    }
    EXPECT_FALSE(fs::exists(work_ / "refused"));
  }
}

// Families without a target of their own: timm's name of a registered variant says what its constructor is
// told, and classes, channels and pictures are said beside it.
TEST_F(Convert, RegisteredVariantsByTimmsName) {
  RandomSource numbers(7);
  const auto model =
      make_model("pvt_v2", merge_config(find_model("pvt_v2_b0").config, R"({"num_classes":5})"),
                 Weights(numbers, WeightMode::train));
  const std::string input = (work_ / "tuned.safetensors").string(), output = (work_ / "timm").string();
  save_model(input, *model, {"pvt_v2_b0", {}, {"a", "b", "c", "d", "e"}, {}});
  ConvertOptions options;
  options.to = "timm";
  EXPECT_EQ(convert_model(input, output, options).architecture, "pvt_v2_b0");
  const Json config = read(fs::path(output) / "config.json");
  EXPECT_EQ(config["architecture"], "pvt_v2_b0");
  EXPECT_EQ(config["model_args"], Json({{"num_classes", 5}}));
  EXPECT_EQ(config["num_features"], 256);
  EXPECT_EQ(config["label_names"], Json({"a", "b", "c", "d", "e"}));
  EXPECT_EQ(config["pretrained_cfg"]["first_conv"], "patch_embed.proj");
  EXPECT_EQ(config["pretrained_cfg"]["classifier"], "head");
  const auto file = open_tensor_file((fs::path(output) / "model.safetensors").string());
  EXPECT_NE(file->find("stages.0.blocks.0.attn.sr.weight"), nullptr);
  expect_same_answer(input, output);
}

TEST_F(Convert, WhatNoNameOfTimmsSaysIsRefused) {
  RandomSource numbers(7);
  const auto model =
      make_model("pvt_v2", merge_config(find_model("pvt_v2_b0").config, R"({"norm_eps":0.001})"),
                 Weights(numbers, WeightMode::train));
  const std::string input = (work_ / "odd.safetensors").string();
  save_model(input, *model, {"pvt_v2_b0", {}, {}, {}});
  ConvertOptions options;
  options.to = "timm";
  try {
    convert_model(input, (work_ / "timm").string(), options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("pvt_v2_b0 differs in norm_eps"), std::string::npos)
        << error.what();
  }
}

}  // namespace convert_test
}  // namespace locant
