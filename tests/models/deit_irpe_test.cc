// The official numbers: tests/verify/oracle_test.cc and tests/data/hub/irpe_release.
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace deit_irpe_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"("img_size":16,"patch_size":4,"in_chans":3,"dim":8,"heads":2,"depth":2,"num_classes":3)";

std::string tiny(const std::string& more = "") {
  return std::string("{") + kTiny + (more.empty() ? "" : ",") + more + "}";
}

std::map<std::string, Shape> shapes_of(const std::string& config) {
  std::map<std::string, Shape> out;
  for (const Parameter& p : model_parameters("deit_irpe", config)) out.emplace(p.name, p.shape);
  return out;
}

TEST(DeitIrpe, ParameterCountsOfTheRelease) {
  for (const auto& [name, count] : {std::pair{"tiny_patch16_224_ctx_product_50_shared_k", 5'755'816},
                                    {"small_patch16_224_ctx_product_50_shared_k", 22'089'064},
                                    {"small_patch16_224_ctx_product_50_shared_qk", 22'127'464},
                                    {"small_patch16_224_ctx_product_50_shared_qkv", 22'165'864},
                                    {"base_patch16_224_ctx_product_50_shared_k", 86'606'056},
                                    {"base_patch16_224_ctx_product_50_shared_qkv", 86'682'856},
                                    {"small_patch16_224_ctx_euc_20_shared_k", 22'113'640},
                                    {"small_patch16_224_ctx_quant_51_shared_k", 22'153'576},
                                    {"small_patch16_224_ctx_cross_56_shared_k", 22'176'616}}) {
    const ModelEntry& entry = find_model(std::string("deit_") + name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// Tables start at zero: until they have learned, it is DeiT, at the size that it was made for and at others.
TEST(DeitIrpe, StartsAsDeit) {
  RandomSource source(3);
  const Weights w(source, WeightMode::inference);
  const auto deit = make_model("deit", tiny(R"("pos_resize":"bicubic")"), w);
  const auto irpe = make_model("deit_irpe", tiny(R"("rpe_on":"qkv","shared_head":false)"), w);
  for (const Shape& shape : {Shape{2, 3, 16, 16}, Shape{1, 3, 24, 12}}) {
    const Var images(random_tensor(shape, 5));
    testing::expect_close(irpe->forward({}, images).value(),
                          testing::to_double(deit->forward({}, images).value()), 1e-5, "logits");
  }
}

TEST(DeitIrpe, FeaturesAreThePatches) {
  RandomSource source(2);
  const auto model = make_model("deit_irpe", tiny(), Weights(source, WeightMode::inference));
  const Features features = model->features({}, Var(random_tensor({2, 3, 24, 12}, 1)));
  EXPECT_EQ(features.last().grid.rows, 6);
  EXPECT_EQ(features.last().grid.columns, 3);
  EXPECT_EQ(features.last().stride, 4);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{2, 18, 8}));
  EXPECT_EQ(features.cls.shape(), (Shape{2, 8}));
}

// Every method, mode, side and sharing is told by its tables; what they leave open has a usual value.
TEST(DeitIrpe, TablesTellTheEncoding) {
  const Family& family = find_family("deit_irpe");
  for (const char* method : {"euc", "quant", "cross", "product"})
    for (const char* mode : {"bias", "contextual"})
      for (const char* on : {"q", "k", "qk", "v", "qkv"})
        for (const char* shared : {"true", "false"}) {
          if (std::string(mode) == "bias" && std::string(on).back() == 'v') continue;
          const std::string config =
              tiny(fmt::format(R"("method":"{}","mode":"{}","rpe_on":"{}","shared_head":{},"ratio":3.0)",
                               method, mode, on, shared));
          SCOPED_TRACE(config);
          const auto shapes = shapes_of(config);
          const std::string told =
              family.from_shapes(family, NamedShapes("deit_irpe", shapes), R"({"img_size":16,"heads":2})");
          EXPECT_EQ(shapes_of(told), shapes);
          EXPECT_NE(told.find(fmt::format(R"("rpe_on":"{}")", on)), std::string::npos) << told;
        }
  // 81 buckets: product of 9 x 9, or 81 distances.
  const auto shapes = shapes_of(tiny(R"("method":"euc","ratio":20)"));
  const auto method_of = [&](const char* told) {
    return family.from_shapes(family, NamedShapes("deit_irpe", shapes), told);
  };
  EXPECT_NE(method_of("").find(R"("method":"product")"), std::string::npos);
  EXPECT_NE(method_of(R"({"method":"euc"})").find(R"("method":"euc","mode":"contextual","ratio":20.0)"),
            std::string::npos);
}

TEST(DeitIrpe, RefusesWhatCannotBe) {
  const auto build = [](const std::string& more) { shapes_of(tiny(more)); };
  EXPECT_NO_THROW(build(R"("ratio":2,"alpha":2,"beta":4,"gamma":16,"skip":1,"num_buckets":82)"));
  for (const char* wrong :
       {R"("ratio":2,"beta":5)", R"("ratio":1.9,"num_buckets":82)", R"("skip":0)", R"("rpe_on":"")",
        R"("rpe_on":"kx")", R"("mode":"bias","rpe_on":"kv")", R"("method":"rank")", R"("ratio":0)",
        R"("ratio":1e9)", R"("pool":"mean")", R"("heads":3)", R"("img_size":18)"})
    EXPECT_THROW(build(wrong), Error) << wrong;
  // A plain DeiT is none.
  std::map<std::string, Shape> plain = shapes_of(tiny());
  std::erase_if(plain, [](const auto& item) { return item.first.find("rpe") != std::string::npos; });
  const Family& family = find_family("deit_irpe");
  EXPECT_THROW(family.from_shapes(family, NamedShapes("deit_irpe", plain), ""), Error);
}

}  // namespace deit_irpe_test
}  // namespace locant
