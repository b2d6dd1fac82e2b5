// The official numbers: tests/verify/oracle_test.cc. Here: padding, and what the ports take.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "core/error.h"
#include "io/tensor_file.h"
#include "models/family.h"
#include "models/load.h"
#include "models/registry.h"
#include "ops/rearrange.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace detr_irpe_test {

using testing::random_tensor;

std::string tiny(const char* more = "") {
  return std::string(R"({"dim":16,"heads":2,"encoder_depth":2,"decoder_depth":2,"ffn_dim":12)") + more + "}";
}

std::unique_ptr<Model> model_of(const std::string& config) {
  RandomSource source(4);
  return make_model("detr_irpe", config, Weights(source, WeightMode::inference));
}

Values inputs_of(const Tensor& src, const Tensor& positions) {
  return {{"src", Var(src)}, {"pos_embed", Var(positions)}, {"query_embed", Var(random_tensor({3, 16}, 7))}};
}

Tensor part(const Tensor& x, int axis, std::int64_t begin, std::int64_t end) {
  return slice_axis({}, Var(x), axis, begin, end).value();
}

void expect_same(const Tensor& got, const Tensor& want, const char* what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  testing::expect_close(got, testing::to_double(want), 2e-5, what);
}

TEST(DetrIrpe, ParameterCountsOfTheSpec) {
  for (const auto& [name, count] : {std::pair{"detr_r50_irpe_product_49_k", 17'372'864},
                                    {"rpe-2.0-product-ctx-1-k", 17'379'008},
                                    {"detr_r50", 17'363'456}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// Tables start Xavier-uniform here: positions act from the first.
TEST(DetrIrpe, APaddedPictureAnswersAsItDoesAlone) {
  for (const char* more : {"", R"(,"pre_norm":true,"rpe_on":"qkv","shared_head":false)",
                           R"(,"mode":"bias","method":"cross")", R"(,"rpe_on":"")"}) {
    SCOPED_TRACE(more);
    const auto model = model_of(tiny(more));
    const Tensor src = random_tensor({2, 16, 5, 4}, 1), positions = random_tensor({2, 16, 5, 4}, 2);
    Tensor sizes({2, 2});
    for (const auto& [at, side] : {std::pair{0, 5}, {1, 4}, {2, 3}, {3, 2}})
      sizes[at] = static_cast<float>(side);
    Values both = inputs_of(src, positions);
    both.set("valid_hw", Var(sizes));
    const Values out = model->run({}, both);
    const auto alone = [](const Tensor& x) { return part(part(part(x, 0, 1, 2), 2, 0, 3), 3, 0, 2); };
    const Values want = model->run({}, inputs_of(alone(src), alone(positions)));
    expect_same(part(out.at("output").value(), 1, 1, 2), want.at("output").value(), "output");
    expect_same(alone(out.at("memory").value()), want.at("memory").value(), "memory");

    Tensor mask = Tensor::full({2, 5, 4}, 1.0f);
    for (std::int64_t place = 20; place < 40; ++place)
      if (place - 20 >= 12 || place % 4 >= 2) mask[place] = 0.0f;
    Values masked = inputs_of(src, positions);
    masked.set("mask", Var(mask));
    expect_same(model->run({}, masked).at("output").value(), out.at("output").value(), "mask");
  }
}

TEST(DetrIrpe, GivesTheLastLayerAlone) {
  const Values in = inputs_of(random_tensor({2, 16, 2, 3}, 1), random_tensor({2, 16, 2, 3}, 2));
  const Tensor all = model_of(tiny())->run({}, in).front().value();
  EXPECT_EQ(all.shape(), (Shape{2, 2, 3, 16}));
  expect_same(model_of(tiny(R"(,"return_intermediate":false)"))->run({}, in).front().value(),
              part(all, 0, 1, 2), "last");
}

// Dropout of probabilities beside a mask, of hidden channels and of branches.
TEST(DetrIrpe, TrainsWithDropout) {
  RandomSource source(4);
  const auto model =
      make_model("detr_irpe", tiny(R"(,"dropout":0.1,"rpe_on":"qkv")"), Weights(source, WeightMode::train));
  Values in = inputs_of(random_tensor({2, 16, 3, 4}, 1), random_tensor({2, 16, 3, 4}, 2));
  in.set("valid_hw", Var(Tensor::full({2, 2}, 3.0f)));
  const auto run = [&](bool train) {
    Tape tape;
    Rng rng(5);
    const Var out = model->run({&tape, train, &rng}, in).front();
    tape.backward({{out, random_tensor(out.shape(), 3)}});
    return out.value();
  };
  const Tensor trained = run(true);
  for (const Parameter& p : model->parameters()) {
    ASSERT_TRUE(p.value.grad().defined()) << p.name;
    for (const float x : p.value.grad().values()) ASSERT_TRUE(std::isfinite(x)) << p.name;
  }
  EXPECT_GT(testing::worst_error(trained.values(), testing::to_double(run(false))), 1e-2);
}

TEST(DetrIrpe, RefusesInputsThatDoNotFit) {
  const auto model = model_of(tiny());
  const auto run = [&](const char* name, Tensor value) {
    Values in = inputs_of(Tensor::zeros({2, 16, 2, 3}), Tensor::zeros({2, 16, 2, 3}));
    in.set(name, Var(std::move(value)));
    model->run({}, in);
  };
  EXPECT_NO_THROW(run("height", Tensor::full({1}, 2.0f)));
  EXPECT_THROW(run("height", Tensor::full({1}, 3.0f)), Error);
  EXPECT_THROW(run("num_queries", Tensor::full({1}, 5.0f)), Error);
  EXPECT_THROW(run("pos_embed", Tensor::zeros({1, 16, 2, 3})), Error);
  EXPECT_THROW(run("src", Tensor::zeros({2, 8, 2, 3})), Error);
  EXPECT_THROW(run("query_embed", Tensor::zeros({3, 8})), Error);
  EXPECT_THROW(run("mask", Tensor::full({2, 3, 2}, 1.0f)), Error);
  EXPECT_THROW(run("mask", Tensor::zeros({2, 2, 3})), Error);
  EXPECT_THROW(run("valid_hw", Tensor::full({2, 2}, 3.0f)), Error);
  EXPECT_THROW(run("valid_hw", Tensor::zeros({2, 2})), Error);
  EXPECT_THROW(run("valid_hw", Tensor::full({2}, 1.0f)), Error);
  EXPECT_THROW(run("valid_hw", Tensor::full({2, 2}, std::numeric_limits<float>::quiet_NaN())), Error);
  for (const char* wrong : {R"(,"heads":3)", R"(,"act":"gelu")", R"(,"skip":1)", R"(,"rpe_on":"w")"})
    EXPECT_THROW(model_of(tiny(wrong)), Error) << wrong;
}

std::map<std::string, Shape> shapes_of(const std::string& config) {
  std::map<std::string, Shape> out;
  for (const Parameter& p : model_parameters("detr_irpe", config)) out.emplace(p.name, p.shape);
  return out;
}

TEST(DetrIrpe, ShapesTellNormsAndTables) {
  const Family& family = find_family("detr_irpe");
  const auto told = [&](const std::string& config, const char* by = "") {
    return family.from_shapes(family, NamedShapes("detr_irpe", shapes_of(config)), by);
  };
  for (const char* more : {"", R"(,"pre_norm":true)", R"(,"rpe_on":"qv","method":"cross","ratio":2)"})
    EXPECT_EQ(shapes_of(told(tiny(more))), shapes_of(tiny(more))) << more;
  EXPECT_NE(told(tiny()).find(R"("heads":2)"), std::string::npos);
  // torch.nn.Transformer has these names, too, and both norms.
  const char* norms = R"(,"rpe_on":"","pre_norm":true)";
  EXPECT_THROW(told(tiny(norms)), Error);
  EXPECT_NO_THROW(told(tiny(norms), R"({"pre_norm":true})"));
}

// A whole detector's file: {"model": ...} with a backbone and heads around the transformer.
TEST(DetrIrpe, IsTakenOutOfADetector) {
  const auto folder = std::filesystem::temp_directory_path() / ("locant_detr_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  for (const char* more : {"", R"(,"rpe_on":"")"}) {
    SCOPED_TRACE(more);
    RandomSource source(6);
    const auto built = make_model("detr_irpe", tiny(more), Weights(source, WeightMode::train));
    std::vector<std::pair<std::string, Tensor>> tensors = {
        {"backbone.0.body.conv1.weight", Tensor::zeros({4, 3, 7, 7})},
        {"input_proj.weight", Tensor::zeros({16, 8, 1, 1})},
        {"query_embed.weight", Tensor::zeros({3, 16})},
        {"class_embed.weight", Tensor::zeros({5, 16})},
        {"bbox_embed.layers.0.weight", Tensor::zeros({16, 16})}};
    for (const Parameter& p : built->parameters())
      tensors.emplace_back("transformer." + p.name, p.value.value());
    const std::string path = (folder / "detector.safetensors").string();
    write_safetensors(path, tensors, {});
    const LoadedModel loaded = load_model(path);
    EXPECT_EQ(loaded.model->family().name, std::string("detr_irpe"));
    EXPECT_EQ(loaded.key, "transformer.");
    // Heads of so narrow a plain DETR are assumed, 32 channels each.
    if (*more != '\0') continue;
    const Values in = inputs_of(random_tensor({1, 16, 2, 3}, 1), random_tensor({1, 16, 2, 3}, 2));
    expect_same(loaded.model->run({}, in).front().value(), built->run({}, in).front().value(), "output");
  }
  std::filesystem::remove_all(folder);
}

}  // namespace detr_irpe_test
}  // namespace locant
