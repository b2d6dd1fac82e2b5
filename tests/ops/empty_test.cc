// A batch of zero and rows of no width: every operation answers with an empty result, gradients of weights
// that are zero, and never with numbers that nobody wrote.

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/pool.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/attention/attention.h"
#include "ops/axis_index.h"
#include "ops/axis_products.h"
#include "ops/batch_norm.h"
#include "ops/channel_gate.h"
#include "ops/conv1d.h"
#include "ops/conv2d.h"
#include "ops/conv_transpose2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/linear_attention.h"
#include "ops/loss.h"
#include "ops/mask_loss.h"
#include "ops/norm.h"
#include "ops/pool2d.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "ops/rotate.h"
#include "ops/separable_softmax.h"
#include "ops/softmax.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace empty_test {

using testing::random_tensor;
using Inputs = std::vector<Var>;

/// Fills idle buffers of these sizes, so that numbers which nobody writes are not zero by luck.
void soil_pool() {
  std::vector<Tensor> held;
  for (std::int64_t size = 1; size <= 4096; size *= 2)
    for (int copy = 0; copy < 8; ++copy) held.push_back(Tensor::full({size}, std::nanf("")));
}

/// Runs the op and its backward. Without any input number in the batch the result depends on nothing, and all
/// gradients are zero.
template <class Op>
void expect_empty(const std::string& what, const std::vector<Shape>& shapes, const Shape& result,
                  const Op& op) {
  SCOPED_TRACE(what);
  soil_pool();
  Tape tape;
  Rng rng(1);
  const Context ctx{.tape = &tape, .train = true, .rng = &rng};
  Inputs leaves;
  for (std::size_t i = 0; i < shapes.size(); ++i) leaves.emplace_back(random_tensor(shapes[i], i + 1), true);
  try {
    const Var y = op(ctx, leaves);
    EXPECT_EQ(y.shape(), result);
    for (const float x : y.value().values()) EXPECT_EQ(x, 0.0f);
    EXPECT_TRUE(y.requires_grad());
    tape.backward({{y, Tensor::full(y.shape(), 1.0f)}});
  } catch (const Error& error) {
    FAIL() << error.what();
  }
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    ASSERT_TRUE(leaves[i].grad().defined());
    EXPECT_EQ(leaves[i].grad().shape(), shapes[i]);
    for (const float x : leaves[i].grad().values()) EXPECT_EQ(x, 0.0f);
  }
}

constexpr std::int64_t kNone = 0;

TEST(Empty, ElementwiseOps) {
  struct Named {
    const char* name;
    Var (*op)(const Context&, const Var&);
  };
  for (const Named& f : {Named{"relu", relu},
                         {"relu6", relu6},
                         {"sigmoid", sigmoid},
                         {"tanh", tanh},
                         {"silu", silu},
                         {"hard_sigmoid", hard_sigmoid},
                         {"hard_swish", hard_swish},
                         {"quick_gelu", quick_gelu},
                         {"elu", elu},
                         {"gelu", gelu},
                         {"exp", exp},
                         {"softmax", softmax}}) {
    const auto op = [&](const Context& ctx, const Inputs& v) { return f.op(ctx, v[0]); };
    for (const Shape& shape : {Shape{0, 3, 4}, Shape{2, 3, 0}, Shape{0}})
      expect_empty(f.name, {shape}, shape, op);
  }
  for (const Shape& shape : {Shape{0, 3, 4}, Shape{2, 3, 0}}) {
    const auto each = [&](const char* what, const auto& op) {
      expect_empty(what, {shape}, shape, [&](const Context& ctx, const Inputs& v) { return op(ctx, v[0]); });
    };
    each("affine", [](const Context& ctx, const Var& x) { return affine(ctx, x, 2.0f, 1.0f); });
    each("clamp_max", [](const Context& ctx, const Var& x) { return clamp_max(ctx, x, 1.0f); });
    each("l2_normalize", [](const Context& ctx, const Var& x) { return l2_normalize(ctx, x); });
    each("dropout", [](const Context& ctx, const Var& x) { return dropout(ctx, x, 0.5f); });
    each("drop_path", [](const Context& ctx, const Var& x) { return drop_path(ctx, x, 0.5f); });
    const Shape half = shape.with_last(shape[-1] / 2);
    expect_empty("glu", {shape}, half, [](const Context& ctx, const Inputs& v) { return glu(ctx, v[0]); });
    expect_empty("swiglu", {shape}, half,
                 [](const Context& ctx, const Inputs& v) { return swiglu(ctx, v[0]); });
  }
}

TEST(Empty, BroadcastingOps) {
  const auto pair = [](const char* what, const Shape& a, const Shape& b, const Shape& y, const auto& op) {
    expect_empty(what, {a, b}, y, [&](const Context& ctx, const Inputs& v) { return op(ctx, v[0], v[1]); });
  };
  for (const auto& [a, b] : {std::pair<Shape, Shape>{{0, 3, 4}, {4}},
                             {{0, 3, 4}, {1, 3, 4}},
                             {{2, 3, 0}, {0}},
                             {{0, 3, 4}, {0, 3, 4}}}) {
    pair("add", a, b, a, add);
    pair("multiply", a, b, a, multiply);
    pair("add_broadcast", a, b, a, add_broadcast);
  }
  for (const Shape& x : {Shape{0, 3, 4}, Shape{2, 3, 0}}) {
    const Shape gamma{x[-1]};
    pair("layer_scale", x, gamma, x,
         [](const Context& ctx, const Var& v, const Var& g) { return layer_scale(ctx, v, g, Var()); });
    expect_empty("layer_scale with a residual", {x, gamma, x}, x,
                 [](const Context& ctx, const Inputs& v) { return layer_scale(ctx, v[0], v[1], v[2]); });
  }
  for (int axis = 0; axis < 3; ++axis)
    for (const Shape& x : {Shape{0, 3, 4}, Shape{2, 3, 0}}) {
      std::vector<std::int64_t> kept(x.extents().begin(), x.extents().end());
      kept[static_cast<std::size_t>(axis)] = 1;
      expect_empty("sum_axis " + std::to_string(axis), {x}, Shape(std::span<const std::int64_t>(kept)),
                   [axis](const Context& ctx, const Inputs& v) { return sum_axis(ctx, v[0], axis); });
    }
}

TEST(Empty, MatrixProducts) {
  const auto with_bias = [](const Context& ctx, const Inputs& v) { return linear(ctx, v[0], v[1], v[2]); };
  const auto plain = [](const Context& ctx, const Inputs& v) { return linear(ctx, v[0], v[1], Var()); };
  expect_empty("linear, no rows", {{0, 5, 4}, {6, 4}, {6}}, {0, 5, 6}, with_bias);
  expect_empty("linear, no rows, no bias", {{0, 5, 4}, {6, 4}}, {0, 5, 6}, plain);
  expect_empty("linear, no inputs", {{3, 5, 0}, {6, 0}}, {3, 5, 6}, plain);
  expect_empty("linear, no outputs", {{3, 5, 4}, {0, 4}, {0}}, {3, 5, 0}, with_bias);
  for (const bool a : {false, true})
    for (const bool b : {false, true}) {
      const auto op = [=](const Context& ctx, const Inputs& v) {
        return product(ctx, v[0], v[1], {.transpose_a = a, .transpose_b = b});
      };
      const auto shape = [](bool turned, std::int64_t batch, std::int64_t rows, std::int64_t columns) {
        return turned ? Shape{batch, columns, rows} : Shape{batch, rows, columns};
      };
      expect_empty("product, no batch", {shape(a, 0, 2, 3), shape(b, 0, 3, 4)}, {0, 2, 4}, op);
      expect_empty("product, no depth", {shape(a, 5, 2, 0), shape(b, 5, 0, 4)}, {5, 2, 4}, op);
      expect_empty("product, no rows", {shape(a, 5, 0, 3), shape(b, 5, 3, 4)}, {5, 0, 4}, op);
      expect_empty("product, shared, no batch", {shape(a, 0, 2, 3), b ? Shape{4, 3} : Shape{3, 4}}, {0, 2, 4},
                   op);
    }
  const auto heads = [](const Context& ctx, const Inputs& v) { return head_products(ctx, v[0], 2, v[1]); };
  expect_empty("head_products", {{0, 3, 8}, {5, 4}}, {0, 3, 2, 5}, heads);
  expect_empty("head_products, a table a head", {{0, 3, 8}, {2, 5, 4}}, {0, 3, 2, 5}, heads);
  expect_empty("head_products, no width", {{2, 3, 0}, {5, 0}}, {2, 3, 2, 5}, heads);
}

TEST(Empty, AxisProducts) {
  const auto index = std::make_shared<const AxisIndex>(std::vector<std::int32_t>{0, 1, 1, 0}, 2, 3,
                                                       std::vector<std::int32_t>{0, 1, 2, 2, 1, 0});
  const auto op = [&](const Context& ctx, const Inputs& v) {
    return axis_products(ctx, v[0], 2, v[1], index);
  };
  for (const bool own : {false, true}) {
    const Shape table = own ? Shape{2, 3, 4} : Shape{3, 4}, thin = own ? Shape{2, 3, 0} : Shape{3, 0};
    expect_empty("axis_products, no batch", {{0, 4, 8}, table}, {0, 4, 2, 3}, op);
    expect_empty("axis_products, no width", {{2, 4, 0}, thin}, {2, 4, 2, 3}, op);
  }
}

TEST(Empty, LinearOfNoInputsIsTheBias) {
  soil_pool();
  const Tensor bias = random_tensor({6}, 3);
  const Tensor y = linear_forward(Tensor({3, 5, 0}), Tensor({6, 0}), bias);
  for (std::int64_t i = 0; i < y.numel(); ++i) EXPECT_EQ(y[i], bias[i % 6]);
  Tensor dx, dweight, dbias;
  linear_backward(Tensor({3, 5, 0}), Tensor({6, 0}), Tensor::full({3, 5, 6}, 1.0f), &dx, &dweight, &dbias);
  EXPECT_EQ(dx.shape(), (Shape{3, 5, 0}));
  EXPECT_EQ(dweight.shape(), (Shape{6, 0}));
  for (const float x : dbias.values()) EXPECT_EQ(x, 15.0f);
}

TEST(Empty, PackedLinearOfNoRows) {
  const PackedLinear packed(random_tensor({6, 4}, 1), random_tensor({6}, 2));
  for (const Activation act : {Activation::none, Activation::gelu}) {
    EXPECT_EQ(packed.forward(Tensor({0, 4}), act, Tensor()).shape(), (Shape{0, 6}));
    EXPECT_EQ(packed.forward(Tensor({2, 0, 4}), act, Tensor({2, 0, 6})).shape(), (Shape{2, 0, 6}));
  }
}

TEST(Empty, Convolutions) {
  struct Case {
    const char* name;
    std::int64_t C, out, groups;
  };
  for (const Case& c : {Case{"dense", 4, 6, 1}, {"grouped", 4, 6, 2}, {"depthwise", 4, 8, 4}}) {
    const std::string name = c.name;
    const auto conv = [&](const Context& ctx, const Inputs& v) {
      Conv2dOptions o;
      o.groups = c.groups, o.pad_rows = o.pad_columns = 1;
      return conv2d(ctx, v[0], v[1], v[2], o);
    };
    expect_empty(name + " conv2d", {{0, c.C, 5, 7}, {c.out, c.C / c.groups, 3, 3}, {c.out}}, {0, c.out, 5, 7},
                 conv);
    const auto up = [&](const Context& ctx, const Inputs& v) {
      ConvTranspose2dOptions o;
      o.groups = c.groups, o.stride_rows = o.stride_columns = 2;
      return conv_transpose2d(ctx, v[0], v[1], v[2], o);
    };
    expect_empty(name + " conv_transpose2d", {{0, c.C, 5, 7}, {c.C, c.out / c.groups, 2, 2}, {c.out}},
                 {0, c.out, 10, 14}, up);
    const auto line = [&](const Context& ctx, const Inputs& v) {
      return conv1d(ctx, v[0], v[1], v[2], Conv1dOptions::same(3, c.groups));
    };
    expect_empty(name + " conv1d", {{0, c.C, 9}, {c.out, c.C / c.groups, 3}, {c.out}}, {0, c.out, 9}, line);
  }
}

TEST(Empty, Norms) {
  expect_empty("layer_norm", {{0, 5, 4}, {4}, {4}}, {0, 5, 4},
               [](const Context& ctx, const Inputs& v) { return layer_norm(ctx, v[0], v[1], v[2], 1e-5f); });
  for (const ChannelAxis channels : {ChannelAxis::second, ChannelAxis::last}) {
    const Shape shape = channels == ChannelAxis::second ? Shape{0, 4, 5, 6} : Shape{0, 5, 4};
    expect_empty("batch_norm", {shape, {4}, {4}}, shape, [&](const Context& ctx, const Inputs& v) {
      Context still = ctx;
      still.train = false;
      Tensor mean = Tensor::zeros({4}), var = Tensor::full({4}, 1.0f);
      return batch_norm(still, v[0], v[1], v[2], mean, var, {.channels = channels});
    });
    // A variance to train on takes two values a channel: said, and the running ones stay as they are.
    Tape tape;
    const Context ctx{.tape = &tape, .train = true};
    Tensor mean = Tensor::zeros({4}), var = Tensor::full({4}, 1.0f);
    EXPECT_THROW(batch_norm(ctx, Var(Tensor(shape)), Var(), Var(), mean, var, {.channels = channels}), Error);
    for (std::int64_t c = 0; c < 4; ++c) EXPECT_TRUE(mean[c] == 0.0f && var[c] == 1.0f);
  }
}

TEST(Empty, Pooling) {
  for (const Shape& x : {Shape{0, 4, 6, 8}, Shape{2, 0, 6, 8}}) {
    const Shape pooled{x[0], x[1], 3, 4}, cells{x[0], x[1], 2, 3};
    expect_empty("max_pool2d", {x}, pooled,
                 [](const Context& ctx, const Inputs& v) { return max_pool2d(ctx, v[0], {}); });
    expect_empty("average_pool2d", {x}, pooled,
                 [](const Context& ctx, const Inputs& v) { return average_pool2d(ctx, v[0], {}); });
    expect_empty("adaptive_average_pool2d", {x}, cells, [](const Context& ctx, const Inputs& v) {
      return adaptive_average_pool2d(ctx, v[0], 2, 3);
    });
  }
  for (const Shape& x : {Shape{0, 5, 4}, Shape{2, 5, 0}})
    expect_empty("mean_pool", {x}, {x[0], x[2]},
                 [](const Context& ctx, const Inputs& v) { return mean_pool(ctx, v[0], 1); });
  expect_empty("squeeze_excite", {{0, 4, 5, 5}, {2, 4}, {2}, {4, 2}, {4}}, {0, 4, 5, 5},
               [](const Context& ctx, const Inputs& v) {
                 return squeeze_excite(ctx, v[0], v[1], v[2], v[3], v[4], Gate::sigmoid);
               });
  expect_empty("efficient_channel_attention", {{0, 4, 5, 5}, {1, 1, 3}}, {0, 4, 5, 5},
               [](const Context& ctx, const Inputs& v) {
                 return efficient_channel_attention(ctx, v[0], v[1], Gate::sigmoid);
               });
}

TEST(Empty, Layouts) {
  const auto one = [](const char* what, const Shape& x, const Shape& y, const auto& op) {
    expect_empty(what, {x}, y, [&](const Context& ctx, const Inputs& v) { return op(ctx, v[0]); });
  };
  for (const std::int64_t B : {kNone, std::int64_t{2}}) {
    const std::int64_t C = B == 0 ? 4 : 0;
    one("select_rows", {B, 5, C}, {B, 2, C},
        [](const Context& ctx, const Var& x) { return select_rows(ctx, x, 1, 3); });
    one("slice_axis", {B, 5, C}, {B, 2, C},
        [](const Context& ctx, const Var& x) { return slice_axis(ctx, x, 1, 1, 3); });
    one("permute", {B, 5, C}, {C, B, 5}, [](const Context& ctx, const Var& x) {
      return permute(ctx, x, {2, 0, 1});
    });
    one("tokens_to_images", {B, 6, C}, {B, C, 2, 3},
        [](const Context& ctx, const Var& x) { return tokens_to_images(ctx, x, 2, 3); });
    one("images_to_tokens", {B, C, 2, 3}, {B, 6, C},
        [](const Context& ctx, const Var& x) { return images_to_tokens(ctx, x); });
    one("merge_patches", {B, 3, 5, C}, {B, 2, 3, 4 * C},
        [](const Context& ctx, const Var& x) { return merge_patches(ctx, x); });
    for (const PatchOrder order : {PatchOrder::channel_row_column, PatchOrder::row_column_channel})
      one("patchify", {B, C, 4, 6}, {B, 6, 4 * C},
          [=](const Context& ctx, const Var& x) { return patchify(ctx, x, 2, 2, order); });
    one("reshape", {B, 5, C}, {5, B, C}, [=](const Context& ctx, const Var& x) {
      return reshape(ctx, x, {5, B, C});
    });
    for (const ResizeRule rule : {ResizeRule::bilinear, ResizeRule::bicubic, ResizeRule::bicubic_antialias})
      one("resize", {B, 3, 4, C}, {B, 5, 2, C},
          [=](const Context& ctx, const Var& x) { return resize(ctx, x, 5, 2, rule); });
    expect_empty("concat_axis", {{B, 2, C}, {B, 3, C}}, {B, 5, C},
                 [](const Context& ctx, const Inputs& v) { return concat_axis(ctx, v, 1); });
    expect_empty("average", {{B, 2, C}, {B, 2, C}}, {B, 2, C},
                 [](const Context& ctx, const Inputs& v) { return average(ctx, v[0], v[1]); });
    expect_empty("concat_rows", {{B, 2, C}, {B, 3, C}}, {B, 5, C},
                 [](const Context& ctx, const Inputs& v) { return concat_rows(ctx, v); });
  }
  // A class token stands before every picture: of none its gradient is zero, wherever it stands.
  const auto rows = [](const Context& ctx, const Inputs& v) { return concat_rows(ctx, v); };
  expect_empty("concat_rows, a shared part first", {{1, 1, 4}, {0, 3, 4}}, {0, 4, 4}, rows);
  expect_empty("concat_rows, a shared part last", {{0, 3, 4}, {1, 1, 4}}, {0, 4, 4}, rows);
  expect_empty("gather_rows, no rows", {{5, 4}}, {0, 4},
               [](const Context& ctx, const Inputs& v) { return gather_rows(ctx, v[0], {}); });
  expect_empty("gather_rows, no width", {{5, 0}}, {2, 0}, [](const Context& ctx, const Inputs& v) {
    return gather_rows(ctx, v[0], {1, 4});
  });
}

TEST(Empty, Attention) {
  for (const bool composed : {false, true}) {
    const std::string path = composed ? "composed " : "fused ";
    const auto call = [=](const Context& ctx, const Var& q, const Var& k, const Var& v,
                          const AttentionOptions& o) {
      return composed ? attention_composed(ctx, q, k, v, o) : attention(ctx, q, k, v, o);
    };
    const auto plain = [&](const Context& ctx, const Inputs& v) {
      AttentionOptions o;
      o.heads = 2;
      return call(ctx, v[0], v[1], v[2], o);
    };
    expect_empty(path + "attention", {{0, 5, 8}, {0, 6, 8}, {0, 6, 4}}, {0, 5, 4}, plain);
    expect_empty(path + "attention, no keys", {{2, 5, 8}, {2, 0, 8}, {2, 0, 4}}, {2, 5, 4}, plain);
    expect_empty(path + "attention, no queries", {{2, 0, 8}, {2, 6, 8}, {2, 6, 4}}, {2, 0, 4}, plain);
    expect_empty(path + "joint attention", {{0, 5, 24}}, {0, 5, 8}, [=](const Context& ctx, const Inputs& v) {
      AttentionOptions o;
      o.heads = 2;
      return composed ? attention_composed(ctx, v[0], o) : attention(ctx, v[0], o);
    });
    auto gather = std::make_shared<OffsetMap>();
    for (std::int32_t i = 0; i < 5; ++i) gather->query_code.push_back(i);
    for (std::int32_t j = 0; j < 6; ++j) gather->key_code.push_back(j);
    gather->origin = 5;
    gather->offsets = 10;
    const auto with_term = [&](const char* what, const Shape& table, const auto& make) {
      expect_empty(path + what, {{0, 5, 8}, {0, 6, 8}, {0, 6, 4}, table}, {0, 5, 4},
                   [&](const Context& ctx, const Inputs& v) {
                     AttentionOptions o;
                     o.heads = 2;
                     o.terms = {make(v[3])};
                     return call(ctx, v[0], v[1], v[2], o);
                   });
    };
    with_term("attention + dense", {2, 5, 6}, [](const Var& x) { return dense_term(x); });
    with_term("attention + gather", {10, 2}, [&](const Var& x) { return gather_term(x, gather); });
    with_term("attention + bucket", {0, 5, 2, 10},
              [&](const Var& x) { return bucket_term(Side::query, x, gather); });
    with_term("attention + band", {10, 4}, [&](const Var& x) { return band_term(Side::key, x, gather); });
  }
}

TEST(Empty, OtherAttention) {
  LinearAttentionOptions o;
  o.heads = 2;
  for (const bool causal : {false, true}) {
    o.causal = causal;
    expect_empty(
        "linear_attention", {{0, 5, 8}, {0, 5, 8}, {0, 5, 4}}, {0, 5, 4},
        [&](const Context& ctx, const Inputs& v) { return linear_attention(ctx, v[0], v[1], v[2], o); });
    expect_empty("linear_attention_composed", {{0, 5, 8}, {0, 5, 8}, {0, 5, 4}}, {0, 5, 4},
                 [&](const Context& ctx, const Inputs& v) {
                   return linear_attention_composed(ctx, v[0], v[1], {}, {}, v[2], o);
                 });
  }
  o.causal = false;
  expect_empty(
      "linear_attention, no keys", {{2, 5, 8}, {2, 0, 8}, {2, 0, 4}}, {2, 5, 4},
      [&](const Context& ctx, const Inputs& v) { return linear_attention(ctx, v[0], v[1], v[2], o); });
  expect_empty("separable_softmax", {{2, 2, 3}, {2, 2, 3}, {0, 9, 8}}, {0, 4, 8},
               [](const Context& ctx, const Inputs& v) { return separable_softmax(ctx, v[0], v[1], v[2]); });
  expect_empty("gated_sum", {{0, 5, 8}, {0, 5, 8}, {2}}, {0, 5, 8},
               [](const Context& ctx, const Inputs& v) { return gated_sum(ctx, v[0], v[1], v[2]); });
  for (const Shape& angles : {Shape{5, 2}, Shape{5, 2, 2}})
    expect_empty("rotate", {{0, 5, 8}, angles}, {0, 5, 8}, [](const Context& ctx, const Inputs& v) {
      return rotate(ctx, v[0], 2, rotary_table(v[1]), Pairing::halves);
    });
}

// Means over nothing do not exist: a sentence says so. Losses of masks are one a mask.
TEST(Empty, Losses) {
  EXPECT_THROW(cross_entropy({}, Var(Tensor({0, 5})), {}, 0.0f), Error);
  const Tensor none({0, 5});
  expect_empty("focal_loss", {{0, 5}}, {0},
               [&](const Context& ctx, const Inputs& v) { return focal_loss(ctx, v[0], none); });
  expect_empty("dice_loss", {{0, 5}}, {0},
               [&](const Context& ctx, const Inputs& v) { return dice_loss(ctx, v[0], none); });
}

}  // namespace empty_test
}  // namespace locant
