#include "io/foreign_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "io/tensor_file.h"
#include "tests/io/mutate.h"

namespace locant {
namespace foreign_files_test {

using testing::error_of;
using testing::raw;

const std::string kData = LOCANT_TEST_DATA "/io/";

TEST(ForeignFiles, AreNamedByTheirContent) {
  const testing::Folder folder;
  const auto error = [&](const std::string& text, const std::string& name = "model.bin") {
    testing::write_bytes(folder / name, testing::bytes_of(text));
    return error_of([&] { open_tensor_file(folder / name); });
  };
  struct Case {
    std::string text;
    const char* what;
  };
  std::string tar(1024, '\0');
  tar.replace(0, 7, "model/x");
  tar.replace(257, 5, "ustar");
  const Case cases[] = {
      {raw("GGUF\x03\x00\x00\x00\x01\x00\x00\x00"), "GGUF file of llama.cpp"},
      {raw("\x89HDF\r\n\x1a\n\x00\x00\x00"), "HDF5, as Keras"},
      {raw("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00"), "compressed by gzip"},
      {tar, "a tar archive"},
      {raw("\x93NUMPY\x01\x00v\x00{'descr'"), "one NumPy array"},
      {raw("\x08\x08\x12\x07pytorch\x1a\x05"), "an ONNX graph"},
      {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"},
      {"<html>", "a web page"},
  };
  for (const Case& c : cases) {
    const std::string text = error(c.text);
    EXPECT_NE(text.find("neither safetensors nor what torch.save writes; it "), std::string::npos) << text;
    EXPECT_NE(text.find(c.what), std::string::npos) << text;
    EXPECT_NE(error(c.text, "model.safetensors").find(c.what), std::string::npos)
        << "the name changes nothing";
  }
}

TEST(ForeignFiles, AreNamedByTheirName) {
  const testing::Folder folder;
  struct Case {
    const char* name;
    const char* what;
  };
  const Case cases[] = {{"flax_model.msgpack", "from_flax=True"},
                        {"MODEL.ONNX", "ONNX graph"},
                        {"tf_model.h5", "from_tf=True"},
                        {"model.ckpt.index", "TensorFlow checkpoint"},
                        {"saved_model.pb", "TensorFlow checkpoint"},
                        {"model.ckpt.data-00000-of-00001", "TensorFlow"},
                        {"rust_model.ot", "rust-bert"}};
  for (const Case& c : cases) {
    testing::write_bytes(folder / c.name, testing::bytes_of("\xde\xad\xbe\xef and so on"));
    const std::string error = error_of([&] { open_tensor_file(folder / c.name); });
    EXPECT_NE(error.find(c.what), std::string::npos) << error;
  }
  EXPECT_TRUE(foreign_by_name("model.safetensors").empty());
  EXPECT_TRUE(foreign_by_name("").empty());
}

TEST(ForeignFiles, TorchScriptIsToldFromAStateDict) {
  EXPECT_NE(error_of([] {
              open_tensor_file(kData + "script.pt");
            }).find("is a TorchScript archive: open it by torch.jit.load and save its state_dict()"),
            std::string::npos);
}

}  // namespace foreign_files_test
}  // namespace locant
