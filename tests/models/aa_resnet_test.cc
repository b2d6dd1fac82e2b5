#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/models/resnet_reference.h"

namespace locant {
namespace aa_resnet_test {

using testing::random_tensor;
using Json = nlohmann::json;
using Map = testing::ResnetReference::Map;

// Maps of 5 x 7 and 3 x 4; keys wider than values.
constexpr const char* kSmall =
    R"({"img_size":[20,28],"in_chans":2,"num_classes":3,"stem_chans":[6],"stem_kernel":3,"dims":[16,24],)"
    R"("depths":[2,2],"strides":[1,2],"widths":[8,12],"attention_blocks":[[0,1],[1,0],[1,1]],"heads":2,)"
    R"("key_dims":[6,8,4],"value_dims":[4,8,6]})";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  return testing::make_resnet("aa_resnet", kSmall, more, mode);
}

// Equations 1 to 6 of the paper; every head's result as (positions, channels).
Map attend(const testing::ResnetReference& net, const std::string& at, const Map& qkv, std::int64_t heads,
           std::int64_t dk, std::int64_t dv) {
  const std::int64_t D = dk / heads, Dv = dv / heads;
  const std::vector<double>&rel_h = net.tensors.at(at + ".key_rel_h"),
        &rel_w = net.tensors.at(at + ".key_rel_w");
  Map out(dv, qkv.H, qkv.W);
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t r = 0; r < qkv.H; ++r)
      for (std::int64_t c = 0; c < qkv.W; ++c) {
        double total = 0.0;
        std::vector<double> sum(static_cast<std::size_t>(Dv));
        for (std::int64_t row = 0; row < qkv.H; ++row)
          for (std::int64_t column = 0; column < qkv.W; ++column) {
            double score = 0.0;
            for (std::int64_t d = 0; d < D; ++d)
              score += qkv.at(h * D + d, r, c) / std::sqrt(static_cast<double>(D)) *
                       (qkv.at(dk + h * D + d, row, column) +
                        rel_h[static_cast<std::size_t>((row - r + qkv.H - 1) * D + d)] +
                        rel_w[static_cast<std::size_t>((column - c + qkv.W - 1) * D + d)]);
            const double p = std::exp(score);
            total += p;
            for (std::int64_t d = 0; d < Dv; ++d)
              sum[static_cast<std::size_t>(d)] += p * qkv.at(2 * dk + h * Dv + d, row, column);
          }
        for (std::int64_t d = 0; d < Dv; ++d)
          out.at(h * Dv + d, r, c) = sum[static_cast<std::size_t>(d)] / total;
      }
  return out;
}

TEST(AaResnet, IsTheReferencesComposed) {
  const auto model = make_small("{}", WeightMode::train);
  testing::ResnetReference reference(*model);
  reference.depths = {2, 2};
  reference.layer = [](const testing::ResnetReference& net, const std::string& at, const Map& x,
                       std::int64_t stride) {
    const std::int64_t dv = net.size(at + ".attn_out.bias"), dk = (net.size(at + ".qkv_conv.bias") - dv) / 2;
    Map y = attend(net, at, net.conv(at + ".qkv_conv", x, 1), 2, dk, dv);
    if (stride == 2) y = net.pool(y, 3, 2, 1, false);
    Map out = net.conv(at + ".conv_out", x, 3, stride);
    const Map attended = net.conv(at + ".attn_out", y, 1);
    out.C += attended.C;
    out.v.insert(out.v.end(), attended.v.begin(), attended.v.end());
    return out;
  };
  testing::expect_reference(*model, reference, random_tensor({1, 2, 20, 28}, 1));
}

// 25.8, 45.4 and 61.6 million in table 2 of the paper.
TEST(AaResnet, ParameterCounts) {
  for (const auto& [name, millions] :
       {std::pair{"aa_resnet50", 25.8}, {"aa_resnet101", 45.4}, {"aa_resnet152", 61.6}}) {
    const ModelEntry& entry = find_model(name);
    const std::int64_t numbers = testing::learnable(model_parameters(entry.family, entry.config));
    EXPECT_NEAR(static_cast<double>(numbers) / 1e6, millions, 0.06) << name << " " << numbers;
  }
}

// The port's form: q, k and v by the convolution's kernel and stride, heads' results read as they lie.
TEST(AaResnet, FormsDifferAndPack) {
  const Var images(random_tensor({1, 2, 20, 28}, 1));
  const Tensor paper = make_small("{}")->forward({}, images).value();
  for (const char* more :
       {R"({"maps":"reshaped"})", R"({"attention_stride":"projections"})", R"({"relative":false})",
        R"({"qkv_kernel":0,"maps":"reshaped","attention_stride":"projections"})"}) {
    const Tensor recorded = make_small(more, WeightMode::train)->forward({}, images).value();
    const Tensor packed = make_small(more)->forward({}, images).value();
    testing::expect_close(packed, testing::to_double(recorded), 2e-5, more);
    EXPECT_GT(testing::worst_error(packed.values(), testing::to_double(paper)), 1e-3) << more;
  }
}

TEST(AaResnet, RefusesWhatCannotBe) {
  for (const char* more : {R"({"heads":3})", R"({"value_dims":[4,8,12]})", R"({"key_dims":[6,8]})",
                           R"({"qkv_kernel":2})", R"({"attention_strides":[1,1,1]})"})
    EXPECT_THROW(make_small(more), Error) << more;
  const auto model = make_small("{}");
  EXPECT_NO_THROW(model->forward({}, Var(random_tensor({1, 2, 19, 28}, 1))));  // the same maps
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 2, 28, 20}, 1))), Error);
  EXPECT_NO_THROW(make_small(R"({"relative":false})")->forward({}, Var(random_tensor({1, 2, 33, 40}, 1))));
}

TEST(AaResnet, ShapesTellTheRest) {
  const Family& family = find_family("aa_resnet");
  for (const char* more :
       {"{}", R"({"attention_stride":"projections","attention_blocks":[[1,0]],"key_dims":[8],)"
              R"("value_dims":[2]})"}) {
    Json config = Json::parse(kSmall);
    config.update(Json::parse(more));
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("aa_resnet", config.dump())) shapes.emplace(p.name, p.shape);
    const std::string how = Json{{"attention_stride", config.value("attention_stride", "mean_after")}}.dump();
    const std::string told = family.from_shapes(family, NamedShapes("aa_resnet", shapes), how);
    std::map<std::string, Shape> again;
    for (const Parameter& p : model_parameters("aa_resnet", told)) again.emplace(p.name, p.shape);
    EXPECT_EQ(again, shapes) << told;
  }
}

}  // namespace aa_resnet_test
}  // namespace locant
