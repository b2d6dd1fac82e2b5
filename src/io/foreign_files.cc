#include "io/foreign_files.h"

#include <algorithm>
#include <cstdint>
#include <string>

namespace locant {
namespace {

constexpr std::string_view kGguf =
    "; it is a GGUF file of llama.cpp: take the model's safetensors, from which it was made";
constexpr std::string_view kOnnx =
    "; it looks like an ONNX graph: save the state_dict of the PyTorch model that it was exported from";
constexpr std::string_view kKeras =
    "; it is HDF5, as Keras and TensorFlow save: load it in transformers with from_tf=True and "
    "save_pretrained";
constexpr std::string_view kFlax =
    "; it is msgpack, as Flax saves: load it in transformers with from_flax=True and save_pretrained";
constexpr std::string_view kTensorFlow =
    "; it belongs to a TensorFlow checkpoint: convert it to PyTorch and save safetensors";
constexpr std::string_view kRust = "; it is a file of tch or rust-bert: take the model's safetensors";

struct Suffix {
  std::string_view end;
  std::string_view hint;
};
constexpr Suffix kSuffixes[] = {{".gguf", kGguf},
                                {".onnx", kOnnx},
                                {".onnx_data", kOnnx},
                                {".h5", kKeras},
                                {".hdf5", kKeras},
                                {".keras", kKeras},
                                {".msgpack", kFlax},
                                {".ckpt.index", kTensorFlow},
                                {".ckpt.meta", kTensorFlow},
                                {".data-00000-of-00001", kTensorFlow},
                                {"saved_model.pb", kTensorFlow},
                                {".ot", kRust}};

/// The ustar magic lies in the first header of an archive.
bool is_tar(std::string_view text) { return text.size() >= 512 && text.substr(257, 5) == "ustar"; }

/// ModelProto: field 1 (ir_version, a small number), then field 2 (producer_name, text) or 7 (graph).
bool is_onnx(std::string_view text) {
  if (text.size() < 4 || text[0] != 0x08 || text[1] < 1 || text[1] > 20) return false;
  return text[2] == 0x12 || text[2] == 0x3A;
}

}  // namespace

std::string_view foreign_by_name(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  for (const Suffix& suffix : kSuffixes)
    if (lower.ends_with(suffix.end)) return suffix.hint;
  return {};
}

std::string_view foreign_by_content(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min<std::size_t>(bytes.size(), 4096));
  if (text.substr(0, 4) == "GGUF") return kGguf;
  if (text.substr(0, 8) == "\x89HDF\r\n\x1a\n") return kKeras;
  if (text.substr(0, 2) == "\x1f\x8b") return "; it is compressed by gzip: unpack it first";
  if (is_tar(text)) return "; it is a tar archive: unpack it first";
  if (text.substr(0, 6) == "\x93NUMPY")
    return "; it is one NumPy array: save a state_dict, or an .npz of all arrays";
  if (text.substr(0, 23) == "version https://git-lfs")
    return "; it is a Git LFS pointer: fetch the file itself";
  if (text.substr(0, 1) == "<") return "; it looks like a web page: the download went wrong";
  if (is_onnx(text)) return kOnnx;
  return {};
}

}  // namespace locant
