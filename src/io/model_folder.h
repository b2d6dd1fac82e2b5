#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace locant {

/// What a folder as the Hugging Face hub and timm write it has for one model.
struct ModelFolder {
  std::string weights;       ///< file for open_tensor_file: tensors, or an index of shards
  std::string config;        ///< text of config.json, empty where there is none
  std::string preprocessor;  ///< text of the object that describes how pictures are prepared; may be empty
  std::string config_path;   ///< where `config` comes from
  std::string preprocessor_path;   ///< where `preprocessor` comes from
  std::vector<std::string> notes;  ///< for people: what was chosen among several, what was left
};

/// Finds the files of the model at `path`: a folder; a hub cache folder models--ORG--NAME, of which refs/main
/// names the snapshot; or a file, for which config.json and preprocessor_config.json beside it count. Without
/// `with_config` no description is read. Nothing is fetched and nothing run.
///
/// In a folder the first of these is taken: model.safetensors, its index, pytorch_model.bin, its index,
/// pytorch_model.pth, model.pth, open_clip's two, model.fp16.safetensors and its index, and otherwise the
/// only tensor file (.safetensors, .pth, .pth.tar, .bin, .pt, .ckpt, .npz). Throws Error where there is none,
/// or several (it lists them); for an adapter (LoRA); for quantised weights; for a link without a target; and
/// for JSON that is damaged or above 16 MB.
ModelFolder find_model_folder(const std::string& path, bool with_config = true);

/// What config.json says against loading or for people to know: notes. Throws Error for damaged JSON and for
/// a quantization_config that is not null.
std::vector<std::string> check_config(std::string_view text, const std::string& path);

/// The text of the object "image_processor" of a processor_config.json, empty where it has none. Throws Error
/// for damaged JSON.
std::string image_processor_of(std::string_view text, const std::string& path);

/// The sentence that refuses an adapter's folder; `text` is adapter_config.json or empty.
std::string adapter_sentence(std::string_view text, const std::string& path);

}  // namespace locant
