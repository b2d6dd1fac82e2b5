#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/models/resnet_reference.h"
#include "tests/support/plain_attention_stem.h"

namespace locant {
namespace sasa_resnet_test {

using testing::random_tensor;
using Json = nlohmann::json;
using Map = testing::ResnetReference::Map;

// A block of each kind in both stages, the second of which halves.
constexpr const char* kSmall =
    R"({"img_size":[16,24],"in_chans":2,"num_classes":3,"stem_chans":[6],"stem_kernel":3,"dims":[16,24],)"
    R"("depths":[2,2],"strides":[1,2],"widths":[8,12],"attention_blocks":[[0,1],[1,0]],"heads":2,"kernel":5})";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  return testing::make_resnet("sasa_resnet", kSmall, more, mode);
}

// Equation 3 of the paper, head by head.
Map local_attention(const testing::ResnetReference& net, const std::string& at, const Map& x,
                    std::int64_t stride, bool masked) {
  const std::int64_t heads = 2, k = 5, D = x.C / heads;
  const Map q = net.conv(at + ".query_conv", x, 1), keys = net.conv(at + ".key_conv", x, 1),
            values = net.conv(at + ".value_conv", x, 1);
  const std::vector<double>&rel_h = net.tensors.at(at + ".rel_h"), &rel_w = net.tensors.at(at + ".rel_w");
  Map out(x.C, x.H, x.W);
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t r = 0; r < x.H; ++r)
      for (std::int64_t c = 0; c < x.W; ++c) {
        double total = 0.0;
        std::vector<double> sum(static_cast<std::size_t>(D));
        for (std::int64_t a = 0; a < k; ++a)
          for (std::int64_t b = 0; b < k; ++b) {
            const std::int64_t row = r + a - k / 2, column = c + b - k / 2;
            if (masked && !x.holds(row, column)) continue;
            double score = 0.0;
            for (std::int64_t d = 0; d < D; ++d) {
              const double position = d < D / 2 ? rel_h[static_cast<std::size_t>(a * D / 2 + d)]
                                                : rel_w[static_cast<std::size_t>(b * D / 2 + d - D / 2)];
              score += q.at(h * D + d, r, c) * (keys.at(h * D + d, row, column) + position);
            }
            const double p = std::exp(score);
            total += p;
            for (std::int64_t d = 0; d < D; ++d)
              sum[static_cast<std::size_t>(d)] += p * values.at(h * D + d, row, column);
          }
        for (std::int64_t d = 0; d < D; ++d)
          out.at(h * D + d, r, c) = sum[static_cast<std::size_t>(d)] / total;
      }
  return stride == 1 ? out : net.pool(out, 2, 2, 0, false);
}

// Maps of 4 x 6 and 2 x 3.
TEST(SasaResnet, IsTheReferencesComposed) {
  for (const bool masked : {false, true}) {
    const auto model = make_small(masked ? R"({"border":"masked"})" : "{}", WeightMode::train);
    testing::ResnetReference reference(*model);
    reference.depths = {2, 2};
    reference.layer = [&](const auto& net, const std::string& at, const Map& x, std::int64_t stride) {
      return local_attention(net, at, x, stride, masked);
    };
    testing::expect_reference(*model, reference, random_tensor({1, 2, 16, 24}, 1));
  }
}

// Behind pixels that attend in blocks of 4 x 4, the norm and the pool.
TEST(SasaResnet, AttentionStemIsTheReferencesComposed) {
  const auto model = make_small(R"({"stem":"attention","mixtures":3})", WeightMode::train);
  testing::ResnetReference reference(*model);
  reference.depths = {2, 2};
  reference.layer = [](const auto& net, const std::string& at, const Map& x, std::int64_t stride) {
    return local_attention(net, at, x, stride, false);
  };
  reference.stem = [](const testing::ResnetReference& net, const Map& image) {
    const testing::PlainAttentionStem plain{.in = 2, .out = 6, .heads = 2, .mixtures = 3};
    Map x(6, image.H, image.W);
    x.v = plain(net.tensors, "conv1.", image.v, image.H, image.W);
    return net.pool(net.norm("bn1", x), 4, 4, 0, true);
  };
  testing::expect_reference(*model, reference, random_tensor({1, 2, 16, 24}, 1));
}

// 10.3, 14.1 and 18.0 million in table 1 of the paper.
TEST(SasaResnet, ParameterCounts) {
  for (const auto& [name, millions] : {std::pair{"sasa_resnet26", 10.3},
                                       {"sasa_resnet38", 14.1},
                                       {"sasa_resnet50", 18.0},
                                       {"sasa_resnet26_attention_stem", 10.3},
                                       {"sasa_resnet38_attention_stem", 14.1},
                                       {"sasa_resnet50_attention_stem", 18.0}}) {
    const ModelEntry& entry = find_model(name);
    const std::int64_t numbers = testing::learnable(model_parameters(entry.family, entry.config));
    EXPECT_NEAR(static_cast<double>(numbers) / 1e6, millions, 0.08) << name << " " << numbers;
  }
}

TEST(SasaResnet, InferenceAndTrainingWeightsGiveTheSame) {
  for (const char* more :
       {"{}", R"({"attention":"sasa_per_channel","halve_last":true})", R"({"stem":"attention"})"}) {
    const Var images(random_tensor({1, 2, 16, 24}, 1));
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(SasaResnet, FormsDiffer) {
  const Var images(random_tensor({1, 2, 16, 24}, 1));
  const Tensor zeros = make_small("{}")->forward({}, images).value();
  const Tensor masked = make_small(R"({"border":"masked"})")->forward({}, images).value();
  const Tensor last = make_small(R"({"halve_last":true})")->forward({}, images).value();
  EXPECT_GT(testing::worst_error(zeros.values(), testing::to_double(masked)), 1e-3);
  EXPECT_GT(testing::worst_error(zeros.values(), testing::to_double(last)), 1e-3);
}

// The stem's map is a quarter of the picture: features are as far apart as behind a convolution.
TEST(SasaResnet, AttentionStemHasTheSameLevels) {
  const Var images(random_tensor({1, 2, 16, 24}, 1));
  const Features conv = make_small("{}")->features({}, images),
                 stem = make_small(R"({"stem":"attention"})")->features({}, images);
  ASSERT_EQ(stem.levels.size(), conv.levels.size());
  for (std::size_t i = 0; i < conv.levels.size(); ++i) {
    EXPECT_EQ(stem.levels[i].tokens.shape(), conv.levels[i].tokens.shape());
    EXPECT_EQ(stem.levels[i].stride, conv.levels[i].stride);
  }
}

TEST(SasaResnet, RefusesWhatCannotBe) {
  for (const char* more :
       {R"({"heads":3})", R"({"kernel":4})", R"({"stem_chans":[4,6]})", R"({"widths":[8]})",
        R"({"attention":"sasa_per_channel","border":"masked"})", R"({"attention_blocks":[[2,0]]})",
        R"({"attention_blocks":[[1,0],[0,1]]})", R"({"attention_blocks":[[0,1],[0,1]]})",
        R"({"attention_blocks":[0,1]})", R"({"stem":"attention","attention":"sasa_per_channel"})",
        R"({"stem":"attention","stem_stride":1})", R"({"stem":"attention","mixtures":0})"})
    EXPECT_THROW(make_small(more), Error) << more;
  const auto model = make_small("{}");
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 3, 24, 40}, 1))), Error);
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 2, 20, 40}, 1))), Error);  // a map of 5 x 10 halves
}

TEST(SasaResnet, ShapesTellTheRest) {
  const Family& family = find_family("sasa_resnet");
  for (const char* more : {"{}", R"({"attention":"sasa_per_channel","halve_last":true,"heads":8})",
                           R"({"stem":"attention","mixtures":3,"stem_kernel":7})"}) {
    Json config = Json::parse(kSmall);
    config.update(Json::parse(more));
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("sasa_resnet", config.dump())) shapes.emplace(p.name, p.shape);
    const Json bare = Json::parse(family.from_shapes(family, NamedShapes("sasa_resnet", shapes), ""));
    for (const char* key :
         {"attention", "dims", "depths", "strides", "widths", "attention_blocks", "kernel", "heads",
          "halve_last", "stem", "mixtures", "in_chans", "stem_chans", "stem_kernel"})
      EXPECT_EQ(bare[key], Json::parse(family.from_shapes(family, NamedShapes("sasa_resnet", shapes),
                                                          config.dump()))[key])
          << key << " " << more;
  }
}

}  // namespace sasa_resnet_test
}  // namespace locant
