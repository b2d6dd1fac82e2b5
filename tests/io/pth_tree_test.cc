#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "io/pth.h"
#include "tests/io/mutate.h"

namespace locant {
namespace pth_tree_test {

const std::string kData = LOCANT_TEST_DATA "/io/";

std::vector<float> values(const TensorFile& file, const std::string& name) {
  const Tensor tensor = file.read(name);
  return {tensor.values().begin(), tensor.values().end()};
}

std::vector<std::string> names(const TensorFile& file) {
  std::vector<std::string> out;
  for (const TensorInfo& info : file.tensors()) out.push_back(info.name);
  return out;
}

bool has_note(const TensorFile& file, const std::string& text) {
  return std::any_of(file.notes().begin(), file.notes().end(),
                     [&](const std::string& note) { return note.find(text) != std::string::npos; });
}

const std::vector<float> kWeight = {0, 0.25, 0.5, 0.75};
const std::vector<float> kBias = {2.25, 2.5};

TEST(PthTree, ListsTrainingStates) {
  for (const char* name : {"training_state.pth", "training_state_legacy.pth"}) {
    SCOPED_TRACE(name);
    const auto file = open_tensor_file(kData + name);
    EXPECT_EQ(names(*file), (std::vector<std::string>{"model.layer.weight", "model.layer.bias",
                                                      "optimizer.state.0.exp_avg"}));
    EXPECT_EQ(values(*file, "model.layer.weight"), kWeight);
    EXPECT_EQ(values(*file, "model.layer.bias"), kBias);
    const std::map<std::string, std::string> expected = {{"optimizer.param_groups.0.lr", "0.1"},
                                                         {"epoch", "3"},
                                                         {"best", "0.75"},
                                                         {"arch", "tiny"},
                                                         {"amp", "true"},
                                                         {"args.lr", "0.1"}};
    EXPECT_EQ(file->metadata(), expected) << "numbers in the list args.layers are none";
    ASSERT_EQ(file->notes().size(), 3u);
    EXPECT_NE(file->notes()[0].find("accuracy: an object of numpy"), std::string::npos);
    EXPECT_EQ(file->notes()[1], "extra: an object of __main__.Opaque passed over");
    EXPECT_EQ(file->notes()[2], "where: an object of torch.device passed over");
  }
}

TEST(PthTree, ListsWhatLightningSaves) {
  const auto file = open_tensor_file(kData + "lightning.pth");
  EXPECT_EQ(values(*file, "state_dict.model.weight"), kWeight);
  EXPECT_EQ(values(*file, "state_dict.model.bias"), kBias);
  EXPECT_EQ(file->find("optimizer_states.0.state.1.exp_avg")->shape, (Shape{2}));
  EXPECT_EQ(file->find("optimizer_states.0.state.1.step")->shape, Shape{});
  EXPECT_EQ(file->metadata().at("hyper_parameters.lr"), "0.125");
  EXPECT_EQ(file->metadata().at("hyper_parameters.net.dim"), "8") << "an EasyDict is a dict";
  EXPECT_EQ(file->metadata().at("callbacks.ModelCheckpoint{'monitor': 'loss.val'}.best_model_path"),
            "a.ckpt");
  EXPECT_TRUE(has_note(*file, "callbacks: an entry whose key is no text"));
}

TEST(PthTree, TakesNoPrefixOff) {
  const auto file = open_tensor_file(kData + "ddp.pth");
  EXPECT_EQ(names(*file), (std::vector<std::string>{"module.weight", "module.bias"}));
  EXPECT_TRUE(file->notes().empty());
}

TEST(PthTree, ListsWhatTimmSaves) {
  const auto file = open_tensor_file(kData + "timm.pth");
  EXPECT_EQ(values(*file, "state_dict.weight"), kWeight);
  EXPECT_EQ(values(*file, "state_dict_ema.weight"), (std::vector<float>{1, 1.25, 1.5, 1.75}));
  EXPECT_NE(file->find("optimizer.state.0.exp_avg_sq"), nullptr);
  EXPECT_EQ(file->metadata().at("args.name"), "tiny");
  EXPECT_EQ(file->metadata().at("amp_scaler.scale"), "65536");
  EXPECT_TRUE(file->notes().empty()) << "betas are shared by the groups, and nobody minds";
}

TEST(PthTree, ListsWhatDinoSaves) {
  const auto file = open_tensor_file(kData + "dino.pth");
  EXPECT_EQ(values(*file, "student.module.backbone.weight"), kWeight);
  EXPECT_EQ(values(*file, "teacher.backbone.bias"), (std::vector<float>{4.25, 4.5}));
  EXPECT_EQ(file->find("dino_loss.center")->shape, (Shape{1, 4}));
}

TEST(PthTree, ListsAnAveragedModel) {
  const auto file = open_tensor_file(kData + "swa.pth");
  EXPECT_EQ(names(*file), (std::vector<std::string>{"n_averaged", "module.weight", "module.bias"}));
  EXPECT_EQ(file->find("n_averaged")->dtype, DType::i64);
  EXPECT_EQ(values(*file, "n_averaged"), (std::vector<float>{0}));
}

TEST(PthTree, KeepsOddTrees) {
  const auto file = open_tensor_file(kData + "odd_tree.pth");
  EXPECT_EQ(names(*file),
            (std::vector<std::string>{"a.w", "c.again", "c.5.w", "x.y", "x.z.0", "x.z.1.0", "deep.d.w"}));
  EXPECT_EQ(values(*file, "c.again"), values(*file, "a.w")) << "one tensor under two names";
  EXPECT_EQ(values(*file, "x.y"), (std::vector<float>{0.5, 0.75})) << "the first of two";
  EXPECT_TRUE(file->metadata().empty());
  EXPECT_TRUE(has_note(*file, "b: a container that occurs before, passed over"));
  EXPECT_TRUE(has_note(*file, "x.y: a second tensor of this name passed over"));
  EXPECT_TRUE(has_note(*file, "(top): an entry whose key is no text passed over"));
  EXPECT_TRUE(has_note(*file, "(top): an entry whose name is longer than 1024 characters passed over"));
  EXPECT_TRUE(has_note(*file, "what is nested more than 32 deep passed over"));
  EXPECT_EQ(file->notes().size(), 5u);
}

TEST(PthTree, NamesALoneTensor) {
  const auto file = open_tensor_file(kData + "one_tensor.pth");
  EXPECT_EQ(names(*file), (std::vector<std::string>{"tensor"}));
}

TEST(PthTree, FlattensNestedDicts) {
  const auto file = open_tensor_file(kData + "nested.pth");
  EXPECT_EQ(names(*file), (std::vector<std::string>{"encoder.a", "encoder.parts.0"}));
  EXPECT_EQ(file->metadata().at("note"), "nested");
}

TEST(PthTree, SurvivesChangedBytes) {
  const auto parse = [](std::span<const std::byte> bytes) { return parse_pth(bytes, "hostile.pth"); };
  std::uint64_t seed = 31;
  for (const char* name : {"lightning.pth", "dino.pth", "odd_tree.pth"}) {
    SCOPED_TRACE(name);
    const int fine = testing::flip_bytes(parse, testing::read_bytes(kData + name), 1000, seed++);
    EXPECT_GT(fine, 0);
    EXPECT_LT(fine, 1000);
  }
}

}  // namespace pth_tree_test
}  // namespace locant
