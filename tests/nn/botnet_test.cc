#include "nn/botnet.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/activation.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace botnet_test {

BotnetBlock::Options block_options() {
  BotnetBlock::Options options;
  options.in = options.out = 8;
  options.proj_factor = 2;
  options.heads = 2, options.head_width = 3;
  options.rows = 4, options.columns = 6;
  return options;
}

// Names and shapes that lucidrains' checkpoints have.
TEST(BotnetBlock, AsksForTheOfficialTensors) {
  ShapeSource source;
  const Weights w(source, WeightMode::shapes);
  BotnetBlock::Options options = block_options();
  options.downsample = true;
  const BotnetBlock block(w, options);
  const auto shape = [&](const std::string& name) {
    for (const Parameter& p : w.parameters())
      if (p.name == name) return p.shape.str();
    return std::string("none");
  };
  EXPECT_EQ(shape("shortcut.0.weight"), "(8, 8, 3, 3)");
  EXPECT_EQ(shape("net.0.weight"), "(4, 8, 1, 1)");
  EXPECT_EQ(shape("net.3.to_qkv.weight"), "(18, 4, 1, 1)");
  EXPECT_EQ(shape("net.3.pos_emb.rel_height"), "(7, 3)");
  EXPECT_EQ(shape("net.3.pos_emb.rel_width"), "(11, 3)");
  EXPECT_EQ(shape("net.5.running_var"), "(6)");
  EXPECT_EQ(shape("net.7.weight"), "(8, 6, 1, 1)");
  EXPECT_EQ(w.parameters().size(), 22U);
}

// Equal sides need no shortcut, and the last norm starts at zero: a new block is the ReLU of its input.
TEST(BotnetBlock, StartsAsTheIdentity) {
  RandomSource source(3);
  const Weights w(source, WeightMode::train);
  const BotnetBlock block(w, block_options());
  for (const Parameter& p : w.parameters()) EXPECT_EQ(p.name.find("shortcut"), std::string::npos);
  const Var x(testing::random_tensor({2, 8, 4, 6}, 1));
  const Tensor got = block({}, x).value();
  const Tensor want = relu({}, x).value();
  for (std::int64_t i = 0; i < got.numel(); ++i) EXPECT_EQ(got[i], want[i]);
}

TEST(BotnetStack, HalvesTheMapOnce) {
  RandomSource source(4);
  const Weights w(source, WeightMode::train);
  BotnetBlock::Options options = block_options();
  options.out = 12;
  options.downsample = true;
  const BotnetStack stack(w, options, 2);
  EXPECT_EQ(stack({}, Var(testing::random_tensor({1, 8, 4, 6}, 1))).shape(), (Shape{1, 12, 2, 3}));
  EXPECT_THROW(BotnetStack(w, options, 0), Error);
}

TEST(BotnetAttention, RefusesWhatDoesNotFit) {
  RandomSource source(5);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(BotnetAttention(w, {4, 0, 3, 2, 2, true}), Error);
  EXPECT_THROW(BotnetAttention(w, {4, 2, 3, 0, 2, true}), Error);
  EXPECT_THROW(BotnetAttention(w, {4, 2, 3, 2, -1, false}), Error);
  const BotnetAttention layer(w, {4, 2, 3, 2, 3, true});
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 4, 3, 2}))), Error);
  BotnetBlock::Options options = block_options();
  options.proj_factor = 3;
  EXPECT_THROW(BotnetBlock(w, options), Error);
}

}  // namespace botnet_test
}  // namespace locant
