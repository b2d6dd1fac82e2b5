// Fine-tuning: layers and their rates, what stands still, batches that make up a step, SGD, weights of
// classes, early stopping, and the probe.
#include <cmath>
#include <cstring>

#include "models/load.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"
#include "tests/support/tiny_models.h"
#include "tests/train/train_run.h"
#include "train/class_weights.h"
#include "train/head.h"
#include "train/layers.h"
#include "train/logistic.h"
#include "train/probe.h"
#include "train/recipe.h"
#include "train/sgd.h"

namespace locant {
namespace finetune_test {

using testing::Json;
namespace fs = std::filesystem;

std::vector<Parameter> parameters_of(const char* model) {
  const ModelEntry& entry = find_model(model);
  return model_parameters(entry.family, entry.config);
}

std::int64_t layer_of(const std::vector<Parameter>& parameters, const std::string& name) {
  const Layers layers = layers_of(parameters);
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].name == name) return layers.of[i];
  ADD_FAILURE() << name;
  return -1;
}

TEST(Layers, OfPlainTransformersAndPyramids) {
  const auto vit = parameters_of("vit_small_patch16_224");
  EXPECT_EQ(layers_of(vit).last, 13);
  EXPECT_EQ(layer_of(vit, "pos_embed"), 0);
  EXPECT_EQ(layer_of(vit, "patch_embed.proj.weight"), 0);
  EXPECT_EQ(layer_of(vit, "blocks.0.norm1.weight"), 1);
  EXPECT_EQ(layer_of(vit, "blocks.11.mlp.fc2.bias"), 12);
  EXPECT_EQ(layer_of(vit, "norm.weight"), 13);
  EXPECT_EQ(layer_of(vit, "head.bias"), 13);
  const auto swin = parameters_of("swin_tiny");
  EXPECT_EQ(layers_of(swin).last, 13);
  EXPECT_EQ(layer_of(swin, "layers.0.blocks.1.norm1.weight"), 2);
  EXPECT_EQ(layer_of(swin, "layers.0.downsample.norm.weight"), 2);
  EXPECT_EQ(layer_of(swin, "layers.3.blocks.1.norm1.weight"), 12);
  EXPECT_EQ(layer_of(swin, "head.weight"), 13);
}

// Whatever a family calls its blocks: there are as many as the configuration says, in order.
TEST(Layers, EveryFamilyOfPicturesHasThem) {
  for (const ModelEntry& entry : model_entries()) {
    if (&entry != &entries_of(find_family(entry.family)).front() || !entry.has_head) continue;
    const Json config = Json::parse(
        merge_config(find_family(entry.family).default_config(find_family(entry.family)), entry.config));
    std::int64_t blocks = 0;
    if (config.contains("depth")) blocks = config["depth"].get<std::int64_t>();
    if (config.contains("depths"))
      for (const Json& depth : config["depths"]) blocks += depth.get<std::int64_t>();
    if (config.contains("class_depth")) blocks += config["class_depth"].get<std::int64_t>();
    const Layers layers = layers_of(model_parameters(entry.family, entry.config));
    EXPECT_GE(layers.last, 3) << entry.name;
    EXPECT_TRUE(blocks == 0 || layers.last == blocks + 1)
        << entry.name << ": " << layers.last << " of " << blocks;
    EXPECT_TRUE(std::is_sorted(layers.of.begin(), layers.of.end())) << entry.name;
    EXPECT_EQ(layers.of.back(), layers.last) << entry.name;
  }
}

TEST(Layers, RatesFallTowardsTheInput) {
  Layers layers{{0, 1, 2, 3}, 3};
  EXPECT_EQ(layers.rates(0.5), (std::vector<double>{0.125, 0.25, 0.5, 1.0}));
}

TEST(Layers, FrozenByNumberAndName) {
  const auto vit = parameters_of("vit_small_patch16_224");
  const std::vector<bool> frozen = frozen_parameters(vit, 3, {"*.norm1.*"});
  for (std::size_t i = 0; i < vit.size(); ++i) {
    const bool early = layers_of(vit).of[i] < 3, norm = vit[i].name.find(".norm1.") != std::string::npos;
    EXPECT_EQ(frozen[i], early || norm) << vit[i].name;
  }
  EXPECT_THROW(frozen_parameters(vit, 14, {}), Error);
  EXPECT_THROW(frozen_parameters(vit, 0, {"layers.*"}), Error);
  EXPECT_THROW(frozen_parameters(vit, 0, {"*"}), Error);
}

TEST(Sgd, AgreesWithTheEquationsOverSteps) {
  const Parameter p{"a.weight", {3, 5}, Var(testing::random_tensor({3, 5}, 1), true)};
  const Parameter b{"a.bias", {5}, Var(testing::random_tensor({5}, 2), true), false};
  Sgd optimizer({p, b}, {.momentum = 0.8, .weight_decay = 0.1}, {1.0, 0.5});
  std::vector<double> w = testing::to_double(p.value.value()), m(15), v = testing::to_double(b.value.value()),
                      n(5);
  for (std::uint64_t step = 0; step < 4; ++step) {
    Var(p.value).clear_grad(), Var(b.value).clear_grad();
    const Tensor g = testing::random_tensor({3, 5}, 10 + step), h = testing::random_tensor({5}, 20 + step);
    p.value.accumulate(g.clone()), b.value.accumulate(h.clone());
    optimizer.step(0.1, 0.5);
    for (std::size_t i = 0; i < 15; ++i) {
      const double gi = 0.5 * static_cast<double>(g[static_cast<std::int64_t>(i)]) + 0.1 * w[i];
      m[i] = 0.8 * m[i] + gi;
      w[i] -= 0.1 * (gi + 0.8 * m[i]);
    }
    for (std::size_t i = 0; i < 5; ++i) {
      const double hi = 0.5 * static_cast<double>(h[static_cast<std::int64_t>(i)]);
      n[i] = 0.8 * n[i] + hi;
      v[i] -= 0.05 * (hi + 0.8 * n[i]);
    }
  }
  for (std::size_t i = 0; i < 15; ++i) EXPECT_NEAR(p.value.value()[static_cast<std::int64_t>(i)], w[i], 1e-5);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(b.value.value()[static_cast<std::int64_t>(i)], v[i], 1e-5);
}

TEST(Logistic, StandsAtItsMinimum) {
  const std::int64_t N = 60, C = 7, K = 3;
  const Tensor f = testing::random_tensor({N, C}, 5, 2.0f);
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < N; ++i) labels.push_back((i * i + i / 7) % K);
  const LogisticOptions options{.c = 0.3, .class_weights = {1.0f, 2.0f, 0.5f}, .search = {.tolerance = 1e-7}};
  const LogisticFit fit = fit_logistic(f, labels, K, options);
  EXPECT_TRUE(fit.search.converged);
  // The gradient in double, from the definition.
  std::vector<double> dw(static_cast<std::size_t>(K * C)), db(static_cast<std::size_t>(K));
  double S = 0.0;
  for (std::int64_t n = 0; n < N; ++n) {
    std::vector<double> e(static_cast<std::size_t>(K));
    double sum = 0.0;
    for (std::int64_t k = 0; k < K; ++k) {
      double z = fit.bias[k];
      for (std::int64_t c = 0; c < C; ++c)
        z += static_cast<double>(f[n * C + c]) * static_cast<double>(fit.weight[k * C + c]);
      sum += e[static_cast<std::size_t>(k)] = std::exp(z);
    }
    const std::int64_t y = labels[static_cast<std::size_t>(n)];
    const double w = options.class_weights[static_cast<std::size_t>(y)];
    S += w;
    for (std::int64_t k = 0; k < K; ++k) {
      const double r = w * (e[static_cast<std::size_t>(k)] / sum - (k == y ? 1.0 : 0.0));
      db[static_cast<std::size_t>(k)] += r;
      for (std::int64_t c = 0; c < C; ++c)
        dw[static_cast<std::size_t>(k * C + c)] += r * static_cast<double>(f[n * C + c]);
    }
  }
  for (std::int64_t i = 0; i < K * C; ++i)
    EXPECT_NEAR((dw[static_cast<std::size_t>(i)] + static_cast<double>(fit.weight[i]) / options.c) / S, 0.0,
                1e-6);
  for (const double one : db) EXPECT_NEAR(one / S, 0.0, 1e-6);
}

TEST(Logistic, OneClassAgainstTheOtherHasTheBinaryPenalty) {
  // Two pictures, one number each: w = W_1 - W_0 minimises 2 log(1 + exp(-w)) + w^2 / (2 c), b = 0.
  const Tensor f = Tensor::from({2, 1}, std::vector<float>{-1.0f, 1.0f});
  const LogisticFit fit = fit_logistic(f, {0, 1}, 2, {.c = 1.0, .search = {.tolerance = 1e-9}});
  double w = 0.0;
  for (int i = 0; i < 100; ++i) {
    const double p = 1.0 / (1.0 + std::exp(w));
    w -= (w - 2.0 * p) / (1.0 + 2.0 * p * (1.0 - p));
  }
  EXPECT_NEAR(fit.weight[1] - fit.weight[0], w, 1e-6);
}

TEST(Logistic, RefusesWhatDoesNotFit) {
  const Tensor f = testing::random_tensor({4, 2}, 1);
  EXPECT_THROW(fit_logistic(f, {0, 1, 0}, 2), Error);
  EXPECT_THROW(fit_logistic(f, {0, 1, 0, 2}, 2), Error);
  EXPECT_THROW(fit_logistic(f, {0, 0, 0, 0}, 1), Error);
  EXPECT_THROW(fit_logistic(f, {0, 1, 0, 1}, 2, {.c = 0.0}), Error);
}

// What the head sees, through the head: of every family that has one linear layer.
TEST(Probe, HeadOfItsFeaturesIsTheModel) {
  int heads = 0;
  for (const testing::Tiny& tiny : testing::tiny_zoo()) {
    RandomSource source(3);
    const auto model = make_model(tiny.family->name, tiny.config, Weights(source, WeightMode::train));
    if (!model->sees() || model->num_classes() == 0 || model->inputs().front().name != "images") continue;
    LinearHead head;
    try {
      head = linear_head(*model);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("change with the number of classes"), std::string::npos);
      continue;
    }
    ++heads;
    const Tensor pictures = testing::random_tensor({2, 1, 32, 32}, 7);
    const Tensor features = headless(*model, head)->forward(Context{}, Var(pictures.clone())).value(),
                 logits = model->forward(Context{}, Var(pictures.clone())).value();
    Tensor weight, bias;
    for (const Parameter& p : model->parameters()) {
      if (p.name == head.weight) weight = p.value.value();
      if (p.name == head.bias) bias = p.value.value();
    }
    ASSERT_EQ(features.shape(), Shape({2, head.width})) << tiny.name;
    for (std::int64_t n = 0; n < 2; ++n)
      for (std::int64_t k = 0; k < logits.dim(1); ++k) {
        double sum = bias.defined() ? bias[k] : 0.0;
        for (std::int64_t c = 0; c < head.width; ++c)
          sum += static_cast<double>(features[n * head.width + c]) *
                 static_cast<double>(weight[k * head.width + c]);
        EXPECT_NEAR(logits[n * logits.dim(1) + k], sum, 1e-4 * std::max(1.0, std::abs(sum))) << tiny.name;
      }
  }
  EXPECT_GT(heads, 20);
}

TEST(Recipe, SetsWhatNobodyGave) {
  TrainOptions options;
  options.lr = 0.25;
  options.init = "model.safetensors";
  options.out = "somewhere";
  const auto lines =
      apply_recipe("finetune", options, [](const std::string& field) { return field == "lr"; });
  EXPECT_EQ(options.lr, 0.25);
  EXPECT_EQ(options.layer_decay, 0.75);
  EXPECT_EQ(options.out, "somewhere");
  EXPECT_NE(std::find(lines.begin(), lines.end(), "lr 0.25 (given)"), lines.end());
  EXPECT_NE(std::find(lines.begin(), lines.end(), "layer_decay 0.75"), lines.end());
  TrainOptions brief = options;
  brief.epochs = 1;
  brief.lr = 1e-7;
  apply_recipe("scratch", brief, [](const std::string& field) { return field == "lr" || field == "epochs"; });
  EXPECT_NO_THROW((brief.model = "vit_tiny", brief.check()));
  brief.init.clear();
  EXPECT_THROW(apply_recipe("finetune", brief, [](const std::string&) { return false; }), Error);
  EXPECT_THROW(apply_recipe("fast", options, [](const std::string&) { return false; }), Error);
}

class FineTune : public testing::TrainRun {};

TEST_F(FineTune, BatchesOfAStepAreOneStep) {
  TrainOptions whole = options("whole", testing::kVit), parts = options("parts", testing::kVit);
  whole.drop_path = parts.drop_path = 0.0;  // drawn batch by batch
  whole.optimizer = parts.optimizer = "sgd";
  parts.batch = 4;
  parts.grad_accum = 4;
  const TrainResult one = train(whole), other = train(parts);
  EXPECT_EQ(one.step, other.step);
  const auto a = tensors_of(model_path(whole.out)), b = tensors_of(model_path(parts.out));
  for (const auto& [name, values] : a)
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], b.at(name)[i], 2e-5) << name;
}

TEST_F(FineTune, WhatIsFrozenStandsStill) {
  // TinyViT, for its batch norms.
  constexpr const char* kTinyVit =
      R"({"family":"tiny_vit","img_size":32,"in_chans":1,"dims":[16,16,16,16],"depths":[1,1,1,1],"heads":[2,2,2,2],"windows":[2,2,2,2]})";
  TrainOptions begin = options("begin", kTinyVit);
  begin.epochs = 1;
  train(begin);
  TrainOptions o = options("frozen", "");
  o.init = model_path(begin.out);
  o.freeze = 3;
  o.freeze_names = {"head.weight"};
  o.ema = 0.0;
  o.drop_path = -1.0;
  o.layer_decay = 0.5;
  train(o);
  const auto before = tensors_of(model_path(begin.out)), after = tensors_of(model_path(o.out));
  const LoadedModel loaded = load_model(model_path(o.out), {.mode = WeightMode::shapes});
  const Model& model = *loaded.model;
  const Layers layers = layers_of(model.parameters());
  int still = 0, moved = 0;
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    const std::string& name = model.parameters()[i].name;
    const bool frozen = layers.of[i] < 3 || name == "head.weight";
    (frozen ? still : moved) += 1;
    ASSERT_TRUE(before.count(name) == 1 && after.count(name) == 1) << name;
    EXPECT_EQ(before.at(name) == after.at(name), frozen) << name;
  }
  EXPECT_GT(still, 10);
  EXPECT_GT(moved, 10);
}

// Blocks that are computed twice: dropped paths are the same ones.
TEST_F(FineTune, CheckpointedBlocksGiveTheSameBits) {
  for (const char* config : {testing::kVit, testing::kSwin}) {
    fs::remove_all(root_ / "plain"), fs::remove_all(root_ / "thrifty");
    TrainOptions plain = options("plain", config), thrifty = options("thrifty", config);
    thrifty.grad_checkpointing = true;
    plain.freeze = thrifty.freeze = 1;
    train(plain), train(thrifty);
    expect_same_tensors(state_path(plain.out), state_path(thrifty.out));
  }
}

TEST_F(FineTune, EndsWhenNothingGetsBetter) {
  TrainOptions o = options("patient");
  o.lr = 0.0;
  o.epochs = 9;
  o.patience = 2;
  std::vector<std::string> notes;
  const TrainResult result = train(o, {.note = [&](const std::string& text) { notes.push_back(text); }});
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.epoch, 3);
  EXPECT_EQ(result.best_epoch, 1);
  EXPECT_EQ(result.best_accuracy, result.ema_val_accuracy);
  EXPECT_NE(notes.back().find("no better validation since epoch 1"), std::string::npos);
  expect_same_tensors(best_path(o.out), model_path(o.out));  // nothing moves at rate 0
  o.resume = true;
  EXPECT_EQ(train(o).epoch, 3);
  fs::remove_all(root_ / "data" / "t10k-images-idx3-ubyte");
  TrainOptions blind = options("blind");
  blind.patience = 2;
  EXPECT_NE(error_of(blind).find("needs pictures to validate on"), std::string::npos);
  blind.val_interval = 3;
  EXPECT_NE(error_of(blind).find("ends before the next validation"), std::string::npos);
}

TEST_F(FineTune, ResumesToTheBitWithEveryOption) {
  TrainOptions whole = options("whole");
  whole.batch = 6;
  whole.grad_accum = 2;
  whole.optimizer = "sgd";
  whole.layer_decay = 0.7;
  whole.freeze = 1;
  whole.class_weights = "balanced";
  whole.patience = 5;
  train(whole);
  TrainOptions stopped = whole;
  stopped.out = options("stopped").out;
  int steps = 0;
  train(stopped, {.should_stop = [&] { return ++steps > 9; }});
  stopped.resume = true;
  EXPECT_TRUE(train(stopped).finished);
  expect_same_run(whole, stopped);
  expect_same_tensors(best_path(whole.out), best_path(stopped.out));
}

TEST_F(FineTune, ClassesAreWeighedByTheirPictures) {
  const Datasets data = open_datasets({.path = (root_ / "data").string()}, Preprocess{}, {});
  const std::vector<float> weights = class_weights("balanced", *data.train, data.classes);
  std::vector<double> counts(data.classes.size());
  for (std::int64_t i = 0; i < data.train->size(); ++i)
    ++counts[static_cast<std::size_t>(data.train->label(i))];
  ASSERT_EQ(weights.size(), counts.size());
  for (std::size_t c = 0; c < counts.size(); ++c)
    EXPECT_FLOAT_EQ(weights[c], static_cast<float>(40.0 / (static_cast<double>(counts.size()) * counts[c])));
  EXPECT_TRUE(class_weights("none", *data.train, data.classes).empty());
  EXPECT_THROW(class_weights("heavy", *data.train, data.classes), Error);
}

TEST_F(FineTune, ProbeFitsTheHeadOnKeptFeatures) {
  TrainOptions begin = options("begin", testing::kVit);
  train(begin);
  TrainOptions o = options("probe", "");
  o.init = model_path(begin.out);
  o.drop_path = -1.0;
  o.probe = true;
  o.probe_c = 1e5;
  int asked = 0;
  const TrainResult stopped = train(o, {.should_stop = [&] { return ++asked > 3; }});
  EXPECT_FALSE(stopped.finished);
  EXPECT_FALSE(fs::exists(model_path(o.out)));
  std::vector<std::string> notes;
  const TrainResult result = train(o, {.note = [&](const std::string& text) { notes.push_back(text); }});
  EXPECT_TRUE(result.finished);
  EXPECT_GT(result.val_accuracy, 0.9);  // of the pictures that it was fitted to
  const bool recalled = std::any_of(notes.begin(), notes.end(), [](const std::string& text) {
    return text.find("are there already") != std::string::npos;
  });
  EXPECT_TRUE(recalled);
  const auto before = tensors_of(model_path(begin.out)), after = tensors_of(model_path(o.out));
  for (const auto& [name, values] : before)
    EXPECT_EQ(values == after.at(name), name.find("head.") != 0) << name;
  // Without the interruption the same bits; of another checkpoint other features.
  TrainOptions straight = o;
  straight.out = options("straight", "").out;
  train(straight);
  expect_same_tensors(model_path(straight.out), model_path(o.out));
  TrainOptions again = o;
  again.force = true;
  again.init = model_path(o.out);  // another head alone: the features stand
  notes.clear();
  train(again, {.note = [&](const std::string& text) { notes.push_back(text); }});
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& text) {
    return text.find("features of 80 pictures") != std::string::npos;
  }));
  expect_same_tensors(model_path(straight.out), model_path(o.out));
  o.force = true;
  o.init.clear();
  o.config = testing::kVit;
  EXPECT_NE(error_of(o).find("--init"), std::string::npos);
}

}  // namespace finetune_test
}  // namespace locant
