#include "core/error.h"
#include "nn/lca_block.h"
#include "nn/leff.h"
#include "nn/linear_attention.h"
#include "nn/locality_ff.h"
#include "nn/locally_grouped_attention.h"
#include "nn/peg.h"
#include "nn/spatial_reduction_attention.h"
#include "position/conv_projection.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace conv_attention_test {

using testing::golden_input;
using testing::SineSource;

// The golden layers leave norms as they start.
class GoldenSource final : public WeightSource {
 public:
  explicit GoldenSource(std::vector<std::string> order) : order_(order), sine_(std::move(order)) {}
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override {
    for (const std::string& known : order_)
      if (name == known) return sine_.get(name, shape, init);
    require(init.kind == Init::Kind::constant, "golden_source", "nobody expected {} of shape {}", name,
            shape.str());
    return Tensor::full(shape, init.value);
  }

 private:
  std::vector<std::string> order_;
  SineSource sine_;
};

void expect_rows(const Tensor& got, const std::vector<std::vector<double>>& want,
                 const std::vector<std::int64_t>& rows) {
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t c = 0; c < want[r].size(); ++c)
      EXPECT_NEAR(got[rows[r] * static_cast<std::int64_t>(want[r].size()) + static_cast<std::int64_t>(c)],
                  want[r][c], 2e-6)
          << "row " << rows[r] << ", column " << c;
}

constexpr WeightMode kModes[] = {WeightMode::train, WeightMode::inference};

TEST(SpatialReductionAttention, GoldenOfTheSpec) {
  GoldenSource source(
      {"q.weight", "q.bias", "kv.weight", "kv.bias", "proj.weight", "proj.bias", "sr.weight", "sr.bias"});
  for (const WeightMode mode : kModes) {
    const SpatialReductionAttention layer(Weights(source, mode), {.width = 4, .heads = 2, .ratio = 2});
    const Tensor out = layer({}, Var(golden_input({1, 8, 4})), {1, 2, 4}).value();
    expect_rows(out,
                {{1.388859, 1.603612, -0.081981, -1.688790},
                 {1.454330, 1.559453, -0.188831, -1.744753},
                 {1.395437, 1.599379, -0.092526, -1.694437}},
                {0, 1, 7});
  }
}

TEST(LeffLayer, GoldenOfTheSpec) {
  GoldenSource source(
      {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "conv3.weight", "conv3.bias"});
  for (const WeightMode mode : kModes) {
    const LeffLayer layer(Weights(source, mode), {.width = 4, .hidden = 8});
    const Tensor out = layer({}, Var(golden_input({1, 5, 4})), {1, 2, 2}, 1).value();
    expect_rows(out,
                {{1.000000, 0.932327, 0.738469, 0.444662},
                 {0.731961, 0.210407, -0.161219, 0.004924},
                 {0.790911, 0.252850, -0.267788, 0.082049},
                 {0.822913, 0.206006, -0.247234, 0.105831},
                 {0.726622, 0.202246, -0.146724, -0.003178}},
                {0, 1, 2, 3, 4});
  }
}

TEST(LocalityFfLayer, GoldenOfTheSpec) {
  GoldenSource source({"conv.0.weight", "conv.3.weight", "conv.6.fc.0.weight", "conv.6.fc.0.bias",
                       "conv.6.fc.2.weight", "conv.6.fc.2.bias", "conv.7.weight"});
  for (const WeightMode mode : kModes) {
    const LocalityFfLayer layer(Weights(source, mode),
                                {.in = 4, .out = 4, .expand_ratio = 2, .reduction = 4});
    const Tensor out = layer({}, Var(golden_input({1, 4, 2, 2}))).value();
    expect_rows(out,
                {{1.024019, 0.930990, 0.727362, 0.463379},
                 {0.068393, -0.270675, -0.599738, -0.871299},
                 {-0.982581, -0.986482, -0.842395, -0.595827},
                 {-0.247850, 0.097228, 0.439540, 0.758972}},
                {0, 1, 2, 3});
  }
}

// CvT's attention out of its parts: cls and 2 x 4 tokens.
TEST(ConvProjection, GoldenOfTheSpec) {
  const std::vector<std::string> names = {"conv_proj_q.conv.weight",
                                          "conv_proj_k.conv.weight",
                                          "conv_proj_v.conv.weight",
                                          "proj_q.weight",
                                          "proj_q.bias",
                                          "proj_k.weight",
                                          "proj_k.bias",
                                          "proj_v.weight",
                                          "proj_v.bias",
                                          "proj.weight",
                                          "proj.bias"};
  SineSource source(names);
  const Weights w(source, WeightMode::train);
  const Var x(golden_input({1, 9, 4}));
  const Var one(Tensor::full({4}, 1.0f)), zero(Tensor::zeros({4}));
  std::vector<Var> qkv;
  for (const char* letter : {"q", "k", "v"}) {
    ConvProjection p;
    p.weight = (w / ("conv_proj_" + std::string(letter))).get("conv.weight", {4, 1, 3, 3}, Init::zeros());
    p.norm = {one, zero, zero, one};
    p.stride = letter[0] == 'q' ? 1 : 2;
    const Linear product(w / ("proj_" + std::string(letter)), 4, 4);
    qkv.push_back(product({}, conv_projection({}, p, x, {1, 2, 4}, 1)));
  }
  const Linear proj(w / "proj", 4, 4);
  const Tensor out =
      proj({}, attention({}, qkv[0], qkv[1], qkv[2], {.heads = 2, .scale = conv_projection_scale(4)}))
          .value();
  expect_rows(out,
              {{1.338878, 0.713497, -0.820207, -1.393104},
               {1.335393, 0.711886, -0.818233, -1.389643},
               {1.198359, 0.654361, -0.735101, -1.254221}},
              {0, 1, 8});
}

// A grid that windows do not divide: as if padded with zeros before qkv, and cropped.
TEST(LocallyGroupedAttention, PadsWithZeros) {
  RandomSource source(1);
  for (const bool bias : {true, false}) {
    const Weights w(source, WeightMode::train);
    const LocallyGroupedAttention layer(w, {.width = 4, .heads = 2, .window = {2, 3}, .qkv_bias = bias});
    for (const Parameter& p : w.parameters()) {
      Tensor start = testing::random_tensor(p.shape, 7);
      Var(p.value).assign(std::move(start));
    }
    const Tensor x = testing::random_tensor({1, 3 * 4, 4}, 2);
    Tensor padded = Tensor::zeros({1, 4 * 6, 4});
    for (std::int64_t n = 0; n < x.numel(); ++n) padded[(n / 16 * 6 + n / 4 % 4) * 4 + n % 4] = x[n];
    const Tensor got = layer({}, Var(x), {1, 3, 4}).value();
    const Tensor want = layer({}, Var(padded), {1, 4, 6}).value();
    for (std::int64_t n = 0; n < got.numel(); ++n)
      EXPECT_NEAR(got[n], want[(n / 16 * 6 + n / 4 % 4) * 4 + n % 4], 1e-5) << bias << " " << n;
  }
}

TEST(ConvLayers, NamesAndStart) {
  RandomSource source(3);
  const Weights w(source, WeightMode::train);
  const PegLayer peg(w / "pos_block" / 0, {.width = 400});
  const SpatialReductionAttention plain(w / "attn", {.width = 4, .heads = 2, .ratio = 1});
  std::vector<std::string> names;
  for (const Parameter& p : w.parameters()) names.push_back(p.name);
  const std::vector<std::string> want = {"pos_block.0.proj.0.weight",
                                         "pos_block.0.proj.0.bias",
                                         "attn.q.weight",
                                         "attn.q.bias",
                                         "attn.kv.weight",
                                         "attn.kv.bias",
                                         "attn.proj.weight",
                                         "attn.proj.bias"};
  EXPECT_EQ(names, want);
  double square = 0;
  const Tensor& weight = w.parameters()[0].value.value();
  for (const float x : weight.values()) square += static_cast<double>(x) * static_cast<double>(x);
  EXPECT_NEAR(square / static_cast<double>(weight.numel()), 2.0 / 9.0, 0.02);
  for (const float x : w.parameters()[1].value.value().values()) EXPECT_EQ(x, 0.0f);
}

TEST(ConvLayers, RefuseWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::shapes);
  EXPECT_THROW(PegLayer(w, {.width = 4, .kernel = 2}), Error);
  EXPECT_THROW(PegLayer(w, {.width = 4, .stride = 2}), Error);
  EXPECT_THROW(PegLayer(w, {.width = -4}), Error);
  EXPECT_THROW(SpatialReductionAttention(w, {.width = 4, .heads = 3}), Error);
  EXPECT_THROW(SpatialReductionAttention(w, {.width = 4, .heads = 2, .ratio = 0}), Error);
  EXPECT_THROW(LocallyGroupedAttention(w, {.width = 4, .heads = 0}), Error);
  EXPECT_THROW(LocallyGroupedAttention(w, {.width = 4, .heads = 2, .window = {0, 7}}), Error);
  EXPECT_THROW(LeffLayer(w, {.width = 4, .hidden = 0}), Error);
  EXPECT_THROW(LeffLayer(w, {.width = 4, .hidden = 4, .kernel = 4}), Error);
  EXPECT_THROW(LocalityFfLayer(w, {.in = 4, .out = 4, .expand_ratio = 0}), Error);
  EXPECT_THROW(LocalityFfLayer(w, {.in = 4, .out = 4, .reduction = 17}), Error);
  EXPECT_THROW(LocalityFfLayer(w, {.in = 4, .out = 4, .gate = FfGate::eca, .eca_kernel = 2}), Error);
  EXPECT_THROW(LcaBlock(w, {.width = 4, .heads = 3}), Error);
  EXPECT_THROW(LinearAttentionLayer(w, {.width = 4, .heads = 3}), Error);
  const Weights train(source, WeightMode::train);
  const LocallyGroupedAttention local(train / "b", {.width = 4, .heads = 2, .window = {2, 2}});
  EXPECT_THROW(local({}, Var(Tensor::zeros({1, 4, 4})), {1, 2, 3}), Error);
  const LcaBlock lca(train, {.width = 4, .heads = 2});
  EXPECT_THROW(lca({}, Var(Tensor::zeros({1, 3, 5}))), Error);
  const LocalityFfLayer narrow(train / "a", {.in = 4, .out = 3});
  EXPECT_THROW(narrow({}, Var(Tensor::zeros({1, 4, 2, 2}))), Error);
}

}  // namespace conv_attention_test
}  // namespace locant
