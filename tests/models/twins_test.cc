#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace twins_test {

using testing::random_tensor;

constexpr const char* kSizes =
    R"({"img_size":32,"in_chans":2,"num_classes":5,"dims":[8,12,10,16],"depths":[2,1,3,1],"mlp_ratios":[2,1,2,1],)"
    R"("sr_ratios":[4,2,1,1],"heads":[1,3,2,4])";
constexpr const char* kSvt = R"(,"windows":[3,2,0,2])";
constexpr const char* kPairs =
    R"(,"windows":[3,2,2,0],"pattern":"local_global_pairs","head_dim":6,"qkv_bias":"none")";

std::unique_ptr<Model> make(const char* family, const std::string& more, WeightMode mode) {
  RandomSource source(3);
  return make_model(family, kSizes + more + "}", Weights(source, mode));
}

std::map<std::string, Shape> shapes_of(const Model& model) {
  std::map<std::string, Shape> out;
  for (const Parameter& p : model.parameters()) out.emplace(p.name, p.shape);
  return out;
}

TEST(Twins, ParameterCountsArePublished) {
  for (const auto& [name, want] : {std::pair{"twins_pcpvt_small", 24'106'216},
                                   {"twins_pcpvt_base", 43'828'456},
                                   {"twins_pcpvt_large", 60'989'672},
                                   {"twins_svt_small", 24'060'776},
                                   {"twins_svt_base", 56'070'952},
                                   {"twins_svt_large", 99'271'400}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t count = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) count += p.shape.numel();
    EXPECT_EQ(count, want) << name;
  }
}

// Packed products against the layers one by one; 43 x 61 pictures pad windows and leave pixels out.
TEST(Twins, InferenceAndTrainingWeightsGiveTheSame) {
  for (const auto& [family, more] :
       {std::pair{"twins_pcpvt", R"(,"peg_kernel":5)"}, {"twins_svt", kSvt}, {"twins_svt", kPairs}}) {
    const Var images(random_tensor({2, 2, 43, 61}, 1));
    const Var recorded = make(family, more, WeightMode::train)->forward({}, images);
    const auto model = make(family, more, WeightMode::inference);
    const Var packed = model->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 5})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
    const Features f = model->features({}, images);
    ASSERT_EQ(f.levels.size(), 4u);
    EXPECT_EQ(f.levels[0].tokens.shape(), (Shape{2, 10 * 15, 8}));
    EXPECT_EQ(f.last().tokens.shape(), (Shape{2, 1, 16}));
    EXPECT_EQ(f.last().stride, 32);
    EXPECT_EQ(f.cls.shape(), (Shape{2, 16}));
  }
}

// vit-pytorch: d pairs behind a first one; where a stage has no windows, its numbers have gaps.
TEST(Twins, PairsHaveTheirNumbers) {
  const std::map<std::string, Shape> shapes = shapes_of(*make("twins_svt", kPairs, WeightMode::train));
  EXPECT_EQ(shapes.count("blocks.0.5.attn.kv.weight"), 1u);
  EXPECT_EQ(shapes.count("blocks.0.6.attn.kv.weight"), 0u);
  EXPECT_EQ(shapes.at("blocks.0.0.attn.kv.weight"), (Shape{12, 8, 1, 1}));
  EXPECT_EQ(shapes.at("blocks.0.1.attn.kv.weight"), (Shape{12, 8, 4, 4}));
  EXPECT_EQ(shapes.count("blocks.3.0.norm1.weight"), 0u);
  EXPECT_EQ(shapes.count("blocks.3.1.norm1.weight"), 1u);
  EXPECT_EQ(shapes.count("norm.weight"), 0u);
}

// Of both families and of vit-pytorch's form; each refuses the other's names.
TEST(Twins, ShapesTell) {
  for (
      const auto& [family, more, told] :
      {std::tuple{&kTwinsPcpvt, R"(,"peg_kernel":5)", R"({"heads":[1,3,2,4],"img_size":32})"},
       {&kTwinsSvt, kSvt, R"({"heads":[1,3,2,4],"img_size":32,"windows":[3,2,0,2],"sr_ratios":[4,2,1,1]})"},
       {&kTwinsSvt, kPairs,
        R"({"pattern":"local_global_pairs","head_dim":6,"qkv_bias":"none","in_chans":2,"img_size":32,"windows":[3,2,2,0]})"}}) {
    const auto model = make(family->name, more, WeightMode::train);
    const NamedShapes shapes(family->name, shapes_of(*model));
    EXPECT_EQ(family->from_shapes(*family, shapes, told), model->config());
    const Family& other = family == &kTwinsSvt ? kTwinsPcpvt : kTwinsSvt;
    EXPECT_THROW(other.from_shapes(other, NamedShapes(other.name, shapes_of(*model)), told), Error);
  }
}

TEST(Twins, RefusesWhatDoesNotFit) {
  const auto error_of = [](const char* family, const std::string& more) -> std::string {
    try {
      make(family, more, WeightMode::inference);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of("twins_pcpvt", R"(,"peg_kernel":4)").find("peg_kernel 4"), std::string::npos);
  EXPECT_NE(error_of("twins_pcpvt", R"(,"windows":[7,7,7,7])").find("windows"), std::string::npos);
  EXPECT_NE(error_of("twins_svt", R"(,"windows":[7])").find("1"), std::string::npos);
  EXPECT_NE(error_of("twins_svt", R"(,"head_dim":8)").find("head_dim 8"), std::string::npos);
  EXPECT_NE(error_of("twins_svt", R"(,"pattern":"local_global_pairs","head_dim":8)").find("qkv_bias none"),
            std::string::npos);
  EXPECT_NE(error_of("twins_svt", R"(,"norm":"channel")").find("norm"), std::string::npos);
  const auto model = make("twins_svt", kSvt, WeightMode::inference);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 2, 31, 32}))), Error);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 32, 32}))), Error);
}

}  // namespace twins_test
}  // namespace locant
