#include "io/sharded.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/io/mutate.h"

namespace locant {
namespace sharded_test {

namespace fs = std::filesystem;
using testing::error_of;
using testing::Folder;

const std::string kData = LOCANT_TEST_DATA "/io/";

void put(const std::string& path, const std::string& text) {
  testing::write_bytes(path, testing::bytes_of(text));
}

void expect_in(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nshould hold: " << part;
}

/// Two shards of a, b and c, and their index.
struct Shards {
  Folder folder;
  std::string index = folder / "model.safetensors.index.json";

  Shards() {
    write_safetensors(folder / "1.safetensors", {{"a", Tensor::full({2}, 1)}, {"b", Tensor::full({3}, 2)}},
                      {{"format", "pt"}});
    write_safetensors(folder / "2.safetensors", {{"c", Tensor::full({4}, 3)}}, {{"more", "x"}});
    set(R"({"metadata": {"total_size": 36, "deep": [{"weight_map": {}}]},
            "weight_map": {"c": "2.safetensors", "a": "1.safetensors", "b": "1.safetensors"}})");
  }
  void set(const std::string& text) const { put(index, text); }
  std::string refusal() const {
    return error_of([&] { open_tensor_file(index); });
  }
};

TEST(Sharded, IsOneFileOverSeveral) {
  const Shards shards;
  const auto file = open_tensor_file(shards.index);
  EXPECT_EQ(file->format(), "safetensors (2 shards)");
  EXPECT_EQ(file->path(), shards.index);
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(file->tensors()[2].name, "c");
  EXPECT_EQ(file->read("b")[2], 2.0f);
  EXPECT_EQ(file->read("c").shape(), (Shape{4}));
  file->release("c");
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"more", "x"}}));
  EXPECT_TRUE(file->notes().empty());
  expect_in(error_of([&] { file->read("d"); }), "model.safetensors.index.json: there is no tensor \"d\"");
}

TEST(Sharded, ReadsBinShardsThroughLinks) {
  const Folder folder;
  fs::create_directories(folder / "blobs");
  fs::copy_file(kData + "small_no_sums.pth", folder / "blobs/1234");
  fs::create_symlink("blobs/1234", folder / "pytorch_model-00001-of-00001.bin");
  put(folder / "pytorch_model.bin.index.json",
      R"({"weight_map": {"a": "pytorch_model-00001-of-00001.bin", "b": "pytorch_model-00001-of-00001.bin"}})");
  const auto file = open_tensor_file(folder / "pytorch_model.bin.index.json");
  EXPECT_EQ(file->format(), "pth (zip, 1 shard)");
  EXPECT_EQ(file->read("b").shape(), (Shape{3}));
  ASSERT_EQ(file->notes().size(), 1u);
  expect_in(file->notes()[0], "pytorch_model-00001-of-00001.bin: the archive has no check sums");
}

TEST(Sharded, LeavesOutWhatTheIndexDoesNotName) {
  const Shards shards;
  shards.set(R"({"weight_map": {"c": "2.safetensors", "a": "1.safetensors"}})");
  const auto file = open_tensor_file(shards.index);
  EXPECT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->find("b"), nullptr);
  EXPECT_EQ(file->notes(),
            std::vector<std::string>{"1 tensors of the shards are not in the index and left out: b"});
}

TEST(Sharded, NamesWhatIsMissing) {
  const Shards shards;
  shards.set(R"({"weight_map": {"c": "2.safetensors", "d": "2.safetensors"}})");
  expect_in(shards.refusal(), "tensor \"d\" is not in 2.safetensors, where the index has it");
  shards.set(R"({"weight_map": {"c": "2.safetensors", "a": "2.safetensors", "b": "1.safetensors"}})");
  expect_in(shards.refusal(), "tensor \"a\" is not in 2.safetensors");
  shards.set(R"({"weight_map": {"c": "3.safetensors"}})");
  expect_in(shards.refusal(), "the shard 3.safetensors is not beside the index; fetch it too");
  fs::create_symlink("gone", shards.folder / "3.safetensors");
  expect_in(shards.refusal(), "3.safetensors: is a link to gone, which is not there");
  shards.set(R"({"weight_map": {"c": "model.safetensors.index.json"}})");
  expect_in(shards.refusal(), "neither safetensors nor");
}

TEST(Sharded, RefusesIndexesThatAreNone) {
  const auto refusal = [](const std::string& text) {
    return error_of([&] { parse_shard_index(text, "i.json"); });
  };
  for (const char* name : {"", ".", "..", "../x", "/etc/passwd", "a/b", "a\\\\b", "a\\u0000b"})
    expect_in(refusal(fmt::format(R"({{"weight_map": {{"t": "{}"}}}})", name)),
              "i.json: tensor \"t\" is said to be in");
  expect_in(refusal(R"({"weight_map": {"t": "a", "t": "a"}})"), "tensor \"t\" appears twice");
  expect_in(refusal(R"({"weight_map": {"t": "a"}, "weight_map": {"u": "a"}})"),
            "\"weight_map\" appears twice");
  expect_in(refusal(R"({"metadata": {"weight_map": {"t": "a"}}})"),
            "has no \"weight_map\": it is no index of shards");
  expect_in(refusal(R"({"weight_map": {}})"), "names no tensors");
  expect_in(refusal(R"({"weight_map": {"t": 1}})"), "has a number where names are wanted");
  expect_in(refusal(R"({"weight_map": {"t": {}}})"), "has an object where names are wanted");
  expect_in(refusal(R"({"weight_map": {"t": ["a"]}})"), "has an array where names are wanted");
  expect_in(refusal(R"({"weight_map": "a"})"), "is a string where an object is wanted");
  expect_in(refusal(R"({"weight_map": ["a"]})"), "has an array where names are wanted");
  expect_in(refusal("[]"), "is an array where an object is wanted");
  expect_in(refusal("3"), "is a number where an object is wanted");
  expect_in(refusal(R"({"weight_map": {"t": "a"}, )"), "no valid JSON");
  std::string many = "{\"weight_map\": {";
  for (int i = 0; i < 4097; ++i) many += fmt::format("{}\"t{}\": \"s{}\"", i == 0 ? "" : ", ", i, i);
  expect_in(refusal(many + "}}"), "names 4097 shards; up to 4096 are read");
  EXPECT_NO_THROW(parse_shard_index(
      R"({"weight_map": {"t": "a"}, "x": )" + std::string(100000, '[') + std::string(100000, ']') + "}",
      "i.json"));
}

TEST(Sharded, BoundsTheIndex) {
  const Shards shards;
  fs::resize_file(shards.index, (std::uint64_t{64} << 20) + 1);
  expect_in(shards.refusal(), "takes 67108865 bytes; up to 67108864 are read");
}

}  // namespace sharded_test
}  // namespace locant
