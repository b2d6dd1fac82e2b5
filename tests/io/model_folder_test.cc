#include "io/model_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "io/json_text.h"
#include "tests/io/mutate.h"

namespace locant {
namespace model_folder_test {

namespace fs = std::filesystem;
using testing::error_of;
using testing::Folder;

void put(const std::string& path, const std::string& text = "x") {
  fs::create_directories(fs::path(path).parent_path());
  testing::write_bytes(path, testing::bytes_of(text));
}

std::string refusal(const std::string& path) {
  return error_of([&] { find_model_folder(path); });
}

void expect_in(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nshould hold: " << part;
}

TEST(ModelFolder, TakesTheFirstOfTheKnownNames) {
  const Folder folder;
  const char* order[] = {"model.safetensors.index.fp16.json",
                         "model.fp16.safetensors",
                         "open_clip_pytorch_model.bin",
                         "open_clip_model.safetensors",
                         "model.pth",
                         "pytorch_model.pth",
                         "pytorch_model.bin.index.json",
                         "pytorch_model.bin",
                         "model.safetensors.index.json",
                         "model.safetensors"};
  put(folder / "another.safetensors");
  for (const char* name : order) {
    put(folder / name);
    EXPECT_EQ(find_model_folder(folder.path().string()).weights, folder / name);
  }
  EXPECT_EQ(find_model_folder(folder.path().string()).notes,
            std::vector<std::string>{"model.safetensors is used, pytorch_model.bin left"});
}

TEST(ModelFolder, SaysThatItTakesHalfPrecision) {
  const Folder folder;
  put(folder / "model.fp16.safetensors");
  EXPECT_EQ(
      find_model_folder(folder.path().string()).notes,
      std::vector<std::string>{"model.fp16.safetensors is used: there is no file of the whole precision"});
}

TEST(ModelFolder, OtherwiseTakesTheOnlyTensorFile) {
  for (const char* name : {"a.safetensors", "a.pth", "a.pth.tar", "a.bin", "a.pt", "a.ckpt", "a.npz"}) {
    const Folder folder;
    for (const char* other :
         {"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "readme.md"})
      put(folder / other);
    put(folder / name);
    EXPECT_EQ(find_model_folder(folder.path().string()).weights, folder / name);
  }
}

TEST(ModelFolder, AsksWhichOfSeveral) {
  const Folder folder;
  put(folder / "b.pth");
  put(folder / "a.safetensors");
  expect_in(refusal(folder.path().string()), "several tensor files (a.safetensors, b.pth); name one of them");
  fs::rename(folder / "b.pth", folder / "a.pth.tar");
  const ModelFolder found = find_model_folder(folder.path().string());
  EXPECT_EQ(found.weights, folder / "a.safetensors") << "one model in two forms";
  EXPECT_EQ(found.notes, std::vector<std::string>{"a.safetensors is used, a.pth.tar left"});
}

TEST(ModelFolder, NamesWhatAnEmptyFolderLacks) {
  const Folder folder;
  expect_in(refusal(folder.path().string()), "holds no weights (model.safetensors");
  EXPECT_EQ(refusal(folder.path().string()).find("interrupted"), std::string::npos);
  for (const char* name :
       {"flax_model.msgpack", "tf_model.h5", "model.onnx", "model-q4.GGUF", "rust_model.ot"}) {
    const Folder other;
    put(other / name);
    const std::string error = refusal(other.path().string());
    expect_in(error, fmt::format("holds no weights that are read, but {}; it ", name));
  }
}

TEST(ModelFolder, ReadsTheDescriptions) {
  const Folder folder;
  put(folder / "model.safetensors");
  put(folder / "config.json", R"({"model_type": "vit", "quantization_config": null})");
  put(folder / "processor_config.json", R"({"image_processor": {"size": 7}, "other": 1})");
  const std::string path = folder.path().string();
  ModelFolder found = find_model_folder(path);
  EXPECT_EQ(found.config, R"({"model_type": "vit", "quantization_config": null})");
  EXPECT_EQ(found.config_path, folder / "config.json");
  EXPECT_EQ(found.preprocessor, R"({"size":7})");
  EXPECT_EQ(found.preprocessor_path, folder / "processor_config.json");
  EXPECT_TRUE(found.notes.empty());

  put(folder / "preprocessor_config.json", R"({"size": 8})");
  found = find_model_folder(path);
  EXPECT_EQ(found.preprocessor, R"({"size": 8})") << "the plain file counts first";
  EXPECT_EQ(found.preprocessor_path, folder / "preprocessor_config.json");

  found = find_model_folder(path, false);
  EXPECT_EQ(found.weights, folder / "model.safetensors");
  EXPECT_TRUE(found.config.empty() && found.preprocessor.empty() && found.config_path.empty());

  put(folder / "config.json", R"({"auto_map": {"AutoModel": "x.Y"}})");
  found = find_model_folder(path);
  ASSERT_EQ(found.notes.size(), 1u);
  expect_in(found.notes[0], "auto_map names code of the model's own, which is not run");
}

TEST(ModelFolder, FindsWhatLiesBesideAFile) {
  const Folder folder;
  const std::string file = folder / "any.name";
  put(file);
  EXPECT_TRUE(find_model_folder(file).notes.empty());
  put(folder / "config.json", "{}");
  EXPECT_EQ(find_model_folder(file).notes,
            std::vector<std::string>{"config.json beside it is used (--no-folder-config leaves it out)"});
  put(folder / "preprocessor_config.json", "{}");
  const ModelFolder found = find_model_folder(file);
  EXPECT_EQ(found.weights, file);
  EXPECT_EQ(found.config, "{}");
  EXPECT_EQ(found.notes,
            std::vector<std::string>{"config.json and preprocessor_config.json beside it are used "
                                     "(--no-folder-config leaves them out)"});
  EXPECT_TRUE(find_model_folder(file, false).config.empty());
  EXPECT_TRUE(find_model_folder(file, false).notes.empty());
  EXPECT_EQ(find_model_folder(folder / "none").weights, folder / "none")
      << "opening it says that it is not there";
}

TEST(ModelFolder, RefusesAdapters) {
  const Folder folder;
  put(folder / "adapter_model.safetensors");
  const std::string path = folder.path().string();
  expect_in(refusal(path), "holds an adapter (LoRA) for another model; merge it");
  put(folder / "adapter_config.json", R"({"base_model_name_or_path": "org/vit-base"})");
  expect_in(refusal(path),
            "for org/vit-base (base_model_name_or_path); merge it into that model and save the whole");
  EXPECT_EQ(refusal(path).find("to go without it"), std::string::npos);
  expect_in(refusal(folder / "adapter_model.safetensors"), "holds an adapter");
  put(folder / "model.safetensors");
  expect_in(refusal(path), "to go without it, name " + folder / "model.safetensors");
  const ModelFolder named = find_model_folder(folder / "model.safetensors");
  ASSERT_EQ(named.notes.size(), 1u);
  expect_in(named.notes[0], "adapter_config.json beside it is not applied");
}

TEST(ModelFolder, RefusesQuantisedWeights) {
  const Folder folder;
  put(folder / "model.safetensors");
  put(folder / "config.json", R"({"quantization_config": {"quant_method": "bitsandbytes"}})");
  expect_in(refusal(folder.path().string()), "config.json: the weights are quantised (bitsandbytes)");
  expect_in(refusal(folder / "model.safetensors"), "quantised (bitsandbytes)");
  put(folder / "config.json", R"({"quantization_config": []})");
  expect_in(refusal(folder.path().string()), "without quant_method");
}

TEST(ModelFolder, RefusesDamagedDescriptions) {
  const Folder folder;
  put(folder / "model.safetensors");
  const std::string path = folder.path().string();
  for (const char* name : {"config.json", "preprocessor_config.json", "processor_config.json"}) {
    put(folder / name, "{\"a\": ");
    expect_in(refusal(path), std::string(name) + ": is no valid JSON");
    put(folder / name, "[1]");
    expect_in(refusal(path), std::string(name) + ": its JSON is no object");
    put(folder / name, "version https://git-lfs.github.com/spec/v1\n");
    expect_in(refusal(path), std::string(name) + ": is a Git LFS pointer");
    put(folder / name, "{\"a\":" + std::string(101, '[') + std::string(101, ']') + "}");
    expect_in(refusal(path), std::string(name) + ": its JSON is nested more than 100 deep");
    put(folder / name, "{\"a\": \"" + std::string(200, '[') + "\"}");
    EXPECT_NO_THROW(find_model_folder(path)) << "brackets in text are none";
    put(folder / name, "{}" + std::string(kMaxConfigBytes, ' '));
    expect_in(refusal(path), std::string(name) + ": takes 16777218 bytes; up to 16777216 are read");
    fs::remove(folder / name);
  }
}

TEST(ModelFolder, FindsTheSnapshotOfACache) {
  const Folder folder;
  const std::string cache = folder / "models--org--name";
  put(cache + "/blobs/1234");
  fs::create_directories(cache + "/snapshots");
  expect_in(refusal(cache), "the cache holds no snapshot");
  fs::create_directories(cache + "/snapshots/aaaa");
  expect_in(refusal(cache), "snapshots/aaaa: holds no weights");
  put(cache + "/blobs/5678.incomplete");
  expect_in(refusal(cache), "a download of this model was interrupted: fetch it again");

  fs::create_symlink("../../blobs/1234", cache + "/snapshots/aaaa/model.safetensors");
  EXPECT_EQ(find_model_folder(cache).weights, cache + "/snapshots/aaaa/model.safetensors");
  EXPECT_EQ(find_model_folder(cache + "/").weights, cache + "/snapshots/aaaa/model.safetensors");
  put(cache + "/snapshots/bbbb/model.safetensors");
  expect_in(refusal(cache), "several snapshots and no refs/main; name one of them: aaaa, bbbb");
  put(cache + "/refs/main", "bbbb\n");
  EXPECT_EQ(find_model_folder(cache).weights, cache + "/snapshots/bbbb/model.safetensors");
  put(cache + "/refs/main", "cccc");
  expect_in(refusal(cache), "names the snapshot cccc, which is not there");
  for (const char* hostile : {"..", "../../x", "/etc", " \n"}) {
    put(cache + "/refs/main", hostile);
    expect_in(refusal(cache), "names no snapshot");
  }
}

TEST(ModelFolder, NoticesAnInterruptedDownload) {
  const Folder folder;
  const std::string path = folder.path().string();
  fs::create_symlink("blobs/gone", folder / "model.safetensors");
  expect_in(refusal(path),
            "model.safetensors: is a link to blobs/gone, which is not there: the download was interrupted");
  expect_in(refusal(folder / "model.safetensors"), "which is not there: the download was interrupted");
  fs::remove(folder / "model.safetensors");
  put(folder / "model.safetensors");
  fs::create_symlink("blobs/gone", folder / "config.json");
  expect_in(refusal(path), "config.json: is a link to blobs/gone, which is not there");
}

}  // namespace model_folder_test
}  // namespace locant
