#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace dinov2_test {

using testing::random_tensor;

/// Tensor number s of a list is w_k = 0.5 sin(1.3 k + 0.1 s); norms are not in the list.
class SineSource final : public WeightSource {
 public:
  explicit SineSource(std::vector<std::string> order) : order_(std::move(order)) {}
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override {
    Tensor out = Tensor::full(shape, init.kind == Init::Kind::constant ? init.value : 0.0f);
    const auto found = std::find(order_.begin(), order_.end(), name);
    if (found == order_.end()) return out;
    const auto s = static_cast<double>(found - order_.begin());
    for (std::int64_t k = 0; k < out.numel(); ++k)
      out[k] = static_cast<float>(0.5 * std::sin(1.3 * static_cast<double>(k) + 0.1 * s));
    return out;
  }

 private:
  std::vector<std::string> order_;
};

Var cosine_images() {
  Tensor x({1, 3, 4, 8});
  for (std::int64_t k = 0; k < x.numel(); ++k)
    x[k] = static_cast<float>(std::cos(0.37 * static_cast<double>(k)));
  return Var(x);
}

constexpr const char* kTiny = R"({"img_size":6,"patch_size":2,"dim":4,"depth":1,"heads":2,"pool":"none")";

void expect_rows(const Tensor& got, const std::vector<std::pair<int, std::vector<double>>>& want) {
  for (const auto& [row, values] : want)
    for (std::size_t c = 0; c < values.size(); ++c)
      EXPECT_NEAR(got[row * static_cast<std::int64_t>(values.size()) + static_cast<std::int64_t>(c)],
                  values[c], 1e-5)
          << "row " << row << ", channel " << c;
}

TEST(Dinov2, GoldenWithSwiGluAndTheOffsetRule) {
  SineSource source({"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias",
                     "blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias", "blocks.0.attn.proj.weight",
                     "blocks.0.attn.proj.bias", "blocks.0.ls1.gamma", "blocks.0.mlp.w12.weight",
                     "blocks.0.mlp.w12.bias", "blocks.0.mlp.w3.weight", "blocks.0.mlp.w3.bias",
                     "blocks.0.ls2.gamma"});
  const std::string config =
      std::string(kTiny) + R"(,"mlp":"swiglu_packed","mlp_hidden":16,"pos_resize":"bicubic_offset"})";
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const auto model = make_model("dinov2", config, Weights(source, mode));
    const Var x = model->forward({}, cosine_images());
    ASSERT_EQ(x.shape(), (Shape{1, 9, 4}));
    expect_rows(x.value(), {{0, {-0.752782, 1.603893, 0.073765, -0.924876}},
                            {1, {-0.826386, 1.454845, -1.022403, 0.393944}},
                            {2, {-0.985908, 1.097475, -1.009017, 0.897451}},
                            {3, {-1.002154, 1.094997, -0.993088, 0.900245}},
                            {4, {-1.000029, 1.240124, -0.966572, 0.726478}},
                            {5, {1.306780, -0.396739, 0.472561, -1.382602}},
                            {6, {-0.795517, 1.124874, -1.176502, 0.847144}},
                            {7, {-0.906274, 1.124074, -1.081373, 0.863572}},
                            {8, {-0.953582, 1.228212, -1.016083, 0.741452}}});
  }
}

TEST(Dinov2, GoldenWithRegistersAndTheAntialiasRule) {
  SineSource source({"cls_token", "pos_embed", "register_tokens", "patch_embed.proj.weight",
                     "patch_embed.proj.bias", "blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias",
                     "blocks.0.attn.proj.weight", "blocks.0.attn.proj.bias", "blocks.0.ls1.gamma",
                     "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc2.weight",
                     "blocks.0.mlp.fc2.bias", "blocks.0.ls2.gamma"});
  const std::string config = std::string(kTiny) + R"(,"registers":2,"pos_resize":"bicubic_antialias"})";
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const auto model = make_model("dinov2", config, Weights(source, mode));
    const Var x = model->forward({}, cosine_images());
    ASSERT_EQ(x.shape(), (Shape{1, 11, 4}));
    expect_rows(x.value(), {{0, {0.417891, 0.989121, 0.260123, -1.667134}},
                            {1, {0.939576, 0.641485, 0.062642, -1.643703}},
                            {2, {-1.586289, 0.890306, 0.821710, -0.125728}},
                            {3, {1.450193, 0.190799, -0.313496, -1.327497}},
                            {4, {-0.724618, 1.266551, -1.199387, 0.657454}},
                            {10, {-0.841159, 1.311311, -1.090176, 0.620024}}});
  }
}

TEST(Dinov2, ParameterCountsAreThePublishedOnes) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"dinov2_vits14", 22056576},     {"dinov2_vits14_reg", 22058112},   {"dinov2_vitb14", 86580480},
      {"dinov2_vitb14_reg", 86583552}, {"dinov2_vitl14", 304368640},      {"dinov2_vitl14_reg", 304372736},
      {"dinov2_vitg14", 1136480768},   {"dinov2_vitg14_reg", 1136486912},
  };
  for (const auto& [name, count] : cases) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& parameter : model_parameters(entry.family, entry.config))
      numbers += parameter.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

TEST(Dinov2, FeaturesLeaveTheRegistersOut) {
  RandomSource source(1);
  const auto model =
      make_model("dinov2", std::string(kTiny) + R"(,"registers":4})", Weights(source, WeightMode::inference));
  const Features features = model->features({}, Var(random_tensor({2, 3, 8, 6}, 1)));
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 3);
  EXPECT_EQ(features.cls.shape(), (Shape{2, 4}));
  EXPECT_EQ(features.last().tokens.shape(), (Shape{2, 12, 4}));
  ASSERT_EQ(features.attention.shape(), (Shape{2, 2, 12}));
  for (int row = 0; row < 4; ++row) {  // what is missing to one went to cls and registers
    float sum = 0;
    for (int j = 0; j < 12; ++j) sum += features.attention[row * 12 + j];
    EXPECT_GT(sum, 0.0f);
    EXPECT_LT(sum, 1.0f);
  }
}

TEST(Dinov2, EveryParameterButTheMaskTokenGetsAGradient) {
  RandomSource source(1);
  const auto model = make_model("dinov2", std::string(kTiny) + R"(,"registers":1,"drop_path":0.2})",
                                Weights(source, WeightMode::train));
  Tape tape;
  Rng rng(5);
  const Var x = model->forward({&tape, true, &rng, nullptr}, Var(random_tensor({3, 3, 8, 6}, 1)));
  tape.backward({{x, random_tensor(x.shape(), 2)}});
  for (const Parameter& parameter : model->parameters())
    EXPECT_EQ(parameter.value.grad().defined(), parameter.name != "mask_token") << parameter.name;
}

TEST(Dinov2, SidesThatAreNoMultiplesOfThePatchNameTheNearest) {
  RandomSource source(1);
  const auto model = make_model("dinov2", std::string(kTiny) + "}", Weights(source, WeightMode::inference));
  try {
    model->forward({}, Var(Tensor::zeros({1, 3, 7, 5})));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("nearest size is 8 x 6"), std::string::npos) << error.what();
  }
}

TEST(Dinov2, HiddenWidthOfSwiGluIsTwoThirdsRoundedUpToEight) {
  const auto rows_of = [](std::int64_t dim) {
    const std::string config = fmt::format(R"({{"dim":{},"depth":1,"heads":1,"mlp":"swiglu_packed"}})", dim);
    for (const Parameter& parameter : model_parameters("dinov2", config))
      if (parameter.name == "blocks.0.mlp.w12.weight") return parameter.shape[0];
    return std::int64_t{0};
  };
  EXPECT_EQ(rows_of(1536), 2 * 4096);
  EXPECT_EQ(rows_of(80), 2 * 216);
}

TEST(Dinov2, WrongConfigurationsAreErrors) {
  for (const char* more :
       {R"(,"num_classes":10,"head_input":"four_cls_mean")", R"(,"mlp":"moe")", R"(,"act":"relu")",
        R"(,"heads":3)", R"(,"pool":"mean")", R"(,"layer_scale":false)",
        R"(,"registers":2,"prefix_tokens":["cls_token"])", R"(,"drop_path":1.5)"}) {
    EXPECT_THROW(model_parameters("dinov2", std::string(kTiny) + more + "}"), Error) << more;
  }
}

}  // namespace dinov2_test
}  // namespace locant
