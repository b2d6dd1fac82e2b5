// What every family holds, each made tiny (tests/support/tiny_models.h). Variants' counts are in the
// families' own tests, stop and resume in tests/train/families_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "core/rng.h"
#include "models/load.h"
#include "models/renames.h"
#include "ops/rearrange.h"
#include "tests/support/gradcheck.h"
#include "tests/support/tiny_models.h"

namespace locant {
namespace zoo_test {

using testing::Tiny;
using testing::tiny_inputs;
using testing::tiny_zoo;
using testing::TinySize;

constexpr TinySize kUsual{};

/// Random numbers of the size that trained ones have, whatever the model starts with: what begins as zero
/// or nearly so would hide all behind it.
class LivelySource final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init& init) override {
    Tensor out = random_.get(name, shape, init);
    if (init.kind == Init::Kind::given) return out;
    const bool matrix = shape.rank() >= 2;
    const auto fan_in = static_cast<float>(matrix ? shape.numel() / shape[0] : 25);
    const bool constant = init.kind == Init::Kind::constant || init.kind == Init::Kind::identity;
    Rng rng(fnv1a64(name));
    for (float& x : out.values()) {
      const float noise = std::sqrt(3.0f / fan_in) * (2.0f * rng.uniform() - 1.0f);
      // Scales of layers start at 1e-5.
      x = (!constant ? 0.0f : x != 0.0f && std::abs(x) < 0.2f ? 0.5f : x) + noise;
    }
    return out;
  }

 private:
  RandomSource random_{1};
};

std::unique_ptr<Model> make(const Tiny& tiny, WeightMode mode = WeightMode::train) {
  LivelySource source;
  return build_model(*tiny.family, tiny.config, Weights(source, mode));
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(float)) == 0;
}

void expect_finite(const std::string& name, const Var& value) {
  for (const float x : value.value().values())
    if (!std::isfinite(x)) FAIL() << name << " holds " << x;
}

void expect_same(const Values& got, const Values& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, value] : want) EXPECT_TRUE(same(got.at(name).value(), value.value())) << name;
}

int batch_axis(const std::vector<Port>& ports, const std::string& name) {
  for (const Port& port : ports) {
    if (port.name != name) continue;
    if (port.axes.empty()) return port.kind == Port::Kind::option ? -1 : 0;
    std::istringstream axes(port.axes);
    int at = 0;
    for (std::string axis; axes >> axis; ++at)
      if (axis == "B") return at;
  }
  return -1;
}

/// Sample `b`; what all samples share as it is.
Values sample(const std::vector<Port>& ports, const Values& of, std::int64_t b) {
  Values out;
  for (const auto& [name, value] : of) {
    const int axis = batch_axis(ports, name);
    out.set(name, axis < 0 ? value : slice_axis({}, value, axis, b, b + 1));
  }
  return out;
}

TEST(Zoo, BatchOfThreeIsThreeOfOne) {
  for (const Tiny& tiny : tiny_zoo())
    for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
      const auto model = make(tiny, mode);
      for (const Values& in : tiny_inputs(*model, kUsual, 3, 1)) {
        SCOPED_TRACE(tiny.name + " " + tiny.config);
        const Values all = model->run({}, in);
        for (std::int64_t b = 0; b < 3; ++b) {
          const Values one = model->run({}, sample(model->inputs(), in, b)),
                       of_all = sample(model->outputs(), all, b);
          for (const auto& [name, value] : one) {
            const double error =
                testing::worst_error(of_all.at(name).value().values(), testing::to_double(value.value()));
            EXPECT_LE(error, 2e-5) << name << " of sample " << b;
          }
        }
      }
    }
}

TEST(Zoo, TwoThreadsAtOnceAnswerAsOne) {
  for (const Tiny& tiny : tiny_zoo())
    for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
      SCOPED_TRACE(tiny.name + " " + tiny.config);
      const auto model = make(tiny, mode);
      const Values in[2] = {tiny_inputs(*model, kUsual, 1, 1)[1], tiny_inputs(*model, kUsual, 2, 2)[1]};
      const Values want[2] = {model->run({}, in[0]), model->run({}, in[1])};
      Values got[2];
      std::thread threads[2];
      for (int t = 0; t < 2; ++t) threads[t] = std::thread([&, t] { got[t] = model->run({}, in[t]); });
      for (std::thread& thread : threads) thread.join();
      for (int t = 0; t < 2; ++t) expect_same(got[t], want[t]);
    }
}

TEST(Zoo, SavedAndLoadedIsTheSame) {
  const auto folder = std::filesystem::temp_directory_path() / ("locant_zoo_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "tiny.safetensors").string();
  for (const Tiny& tiny : tiny_zoo()) {
    SCOPED_TRACE(tiny.name + " " + tiny.config);
    const auto model = make(tiny);
    save_model(path, *model, {});
    const LoadedModel trained = load_model(path, {.mode = WeightMode::train});
    EXPECT_EQ(trained.model->config(), model->config());
    ASSERT_EQ(trained.model->parameters().size(), model->parameters().size());
    for (std::size_t i = 0; i < model->parameters().size(); ++i) {
      const Parameter &a = trained.model->parameters()[i], &b = model->parameters()[i];
      EXPECT_EQ(a.name, b.name);
      EXPECT_TRUE(same(a.value.value(), b.value.value())) << b.name;
    }
    const Values in = tiny_inputs(*model, kUsual, 2, 1)[1];
    expect_same(trained.model->run({}, in), model->run({}, in));
    expect_same(load_model(path).model->run({}, in), make(tiny, WeightMode::inference)->run({}, in));
  }
  std::filesystem::remove_all(folder);
}

// The families that a size was chosen for when they were made, and what they say to another.
const std::map<std::string, std::string> kOfOneSize = {
    {"botnet", "made for 8 x 8"},
    {"aa_resnet", "made for 8x8: pictures of the configuration's img_size are needed"},
    {"localvit", "does not resize"},
    {"sam", "(B, C, 32, 32) was expected: scaled so that the longer side is 32"},
    {"sam_mask_decoder", "4x4"},
    {"sam_prompt_encoder", "16"},
    {"window_attention_v2", "2 x 2 tokens"},
};

TEST(Zoo, TakesASecondSizeOrSaysWhyNot) {
  std::set<std::string> refused;
  for (const Tiny& tiny : tiny_zoo()) {
    SCOPED_TRACE(tiny.name + " " + tiny.config);
    const auto model = make(tiny, WeightMode::inference);
    std::string why;
    bool answered = false;
    // Any at all; a multiple of the patch; of all strides together.
    for (const TinySize& size : {TinySize{27, 43, 16}, TinySize{48, 40, 16}, TinySize{64, 32, 16}}) {
      if (answered) break;
      try {
        for (const Values& in : tiny_inputs(*model, size, 2, 1))
          for (const auto& [name, value] : model->run({}, in)) expect_finite(name, value);
        answered = true;
      } catch (const Error& error) {
        why = error.what();
      }
    }
    const auto expected = kOfOneSize.find(tiny.family->name);
    if (!answered) refused.insert(tiny.family->name);
    EXPECT_EQ(answered, expected == kOfOneSize.end()) << why;
    if (expected != kOfOneSize.end()) {
      EXPECT_NE(why.find(expected->second), std::string::npos) << why;
    }
  }
  EXPECT_EQ(refused.size(), kOfOneSize.size());
}

double square(const Tensor& x) {
  double sum = 0.0;
  for (const float value : x.values()) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

/// Adds the gradients of sum(output * r) over all outputs, r fixed and pseudo-random.
void backward(const Model& model, const Values& in) {
  Tape tape;
  const Values out = model.run(Context{.tape = &tape}, in);
  std::vector<std::pair<Var, Tensor>> cotangents;
  for (const auto& [name, value] : out)
    if (value.requires_grad())  // a memory has none
      cotangents.emplace_back(value, testing::random_tensor(value.shape(), fnv1a64(name)));
  tape.backward(cotangents);
}

/// Learned parameters whose gradient is nothing beside the median one. Rounding leaves 1e-6 of it where it is
/// zero by structure; the smallest of the others, in deep ResNets, are 1e-4 of it.
std::vector<std::string> without_gradient(const Model& model) {
  std::vector<std::pair<std::string, double>> sizes;
  std::vector<double> sorted;
  for (const Parameter& p : model.parameters()) {
    if (!p.learned) continue;
    const Tensor& gradient = p.value.grad();
    const double mean = gradient.defined() ? square(gradient) / static_cast<double>(p.shape.numel()) : 0.0;
    sizes.emplace_back(p.name, std::sqrt(mean));
    if (gradient.defined()) sorted.push_back(sizes.back().second);
  }
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> out;
  for (const auto& [name, size] : sizes)
    if (!(size > 1e-5 * sorted.at(sorted.size() / 2))) out.push_back(name);
  return out;
}

/// What may be without a gradient, and is in one variant at least.
const std::map<std::string, std::vector<std::string>> kNoGradient = {
    // What a bias of the keys adds to the scores of a query is one number for all of them, and softmax takes
    // it away. So it does with what a head adds to all its scores: proj_l, pos_proj, bn_similarity, fc2.
    {"cait", {"blocks_token_only.*.attn.k.bias", "blocks.*.attn.proj_l.bias"}},
    {"conformer", {"*.key_proj.linear.bias"}},
    {"wav2vec2_conformer", {"*.key_proj.linear.bias"}},
    {"sam_mask_decoder", {"*.k_proj.bias"}},
    {"convit", {"*.pos_proj.bias"}},
    {"gpsa", {"pos_proj.bias"}},
    {"axial_resnet", {"*.bn_similarity.bias"}},
    // Only the class token leaves the last block: what acts on patches alone, or on their queries, does
    // nothing
    // there. What iRPE's keys add to the class token's scores is one number.
    {"ceit", {"blocks.1.leff.conv*", "blocks.1.leff.bn*"}},
    {"localvit", {"blocks.1.conv.*"}},
    {"deit_irpe", {"blocks.1.attn.rpe_k.*"}},
    {"cvt", {"*.proj_k.bias", "*.conv_proj_k.bn.bias", "stage2.blocks.0.attn.conv_proj_q.*"}},
    {"mvitv2", {"*.norm_k.bias", "stages.3.blocks.0.attn.pool_q.weight", "stages.3.blocks.0.attn.rel_pos_*"}},
    {"vit_relpos", {"*rel_pos.mlp.fc2.bias", "blocks.1.attn.rel_pos.mlp.*"}},
    // Tensors of the checkpoints that no answer needs: of training with masks, of TinyViT as a classifier.
    {"dinov2", {"mask_token"}},
    {"sam", {"mask_decoder.*.k_proj.bias", "image_encoder.head.*", "image_encoder.norm_head.*"}},
    // The decoder begins with zeros: the first values that it attends to are all the same.
    {"detr_irpe", {"decoder.layers.0.self_attn.in_proj_weight"}},
    // The last stage is made for one place: nothing to choose from.
    {"levit",
     {"stages.1.blocks.0.attn.attention_biases", "stages.2.*.attention_biases",
      "stages.2.downsample.attn_downsample.q.*"}},
    {"swin", {"layers.3.blocks.0.attn.relative_position_bias_table"}},
    {"swin_v2", {"layers.3.blocks.0.attn.*"}},
};

TEST(Zoo, GradientsReachWhatIsLearned) {
  std::map<std::string, std::set<std::string>> used;
  for (const Tiny& tiny : tiny_zoo()) {
    SCOPED_TRACE(tiny.name + " " + tiny.config);
    const auto model = make(tiny);
    const auto declared = [&](const std::string& name) {
      const auto found = kNoGradient.find(tiny.family->name);
      if (found == kNoGradient.end()) return false;
      for (const std::string& pattern : found->second)
        if (matches_any({pattern}, name)) {
          used[tiny.family->name].insert(pattern);
          return true;
        }
      return false;
    };
    for (const Values& in : tiny_inputs(*model, kUsual, 2, 1)) backward(*model, in);
    std::vector<std::string> missing = without_gradient(*model);
    if (!std::all_of(missing.begin(), missing.end(), declared) && kOfOneSize.count(tiny.family->name) == 0) {
      // Where pyramids come down to one place there is nothing to attend to: also a larger picture.
      for (const Values& in : tiny_inputs(*model, {96, 96, 16}, 1, 1)) backward(*model, in);
      missing = without_gradient(*model);
    }
    for (const std::string& name : missing) EXPECT_TRUE(declared(name)) << name;
  }
  for (const auto& [family, patterns] : kNoGradient)
    for (const std::string& pattern : patterns)
      EXPECT_EQ(used[family].count(pattern), 1u) << family << " " << pattern << " always has a gradient";
}

/// 1/2 of the mean of (output - target)^2, summed over all outputs, and its gradients; targets are random.
double loss_of(const Values& out, std::vector<std::pair<Var, Tensor>>& gradients) {
  double loss = 0.0;
  for (const auto& [name, value] : out) {
    if (!value.requires_grad()) continue;
    const Tensor target = testing::random_tensor(value.shape(), fnv1a64(name));
    Tensor gradient(value.shape());
    for (std::int64_t i = 0; i < target.numel(); ++i) {
      gradient[i] = (value.value()[i] - target[i]) / static_cast<float>(target.numel());
      loss += 0.5 * static_cast<double>(gradient[i]) * static_cast<double>(value.value()[i] - target[i]);
    }
    gradients.emplace_back(value, std::move(gradient));
  }
  return loss;
}

// Plain steps against the gradient, as long as they must be for the loss to fall by kFall of itself: it falls
// by just that, give or take its curvature, when the gradients of all parameters together are right. In
// training, where batches have their own statistics, and each step drops the same.
TEST(Zoo, StepsLowerTheLossByWhatTheGradientSays) {
  constexpr double kFall = 0.002;
  for (const Tiny& tiny : tiny_zoo()) {
    SCOPED_TRACE(tiny.name + " " + tiny.config);
    const auto model = make(tiny);
    const Values in = tiny_inputs(*model, kUsual, 4, 1)[1];
    double before = 0.0;
    for (int step = 0; step <= 3; ++step) {
      Tape tape;
      Rng rng(1);
      std::vector<std::pair<Var, Tensor>> gradients;
      const double loss = loss_of(model->run({.tape = &tape, .train = true, .rng = &rng}, in), gradients);
      if (step > 0) {
        EXPECT_NEAR((before - loss) / before, kFall, 0.2 * kFall) << "step " << step;
      }
      tape.backward(gradients);
      double norm = 0.0;
      for (const Parameter& p : model->parameters())
        if (p.learned && p.value.grad().defined()) norm += square(p.value.grad());
      for (const Parameter& p : model->parameters()) {
        if (!p.learned || !p.value.grad().defined()) continue;
        Tensor next = p.value.value().clone();
        for (std::int64_t i = 0; i < next.numel(); ++i)
          next[i] -= static_cast<float>(kFall * loss / norm) * p.value.grad()[i];
        Var leaf = p.value;
        leaf.assign(std::move(next));
        leaf.clear_grad();
      }
      before = loss;
    }
  }
}

}  // namespace zoo_test
}  // namespace locant
